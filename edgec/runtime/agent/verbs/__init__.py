"""The commands of `edgec-device`, a module each."""

from __future__ import annotations
