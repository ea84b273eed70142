"""Tiles that were searched for on a machine, in place of those that rules choose.

database.py  what was measured, in one JSON file
tiles.py     shapes of kernels without their tiles, and tiles that fit one
timing.py    variants of one kernel, compiled and timed: what runs in a worker
on_board.py  the same on a board over ssh, with timing.c
search.py    all kernels of a program, one after the other
"""

from __future__ import annotations
