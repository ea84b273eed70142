"""Emulated devices: a core in QEMU's user mode, and a root with Python, numpy and an engine for its architecture.

    qemu.py      the emulator's program: which one, which version, which cores it knows
    cores.py     what a device's system says of its core: the files that libraries choose their kernels by
    roots.py     the folders with Python, numpy and the engine: where they are, whether they are whole
    making.py    how such a folder is made, of Debian's packages and wheels
    machine.py   all of these as one thing that runs Python programs

No privileges are needed to run anything here: QEMU opens the root's files in the place of the machine's own.
What runs here has the target's instructions. Its speed says nothing about a device's.
"""
