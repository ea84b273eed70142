"""Fetching packages and wheels: what the user is told when it fails."""

import os
import signal
import subprocess
import sys
import time

import pytest

from edgec.emulator import debian, wheels
from edgec.emulator.recipe import RECIPES
from edgec.errors import OutputError, ToolMissing, UsageError

RECIPE = RECIPES["aarch64"]
STARTED = """I: automatically chosen mode: root
I: using /tmp/mmdebstrap.EskM1nyJEy as tempdir
I: running apt-get update...
"""
ENDED = """E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed
I: main() received signal PIPE: waiting for setup...
I: removing tempdir /tmp/mmdebstrap.EskM1nyJEy...
E: mmdebstrap failed to run
"""
NO_NETWORK = f"""{STARTED}Ign:1 http://mirror.example/debian bookworm InRelease
Err:1 http://mirror.example/debian bookworm InRelease
  Could not resolve 'mirror.example'
Reading package lists...
E: Failed to fetch http://mirror.example/debian/dists/bookworm/InRelease  Could not resolve 'mirror.example'
E: Some index files failed to download. They have been ignored, or old ones used instead.
{ENDED}"""
NO_SUCH_MIRROR = f"""{STARTED}Err:1 http://mirror.example/nothing bookworm InRelease
  404  Not Found [IP: 192.0.2.1 80]
E: Failed to fetch http://mirror.example/nothing/dists/bookworm/InRelease  404  Not Found [IP: 192.0.2.1 80]
E: The repository 'http://mirror.example/nothing bookworm InRelease' is not signed.
{ENDED}"""
NO_KEYS = f"""{STARTED}Get:1 http://mirror.example/debian bookworm InRelease [151 kB]
Err:1 http://mirror.example/debian bookworm InRelease
  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131
W: GPG error: http://mirror.example/debian bookworm InRelease: The following signatures couldn't be verified
E: The repository 'http://mirror.example/debian bookworm InRelease' is not signed.
{ENDED}"""
NO_RIGHTS = "E: unable to pick chroot mode automatically (use --mode for manual selection)\n"
DISK_FULL = f"""{STARTED}Reading package lists...
E: Write error - write (28: No space left on device)
E: IO Error saving source cache
{ENDED}"""

NO_INDEX = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("refused")'
ERROR: Could not find a version that satisfies the requirement ai-edge-litert==2.3.0 (from versions: none)
ERROR: No matching distribution found for ai-edge-litert==2.3.0
"""
OTHER_FILES = """WARNING: something else
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions
    numpy==2.4.6 from https://index.example/numpy-2.4.6-cp311-cp311-manylinux_2_28_aarch64.whl (from -r lock (line 3)):
        Expected sha256 1ab0
             Got        0ab0
"""
PIP_DISK_FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def refused(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def packages(files):
    return lambda: debian.install(RECIPE, "", files, files.parent)


def test_packages_are_unpacked_and_their_versions_told(programs, files):
    programs.put_all()
    assert packages(files)() == {"libc6": "2.36-9", "python3.11": "3.11.2-6", "zlib1g": "1:1.2.13"}
    found = sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    assert found == ["usr/bin/python3.11", "usr/lib/python3.11/os.py", "usr/share/doc/libc6/copyright"]


def test_mmdebstrap_is_not_installed(programs, files):
    error = refused(packages(files), ToolMissing)
    assert error.exit_code == 8
    assert "apt-get install mmdebstrap" in error.fix
    assert "--no-emulate" in error.fix


def test_no_network_for_packages(programs, files):
    programs.put_failing("mmdebstrap", NO_NETWORK)
    error = refused(packages(files), ToolMissing)
    assert error.what == "Debian's packages for arm64 can't be fetched"
    assert error.why == (
        "E: Failed to fetch http://mirror.example/debian/dists/bookworm/InRelease  Could not resolve 'mirror.example'"
    )
    assert "--mirror" in error.fix
    assert "http_proxy" in error.fix


def test_a_mirror_that_has_nothing(programs, files):
    programs.put_failing("mmdebstrap", NO_SUCH_MIRROR)
    error = refused(packages(files), ToolMissing)
    assert "404  Not Found" in error.why
    assert "has bookworm" in error.fix


def test_debians_keys_are_not_installed(programs, files):
    programs.put_failing("mmdebstrap", NO_KEYS)
    error = refused(packages(files), ToolMissing)
    assert "apt-get install debian-archive-keyring" in error.fix
    assert "is not signed" in error.why


def test_neither_root_nor_namespaces(programs, files):
    programs.put_failing("mmdebstrap", NO_RIGHTS)
    error = refused(packages(files), ToolMissing)
    assert "unable to pick chroot mode" in error.why
    for way_out in ("as root", "uidmap", "Docker image", "--no-emulate"):
        assert way_out in error.fix


@pytest.mark.parametrize(("program", "said"), [("mmdebstrap", DISK_FULL), ("pip", PIP_DISK_FULL)])
def test_a_full_disk(programs, files, program, said):
    programs.put_failing(program, said)
    call = packages(files) if program == "mmdebstrap" else lambda: wheels.install(RECIPE, files)
    error = refused(call, OutputError)
    assert error.exit_code == 73
    assert "EDGEC_ROOTS_DIR" in error.fix


def test_a_mirror_is_named(programs):
    line = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main"
    assert debian.source_lines("http://mirror.example/debian") == [line]
    own = "deb [signed-by=/own.gpg] http://mirror.example/debian bookworm main"
    assert debian.source_lines(own) == [own]


@pytest.mark.parametrize("mirror", ["mirror.example", "ftp//x", "http://a b", "rpi4"])
def test_a_mirror_that_is_none(mirror):
    error = refused(lambda: debian.source_lines(mirror), UsageError)
    assert error.exit_code == 2
    assert mirror in error.what


def test_wheels_are_installed_and_trimmed(programs, files):
    programs.put_all()
    wheels.install(RECIPE, files)
    found = [path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()]
    assert found == ["usr/local/lib/python3.11/dist-packages/engine/__init__.py"]


def test_pip_is_not_installed(programs, files):
    error = refused(lambda: wheels.install(RECIPE, files), ToolMissing)
    assert "ensurepip" in error.fix


def test_no_network_for_wheels(programs, files):
    programs.put_failing("pip", NO_INDEX, code=1)
    error = refused(lambda: wheels.install(RECIPE, files), ToolMissing)
    assert error.exit_code == 8
    assert "No matching distribution found for ai-edge-litert==2.3.0" in error.why
    assert "refused" in error.why
    assert "pip config list" in error.fix


def test_an_index_with_other_files(programs, files):
    programs.put_failing("pip", OTHER_FILES, code=1)
    error = refused(lambda: wheels.install(RECIPE, files), ToolMissing)
    assert "other files than those that were locked" in error.why
    assert "Expected sha256 1ab0" in error.why
    assert "something else" not in error.why


def test_an_interrupt_reaches_the_program_that_fetches(tmp_path):
    """It is in a session of its own, where Ctrl-C does not get by itself."""
    started, tidied = tmp_path / "started", tmp_path / "tidied"
    child = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_): pathlib.Path({str(tidied)!r}).touch(); sys.exit()\n"
        f"signal.signal(signal.SIGTERM, end); pathlib.Path({str(started)!r}).touch(); time.sleep(600)"
    )
    parent = f"import sys; from edgec.emulator.fetching import run; run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests that run behind a shell ignore it
    )
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert tidied.exists()
