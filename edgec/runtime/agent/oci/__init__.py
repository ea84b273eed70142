"""Artifacts in a registry for containers (OCI distribution specification 1.1).

A registry is a store and no more: whoever may write there can put anything under any name. So a device checks every
size and digest while the bytes come, and demands a signature. What no registry tells is whether the tag that it shows
is the newest that there was: for that there is the TUF repository (docs/oci.md).
"""

from __future__ import annotations
