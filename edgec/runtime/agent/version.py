"""The agent's version: that of the edgec that it belongs to. In the program `edgec-device` it is written here."""

from __future__ import annotations

from ...version import __version__ as VERSION  # noqa: N812

__all__ = ["VERSION"]
