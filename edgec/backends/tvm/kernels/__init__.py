"""Kernels: what is computed between two values that lie in memory, as a function of operands and a range of work.

base.py         what every kernel is
dense.py        convolutions of all channels with all, and fully-connected layers
depthwise.py    convolutions of each channel for itself; their tiles in depthwise_tiles.py
pooling.py      windows that keep the largest, and means of whole images
elementwise.py  sums of two values
borders.py      zero points around an image
conversion.py   between the caller's floats and stored integers
"""
