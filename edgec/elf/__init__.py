"""Machine code that an artifact carries: what it needs of a device, read from the file itself.

    reading.py   an ELF file: its architecture, the libraries and the C library that it needs
    aarch64.py   the extensions of the A64 instruction set that machine code uses
    arm.py       what a 32-bit ARM file says that it needs

Of x86 code only the architecture and the C library are told: its instructions have no fixed length, and which of them
run is usually decided at run time.
"""
