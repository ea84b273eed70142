"""Unpacking: what is kept of an archive, and that nothing gets out of the folder."""

import io
import tarfile

import pytest

from edgec.emulator.unpacking import unpack


@pytest.fixture
def archive(tmp_path):
    """Write an archive: name -> content, or (type, link target)."""

    def write(members):
        path = tmp_path / "archive.tar"
        with tarfile.open(path, "w") as tar:
            for name, what in members:
                member = tarfile.TarInfo(name)
                if isinstance(what, bytes):
                    member.size, member.mode = len(what), 0o4755 if name.endswith("tool") else 0o600
                    tar.addfile(member, io.BytesIO(what))
                    continue
                member.type, member.linkname = what
                tar.addfile(member)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    return path


def everything(name):
    return True


def test_files_folders_and_links(archive, folder):
    members = [
        ("./usr", (tarfile.DIRTYPE, "")),
        ("./usr/bin/tool", b"program"),
        ("./usr/lib/data", b"data"),
        ("./usr/lib/same", (tarfile.LNKTYPE, "./usr/lib/data")),
        ("./usr/lib/link", (tarfile.SYMTYPE, "data")),
    ]
    unpack(archive(members), folder, everything)
    assert (folder / "usr/lib/same").read_bytes() == (folder / "usr/lib/link").read_bytes() == b"data"
    assert (folder / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755  # and not set-user-id
    assert (folder / "usr/lib/data").stat().st_mode & 0o7777 == 0o644


def test_only_what_is_kept(archive, folder):
    unpack(archive([("./a/b", b"1"), ("./a/c", b"2")]), folder, lambda name: name == "a/c")
    assert [path.name for path in (folder / "a").iterdir()] == ["c"]


def test_no_devices_and_no_pipes(archive, folder):
    unpack(
        archive(
            [
                ("./dev/null", (tarfile.CHRTYPE, "")),
                ("./dev/sda", (tarfile.BLKTYPE, "")),
                ("./p", (tarfile.FIFOTYPE, "")),
            ]
        ),
        folder,
        everything,
    )
    assert list(folder.iterdir()) == []


def test_a_link_to_an_absolute_path_stays_inside(archive, folder):
    members = [
        ("./etc/python3.11/custom.py", b"x"),
        ("./usr/lib/python3.11/custom.py", (tarfile.SYMTYPE, "/etc/python3.11/custom.py")),
    ]
    unpack(archive(members), folder, everything)
    link = folder / "usr/lib/python3.11/custom.py"
    assert str(link.readlink()) == "../../../etc/python3.11/custom.py"
    assert link.read_bytes() == b"x"


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", b"x")],
        [("a/../../outside", b"x")],
        [("/outside/../../outside", b"x")],
        [("link", (tarfile.SYMTYPE, "../outside"))],
        [("a/link", (tarfile.SYMTYPE, "../../outside"))],
        [("same", (tarfile.LNKTYPE, "../outside"))],
        [("same", (tarfile.LNKTYPE, "nothing"))],
    ],
)
def test_what_leads_out_is_refused(archive, folder, members):
    outside = folder.parent / "outside"
    with pytest.raises(tarfile.TarError):
        unpack(archive(members), folder, everything)
    assert not outside.exists()


def test_an_archive_that_is_cut_short(archive, folder):
    path = archive([("./a", b"1" * 100_000)])
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises((tarfile.TarError, OSError)):
        unpack(path, folder, everything)
