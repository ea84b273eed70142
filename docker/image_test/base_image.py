"""An image's base where none can be pulled: what Debian's own slim image is made of, from this machine's mirror."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from image_test.engines import Failed, Impossible, call

SUITE = "bookworm"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SLIM = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


def make(archive: Path) -> str:
    """Write a tar of the base's files to `archive`; return scheme and host of the mirror that they are from.

    The base itself names a mirror that does not exist: builds get nowhere without the argument APT_MIRROR.
    """
    if shutil.which("mmdebstrap") is None:
        raise Impossible(
            "No base image can be made here: mmdebstrap is not installed.\nOn Debian: apt-get install mmdebstrap"
        )
    words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *(f"--dpkgopt={line}" for line in _SLIM)]
    address = mirror()
    host = "{0.scheme}://{0.netloc}".format(urlsplit(address))
    words.append(f"--customize-hook=sed -i 's#{host}#http://mirror.invalid#' \"$1/etc/apt/sources.list\"")
    made = call([*words, SUITE, str(archive), f"deb {address} {SUITE} main"], seconds=1200)
    if made.exit_code != 0:
        raise Failed(f"mmdebstrap failed:\n{made.errors[-3000:]}")
    return host


def mirror() -> str:
    """The mirror that this machine has the suite from."""
    listed = call(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Release: {SUITE}", "Component: main"], seconds=60
    ).output.split()
    if not listed:
        raise Impossible(
            f"No base image can be made here: apt has no mirror of Debian {SUITE}.\n"
            f"Give the machine one: /etc/apt/sources.list.d/debian.sources"
        )
    return listed[0]
