"""The version of edgec, read by the build system and by everything that states it."""

__version__ = "0.1.0"
