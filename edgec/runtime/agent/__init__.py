"""The device's side of shipping: what is trusted, downloaded, installed and taken back. Not part of an artifact."""

from __future__ import annotations
