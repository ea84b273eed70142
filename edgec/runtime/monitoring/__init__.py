"""Watching a model in use: how long runs take, what fails, whether inputs and outputs still look as they did when the
artifact was built. Nothing here runs unless it is asked for, and nothing leaves the device by itself."""

from __future__ import annotations
