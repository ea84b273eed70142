"""Asking servers: limits, redirects, proxies, certificates, and trying again."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgec.runtime.agent.fetcher import Fetcher, Limits, Refused, TryAgain
from edgec.runtime.errors import Unreachable, Untrusted
from tests.runtime.agent import servers

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "file").write_bytes(b"content")
    return tmp_path / "shelf"


@pytest.fixture
def server(shelf):
    with servers.serving(shelf) as found:
        yield found


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def fetcher(pauses):
    return Fetcher(servers.QUICK, pause=pauses.append)


def test_a_file_is_read_and_counted(server, fetcher):
    assert fetcher.read(f"{server.url}/file", 7) == b"content"
    assert (fetcher.requests, fetcher.received) == (1, 7)
    assert abs(fetcher.server_time - NOW) < timedelta(minutes=5)


def test_requests_share_a_connection(server, fetcher):
    opened = []
    accept = server.get_request
    server.get_request = lambda: opened.append(1) or accept()
    for _ in range(3):
        fetcher.read(f"{server.url}/file", 7)
        with pytest.raises(Refused, match="The server has no"):
            fetcher.read(f"{server.url}/missing", 7)
    assert len(opened) == 1


def test_what_passes_is_tried_again_with_longer_and_longer_pauses(server, fetcher, pauses):
    server.break_off("file", servers.once(servers.status(503), 2))
    assert fetcher.read(f"{server.url}/file", 7) == b"content"
    first, second = pauses
    assert 0.5 * servers.QUICK.backoff <= first <= servers.QUICK.backoff
    assert servers.QUICK.backoff <= second <= 2 * servers.QUICK.backoff


def test_what_does_not_pass_is_not_tried_again(server, fetcher, pauses):
    server.break_off("file", servers.status(403))
    with pytest.raises(Refused, match="refuses"):
        fetcher.read(f"{server.url}/file", 7)
    assert (fetcher.requests, pauses) == (1, [])


def test_attempts_are_bounded(server, fetcher, pauses):
    server.break_off("file", servers.status(500))
    with pytest.raises(TryAgain, match="can't answer"):
        fetcher.read(f"{server.url}/file", 7)
    assert fetcher.requests == servers.QUICK.attempts


def test_a_server_that_asks_for_time_gets_it_within_bounds(server, fetcher, pauses):
    server.break_off("file", servers.once(servers.status(429, **{"Retry-After": "7"})))
    fetcher.read(f"{server.url}/file", 7)
    server.break_off("file", servers.once(servers.status(503, **{"Retry-After": "100000"})))
    with pytest.raises(TryAgain):  # the pause would outlast the deadline
        fetcher.read(f"{server.url}/file", 7)
    assert pauses == [7]


def test_all_requests_together_have_a_deadline(server):
    fetcher = Fetcher(Limits(deadline=0))
    with pytest.raises(Unreachable, match="not complete in time"):
        fetcher.read(f"{server.url}/file", 7)


def test_a_redirect_to_another_server_is_followed(server, fetcher, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "there").write_bytes(b"elsewhere")
    with servers.serving(tmp_path / "other") as other:
        server.break_off("file", servers.redirect(lambda path: f"{other.url}/there"))
        assert fetcher.read(f"{server.url}/file", 100) == b"elsewhere"


def test_more_than_was_asked_for_is_refused(server, fetcher):
    with pytest.raises(Untrusted, match="longer than it may be"):
        fetcher.read(f"{server.url}/file", 6)


def test_chunked_replies_are_read_and_watched(server, fetcher):
    def chunked(handler, data):
        handler.head(200, **{"Transfer-Encoding": "chunked"})
        for _ in range(3):
            handler.wfile.write(b"3\r\nabc\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    server.break_off("file", chunked)
    assert fetcher.read(f"{server.url}/file", 9) == b"abcabcabc"
    with pytest.raises(Untrusted):
        fetcher.read(f"{server.url}/file", 8)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://127.0.0.1/x", "can't be fetched"),
        ("http://name.invalid/x", "The name of|no connection"),
        ("http://127.0.0.1:1/x", "There is no connection"),
        ("http://[", "is not an address"),
        ("models.example", "can't be fetched"),
        ("http:///x", "can't be fetched"),
        ("http://127.0.0.1:99999/x", "is not an address"),
        ("file:///nowhere/at/all", "can't be read"),
    ],
)
def test_addresses_that_lead_nowhere(fetcher, url, what):
    with pytest.raises(Unreachable, match=what):
        fetcher.read(url, 10)


def test_files_are_read_in_part_too(shelf, fetcher):
    with fetcher.get((shelf / "file").as_uri(), span=(2, 5)) as reply:
        assert (reply.status, b"".join(reply.body)) == (206, b"nte")


def test_the_environments_proxy_is_used(server, fetcher, monkeypatch, tmp_path):
    (tmp_path / "proxy").mkdir()
    with servers.serving(tmp_path / "proxy") as proxy:
        proxy.break_off("", servers.instead(b"by proxy"))
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert fetcher.read("http://models.example/file", 10) == b"by proxy"
        ((asked, _),) = proxy.asked
        assert asked == "http://models.example/file"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetcher.read(f"{server.url}/file", 10) == b"content"


# --- certificates


def _certificate(folder, begin, end, key=None, issuer=None, name="127.0.0.1"):
    """A certificate file with its key, of a made-up authority or signed by one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer_key, signer = issuer or (key, subject)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
    certificate = built.sign(signer_key, hashes.SHA256())
    place = folder / f"{certificate.serial_number}.pem"
    place.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return place, (key, subject)


