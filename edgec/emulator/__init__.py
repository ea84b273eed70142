"""Emulated devices: a core in QEMU's user mode, and a root with Python, numpy and an engine for its architecture.

    qemu.py        the emulator's program: which one, which version, which cores it knows
    recipe.py      what a root is made of, with locks/ for its wheels
    making.py      how a root is made: sources.py, debian.py, unpacking.py and wheels.py fetch it, proof.py runs in it
    roots.py       the roots that there are: where, and whether they are whole
    cores.py       what a device's system says of its core: the files that libraries choose their kernels by
    machine.py     an emulator, a core and a root as one thing that runs Python programs
    artifact.py    an artifact's own commands on such a machine
    counting.py    executed instructions of such programs, by a plugin of QEMU's (counting.c)
    inventory.py   what there is, and what is missing

No privileges are needed to run anything here: QEMU opens the root's files in the place of the machine's own.
What runs here has the target's instructions. Its speed says nothing about a device's.
"""
