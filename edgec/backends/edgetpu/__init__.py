"""The Edge TPU: a strict INT8 .tflite file, what its compiler would make of it, and the compiler where there is one.

statuses.py    the compiler's words
network.py     a .tflite file, read
rules.py       which operators are mapped, under which conditions
partition.py   the subgraph that becomes one operator
memory.py, macs.py  what it keeps on the chip, and what it computes
mapping.py     the prediction for a file, and the changes that would map more
compiler.py, log.py, comparison.py  the compiler run, its output read and held against the prediction
lowering.py, backend.py  the backend
"""

from edgec.backends.edgetpu.backend import BACKEND

__all__ = ["BACKEND"]
