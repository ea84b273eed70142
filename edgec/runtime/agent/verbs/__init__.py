"""The commands of `edgec-device`, a module each."""
