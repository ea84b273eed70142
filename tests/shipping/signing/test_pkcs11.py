"""Keys in PKCS#11 tokens, with SoftHSM for the hardware."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgec.runtime.agent.signatures import read_envelope, verify_envelope
from tests.shipping.small_artifacts import artifact

_LIBRARY = next(
    filter(
        Path.is_file,
        (Path(f"/usr/lib/{place}/libsofthsm2.so") for place in ("softhsm", "x86_64-linux-gnu/softhsm", "pkcs11")),
    ),
    None,
)
_URI = f"pkcs11:token=fleet;id=%02?module-path={_LIBRARY}"
_MAKE_KEY = """
import sys
import PyKCS11
from PyKCS11 import PyKCS11 as p

library = PyKCS11.PyKCS11Lib()
library.load(sys.argv[1])
slots = library.getSlotList(tokenPresent=True)
(slot,) = [slot for slot in slots if library.getTokenInfo(slot).label.strip() == "fleet"]
session = library.openSession(slot, p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION)
session.login("1234")
p256 = bytes.fromhex("06082a8648ce3d030107")
shared = [(p.CKA_TOKEN, True), (p.CKA_ID, (2,)), (p.CKA_LABEL, "release")]
public = [(p.CKA_CLASS, p.CKO_PUBLIC_KEY), (p.CKA_PRIVATE, False), (p.CKA_VERIFY, True), (p.CKA_EC_PARAMS, p256)]
private = [(p.CKA_CLASS, p.CKO_PRIVATE_KEY), (p.CKA_PRIVATE, True), (p.CKA_SIGN, True), (p.CKA_SENSITIVE, True)]
session.generateKeyPair(public + shared, private + shared, mecha=PyKCS11.Mechanism(p.CKM_EC_KEY_PAIR_GEN, None))
"""


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    """The environment with a token called fleet, PIN 1234, that holds a key on P-256 with id 2."""
    pytest.importorskip("PyKCS11", reason="keys in tokens need edgec[hsm]")
    if _LIBRARY is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM (softhsm2) is not installed")
    folder = tmp_path_factory.mktemp("token")
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}\n")
    environment = {**os.environ, "SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
    initialize = ["--init-token", "--free", "--label", "fleet", "--pin", "1234", "--so-pin", "5678"]
    subprocess.run(["softhsm2-util", *initialize], check=True, env=environment, capture_output=True)
    subprocess.run([sys.executable, "-c", _MAKE_KEY, str(_LIBRARY)], check=True, env=environment)
    return environment


def edgec(token, *arguments, pin="1234"):
    """The command in a process of its own: a token's library is loaded once in each."""
    return subprocess.run(
        [sys.executable, "-m", "edgec", *map(str, arguments)],
        env={**token, "EDGEC_PKCS11_PIN": pin},
        capture_output=True,
        text=True,
    )


def test_a_token_signs_and_its_public_key_verifies(token, tmp_path):
    path = artifact(tmp_path)
    done = edgec(token, "sign", path, "--key", _URI)
    assert done.returncode == 0, done.stderr
    done = edgec(token, "keygen", tmp_path / "fleet", "--public-of", _URI, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["private"] is None
    assert not (tmp_path / "fleet.key").exists()
    found = verify_envelope(read_envelope(path), path, [tmp_path / "fleet.pub"])
    assert found.signers == (document["key"],)


def test_a_wrong_pin_signs_nothing(token, tmp_path):
    path = artifact(tmp_path)
    done = edgec(token, "sign", path, "--key", _URI, pin="0000")
    assert done.returncode == 2
    assert "The token did not sign" in done.stderr and "CKR_PIN_INCORRECT" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (_URI.replace("%02", "%03"), "has no key"),
        (_URI.replace("fleet", "other"), "has no key"),
        (_URI.replace("libsofthsm2.so", "no-such.so"), "has no key"),
        (_URI.replace("id=%02", "object=release"), "object can't be given"),
        (_URI.replace(";id=%02", ""), "found by its id"),
        (_URI.partition("?")[0], "It is not known which library"),
    ],
)
def test_what_names_no_key_is_refused(token, tmp_path, uri, said):
    done = edgec(token, "sign", artifact(tmp_path), "--key", uri)
    assert done.returncode == 2
    assert said in done.stderr