@pytest.fixture
def secure(shelf, tmp_path, monkeypatch):
    """Serves over TLS with a certificate that begins and ends so many days from now."""
    authority, issuer = _certificate(tmp_path, NOW - timedelta(days=900), NOW + timedelta(days=900), name="authority")

    def serve(begin=-1, end=1, name="127.0.0.1", trusted=True):
        place, _ = _certificate(
            tmp_path, NOW + timedelta(days=begin), NOW + timedelta(days=end), issuer=issuer, name=name
        )
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(place)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return server.url.replace("http:", "https:")

    with servers.serving(shelf) as server:
        yield serve


def test_a_certificate_of_a_known_authority(secure, fetcher):
    assert fetcher.read(f"{secure()}/file", 10) == b"content"


def test_a_certificate_that_nobody_vouches_for(secure, fetcher):
    with pytest.raises(Unreachable, match="certificate that is not valid here") as refusal:
        fetcher.read(f"{secure(trusted=False)}/file", 10)
    assert "certificate" in refusal.value.why


def test_a_certificate_of_another_host(secure, fetcher):
    with pytest.raises(Unreachable, match="certificate that is not valid here") as refusal:
        fetcher.read(f"{secure(name='127.0.0.2')}/file", 10)
    assert "not valid for '127.0.0.1'" in refusal.value.why


def test_an_expired_certificate_names_the_clock(secure, fetcher):
    with pytest.raises(Unreachable, match="certificate that is not valid here") as refusal:
        fetcher.read(f"{secure(begin=-9, end=-8)}/file", 10)
    assert f"This device's clock says {NOW.year}" in refusal.value.why


@pytest.mark.parametrize(("begin", "end"), [(-9, -8), (8, 9)])
def test_a_device_that_knows_its_clock_is_wrong_looks_at_everything_but_dates(secure, begin, end):
    fetcher = Fetcher(servers.QUICK, check_times=False)
    assert fetcher.read(f"{secure(begin, end)}/file", 10) == b"content"


def test_without_dates_the_authority_and_the_host_are_still_checked(secure):
    fetcher = Fetcher(servers.QUICK, check_times=False)
    with pytest.raises(Unreachable, match="certificate that is not valid here"):
        fetcher.read(f"{secure(-9, -8, trusted=False)}/file", 10)


def test_no_one_leads_from_https_to_http(secure, fetcher, server, monkeypatch):
    monkeypatch.setattr(
        servers.Handler, "whole_or_range", lambda handler, data: handler.reply(302, b"", Location=f"{server.url}/file")
    )
    with pytest.raises(Unreachable, match="leads to where this device does not follow") as refusal:
        fetcher.read(f"{secure()}/file", 10)
    assert "from https: to http:" in refusal.value.why


def test_a_server_that_speaks_no_tls(server, fetcher):
    with pytest.raises(Unreachable, match="no safe connection"):
        fetcher.read(f"{server.url.replace('http:', 'https:')}/file", 10)
