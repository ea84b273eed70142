"""Making artifacts. Reading them is the runtime's part: a device does it without edgec."""
