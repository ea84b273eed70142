"""Debian's packages for another architecture, by mmdebstrap: fetched, checked against Debian's keys, and unpacked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

from edgec.emulator import sources
from edgec.emulator.fetching import disk_full, disk_full_error, run
from edgec.emulator.recipe import SUITE, Recipe, keeps
from edgec.emulator.unpacking import unpack
from edgec.errors import EdgecError, ToolMissing, UsageError

INSTALL = "apt-get install mmdebstrap debian-archive-keyring (Debian, Ubuntu)"
WITHOUT = (
    "Or use edgec's Docker image, which holds the roots; or build with --no-emulate: the artifact is then not executed."
)

_PACKAGES = "packages"  # a file with the names of the fetched .deb files, beside the packages' own files
_SHOWN = 6  # lines of what apt said


def install(recipe: Recipe, mirror: str, files: Path, scratch: Path) -> dict[str, str]:
    """Unpack the packages of `recipe` and what they depend on into the root's `files`; return their versions.

    mirror: a URL, or a line of sources.list; "" takes this machine's own. scratch: a folder for the archive.

    Raises UsageError for a mirror that is none; ToolMissing when mmdebstrap, the network, Debian's keys or a permission
    is missing; OutputError when the disk is full.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ToolMissing(
            "mmdebstrap is not installed",
            f"It fetches Debian's packages for {recipe.debian}, and checks them against Debian's keys.",
            f"Install it: {INSTALL}. {WITHOUT}",
        )
    archive = scratch / "packages.tar"
    ran = run(
        [
            program,
            "--variant=extract",
            f"--architectures={recipe.debian}",
            f"--include={','.join(recipe.packages)}",
            f'--extract-hook=ls "$1/var/cache/apt/archives" > "$1/{_PACKAGES}"',
            SUITE,
            str(archive),
            *source_lines(mirror),
        ]
    )
    if ran.code != 0:
        raise _explained(recipe, ran.said)
    unpack(archive, files, lambda name: name == _PACKAGES or keeps(name))
    archive.unlink()
    listed = files / _PACKAGES
    fetched = listed.read_text(encoding="utf-8").split()
    listed.unlink()
    return dict(unquote(name).split("_")[:2] for name in fetched if name.endswith(".deb"))


def source_lines(mirror: str) -> list[str]:
    """What mmdebstrap is told about where packages come from; nothing where its own default has to do."""
    if mirror.startswith("deb "):
        return [mirror]
    if mirror:
        if not re.match(r"(https?|file|copy)://?[^\s]+$", mirror):
            raise UsageError(
                f"--mirror {mirror!r} is not the address of a Debian mirror",
                "An address begins with http://, https:// or file:/ and holds no space.",
                f"Give the address that precedes the suite in a sources.list, or a whole line: "
                f"--mirror 'deb [signed-by=KEYRING] ADDRESS {SUITE} main'.",
            )
        return [sources.mirror_line(sources.Source(mirror, (SUITE,), ("main",), sources.KEYRING))]
    own = sources.debian_source()
    return [sources.mirror_line(own)] if own is not None else []


def _explained(recipe: Recipe, said: str) -> EdgecError:
    """What mmdebstrap's failure means for the user. said: all that it and apt printed."""
    if disk_full(said):
        return disk_full_error("Debian's packages")
    what = f"Debian's packages for {recipe.debian} can't be fetched"
    short = _short(said)
    if "chroot mode" in said or "newuidmap" in said or "/etc/subuid" in said or "unshare" in said:
        return ToolMissing(
            what,
            "mmdebstrap needs to be root, or the right to make a user namespace, and has neither:\n" + short,
            "Run the command once as root with EDGEC_ROOTS_DIR set to a folder that you can read; or install uidmap "
            f"and have a range for you in /etc/subuid and /etc/subgid. {WITHOUT}",
        )
    if "NO_PUBKEY" in said or ("is not signed" in said and "Failed to fetch" not in said):
        return ToolMissing(
            what,
            "Debian's keys are not known here, or the mirror is not Debian's:\n" + short,
            "Install them: apt-get install debian-archive-keyring (Debian, Ubuntu); a mirror with keys of its own: "
            f"--mirror 'deb [signed-by=KEYRING] ADDRESS {SUITE} main'. {WITHOUT}",
        )
    return ToolMissing(
        what,
        short,
        f"Check the network, the variable http_proxy, and apt's sources; or name another Debian mirror that has "
        f"{SUITE} with --mirror. Without a network, copy the roots of another machine (docs/emulation.md). {WITHOUT}",
    )


def _short(said: str) -> str:
    """The lines that tell what went wrong, each once."""
    wordless = ("E: mmdebstrap failed to run", "E: apt-get ", "E: Some index files")
    told = [line for line in said.splitlines() if line.startswith("E: ") and not line.startswith(wordless)]
    return "\n".join(list(dict.fromkeys(told))[:_SHOWN] or said.strip().splitlines()[-_SHOWN:])
