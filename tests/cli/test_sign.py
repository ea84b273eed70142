"""`edgec keygen`, `sign` and `verify`, as their user meets them; and what `edgec doctor` says of their packages."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgec.cli import doctor, keygen, sign, verify
from edgec.errors import UsageError
from tests.shipping.small_artifacts import artifact


def run(module, *arguments, **environment):
    return CliRunner(env=environment).invoke(
        module.command, list(map(str, arguments)), catch_exceptions=True, standalone_mode=False
    )


@pytest.fixture
def there(tmp_path):
    """A folder with an artifact, net.edgec, and the keys a and b."""
    artifact(tmp_path)
    for name in "ab":
        assert run(keygen, tmp_path / name).exception is None
    return tmp_path


def test_what_one_signs_another_verifies(there):
    made = run(sign, there / "net.edgec", "--key", there / "a.key", "--key", there / "b.key")
    assert made.exception is None
    assert "net.edgec.dsse.json  signed by " in made.stdout
    keys = ["--key", there / "a.pub", "--key", there / "b.pub", "--threshold", 2]
    done = run(verify, there / "net.edgec", *keys)
    assert done.return_value == 0
    assert "net.edgec  verified" in done.stdout
    assert f"{there / 'a.pub'}, {there / 'b.pub'}" in done.stdout
    facts = json.loads(run(verify, there / "net.edgec", *keys, "--json").stdout)["files"][0]
    assert facts["verified"] and len(facts["signers"]) == 2 and facts["target"] == "host"


def test_one_file_that_is_not_vouched_for_does_not_hide_the_others(there):
    run(sign, there / "net.edgec", "--key", there / "a.key")
    unsigned = artifact(there / "other")
    done = run(verify, unsigned, there / "net.edgec", "--key", there / "a.pub")
    assert done.return_value == 9
    assert "not verified" in done.stdout and "net.edgec  verified" in done.stdout
    assert "is not signed" in done.stderr
    files = json.loads(run(verify, unsigned, there / "net.edgec", "--key", there / "a.pub", "--json").stdout)["files"]
    assert [each["verified"] for each in files] == [False, True]
    assert files[0]["error"]["exit_code"] == 9


def test_an_earlier_build_s_signature_is_replaced_and_that_is_said(there):
    run(sign, there / "net.edgec", "--key", there / "a.key")
    artifact(there, weights=b"built again")
    assert "is replaced" in run(sign, there / "net.edgec", "--key", there / "a.key").stderr


def test_a_key_that_others_can_read_is_warned_of(there):
    (there / "a.key").chmod(0o644)
    assert "others can read" in run(sign, there / "net.edgec", "--key", there / "a.key").stderr


def test_a_public_key_from_the_environment(there):
    run(sign, there / "net.edgec", "--key", there / "a.key")
    assert run(verify, there / "net.edgec", "--key", "env:PUB", PUB=(there / "a.pub").read_text()).return_value == 0
    assert isinstance(run(verify, there / "net.edgec", "--key", "env:PUB", PUB="").exception, UsageError)


def test_a_passphrase_is_asked_for_only_at_a_terminal(tmp_path):
    refused = run(keygen, tmp_path / "a", "--passphrase")
    assert isinstance(refused.exception, UsageError)
    assert list(tmp_path.iterdir()) == []
    assert run(keygen, tmp_path / "a", "--passphrase", EDGEC_KEY_PASSPHRASE="a secret").exception is None
    assert b"ENCRYPTED" in (tmp_path / "a.key").read_bytes()


@pytest.mark.parametrize("name", ["release", "release.key", "release.pub"])
def test_a_key_s_files_are_called_after_its_name(tmp_path, name):
    run(keygen, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release.key", "release.pub"]


def test_the_public_half_of_a_key_can_be_written_alone(there):
    assert run(keygen, there / "c", "--public-of", there / "a.key").exception is None
    assert (there / "c.pub").read_bytes() == (there / "a.pub").read_bytes()
    assert not (there / "c.key").exists()


def test_doctor_tells_what_is_missing_for_shipping(capsys):
    doctor._show_shipping("hsm", {"pykcs11": None, "asn1crypto": "1.5.1"})
    text = capsys.readouterr().out
    assert "asn1crypto 1.5.1" in text
    assert "pykcs11 missing" in text and "pip install 'edgec[hsm]'" in text
