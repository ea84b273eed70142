"""OpenVINO: an IR (model.xml and model.bin) that OpenVINO compiles for the CPU that it finds.

The IR is portable; a compiled blob would be tied to one OpenVINO version and one CPU.
"""

from __future__ import annotations

from edgec.backends.openvino.backend import BACKEND

__all__ = ["BACKEND"]
