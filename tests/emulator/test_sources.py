"""Finding Debian's archive in a machine's sources."""

import pytest

from edgec.emulator.sources import debian_source, mirror_line

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture
def apt(tmp_path):
    """Write files below /etc/apt, and say which line mmdebstrap would be given."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / {"list": "sources.list", "debian": "sources.list.d/debian.sources"}.get(
                name, f"sources.list.d/{name}.list"
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        found = debian_source(tmp_path)
        return mirror_line(found) if found else None

    return write


def test_only_main_of_the_suite_is_taken(apt):
    assert (
        apt(
            debian=f"""# a comment
Types: deb deb-src
# another
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib non-free-firmware
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}
"""
        )
        == f"deb [signed-by={KEYRING}] http://mirror.example/debian bookworm main"
    )


def test_the_suite_does_not_depend_on_what_the_machine_runs(apt):
    assert (
        apt(list="deb http://mirror.example/debian trixie main\n") == "deb http://mirror.example/debian bookworm main"
    )


def test_lines_with_options_and_comments(apt):
    text = f"# old\n\ndeb [arch=amd64 signed-by={KEYRING}] https://mirror.example/debian/ stable main # ours\n"
    assert apt(list=text) == f"deb [signed-by={KEYRING}] https://mirror.example/debian/ bookworm main"


@pytest.mark.parametrize(
    "line",
    [
        "deb [signed-by=/usr/share/keyrings/vendor.gpg] https://apt.vendor.example bookworm main",
        "deb https://apt.vendor.example bookworm main",
        "deb http://archive.example/ubuntu noble main universe",
        "deb http://mirror.example/debian bookworm contrib",
        "deb-src http://mirror.example/debian bookworm main",
        "#deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian-security bookworm-security main",
        "nonsense",
    ],
)
def test_what_is_not_debians_archive(apt, line):
    assert apt(vendor=line) is None


def test_a_disabled_entry(apt):
    entry = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n"
    assert apt(debian=f"Enabled: no\n{entry}") is None
    assert apt(debian=f"Enabled: yes\n{entry}") is not None


def test_a_key_inside_the_entry(apt):
    entry = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n"
    text = (
        f"{entry}Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY\n -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    assert apt(debian=text) == "deb http://mirror.example/debian bookworm main"


def test_a_machine_without_apt(tmp_path):
    assert debian_source(tmp_path / "nothing") is None
