"""Users sign in by a certified OpenID provider (npm `oidc-provider`), in Chromium."""

import base64
import datetime
import http.server
import json
import pathlib
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fabric import DOMAIN, eventually
from openid_provider import REFRESHED_S, WALK_S, Provider

# People and providers take their time.
pytestmark = pytest.mark.timeout(2 * WALK_S + REFRESHED_S)


class Origin(http.server.BaseHTTPRequestHandler):
    """Has one page at every address, and is never shown a cookie of the edge's."""

    def do_GET(self):
        assert "adit" not in self.headers.get("Cookie", ""), self.headers
        page = b"<!doctype html><title>origin</title><h1>origin</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def origin():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


class Registered(Provider):
    """The fabric knows it as `staff`, `post` and `key`, by the three ways in which a client shows that it is that."""

    def __init__(self, fabric):
        self.certificate = make_key(fabric.folder)
        super().__init__(fabric, "provider", str(fabric.folder / "key.jwk"))
        (fabric.folder / "credential").write_text("a secret: with % and +\n")
        (fabric.folder / "post.credential").write_text("another secret: with % and +\n")
        common = ("--issuer", self.issuer, "--private-network", "--plain-groups", "--sign-out", "--refresh-every", "1m")
        for provider, client, how, credential, more in [
            ("staff", "adit", "secret-basic", "credential", ()),
            ("post", "adit-post", "secret-post", "post.credential", ()),
            ("key", "adit-key", "private-key-jwt", "key.pem", ("--client-certificate", "key.crt")),
        ]:
            names = ("--display-name", provider.title(), "--client-id", client, "--client-authentication", how)
            fabric.run("identity-provider", "create", provider, *names, "--credential-file", credential, *common, *more)


def make_key(folder: pathlib.Path) -> x509.Certificate:
    """An RSA key with a certificate, as Entra ID wants them."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "adit")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "key.crt").write_bytes(certificate.public_bytes(pem))
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "use": "sig", "n": base64url(numbers.n), "e": base64url(numbers.e)}
    (folder / "key.jwk").write_text(json.dumps(jwk))
    return certificate


def base64url(value: int | bytes) -> str:
    if isinstance(value, int):
        value = value.to_bytes((value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def by_id_token(identity: str) -> tuple[str, ...]:
    sso = ("--sso", "kerberos", "--sso-spn", "HTTP/hr.lab.test", "--sso-identity", identity)
    return ("--identity-provider", "staff", *sso, "--sso-identity-provider", "staff", "--sso-require-id-token")


@pytest.fixture(scope="module")
def provider(fabric, origin):
    started = Registered(fabric)
    closed = ("--access", "sign-in", "--assign-user-group", "staff")
    for app, host, more in [
        ("one", f"one.{DOMAIN}", ()),
        ("two", "two.other.test", ()),
        ("only", f"only.{DOMAIN}", ("--identity-provider", "staff")),
        ("by-post", f"by-post.{DOMAIN}", ("--identity-provider", "post")),
        ("by-key", f"by-key.{DOMAIN}", ("--identity-provider", "key")),
        ("named", f"named.{DOMAIN}", by_id_token("claim:sub")),
        ("nameless", f"nameless.{DOMAIN}", by_id_token("claim:upn")),
    ]:
        fabric.run("app", "publish", app, "--host", host, "--origin", origin, *closed, *more)
    try:
        yield started
    finally:
        started.process.stop()


def test_users_sign_in_once_for_all_apps_and_out_at_either_end(fabric, provider):
    with provider.user("everywhere") as user:
        user.until("all good")
    assert "told /sign-out/back-channel 200" in provider.process.log()
    listed = fabric.run("identity-provider", "list", "--output", "json")
    assert "a secret" not in listed


def test_a_client_shows_that_it_is_that_in_each_way(fabric, provider):
    with provider.user("each-way") as user:
        user.until("all good")
    traded = [line for line in provider.process.log().splitlines() if line.startswith("traded authorization_code")]
    for client in ["adit", "adit-post", "adit-key"]:
        assert f"traded authorization_code {client} 200" in traded, traded
    [assertion, *_] = [line for line in provider.process.log().splitlines() if line.startswith("assertion ")]
    head = json.loads(assertion.removeprefix("assertion "))
    thumbprint = provider.certificate.fingerprint
    assert head["x5t"] == base64url(thumbprint(hashes.SHA1())), head
    assert head["x5t#S256"] == base64url(thumbprint(hashes.SHA256())), head


def test_agents_check_the_providers_own_word_by_keys_from_control(fabric, provider):
    with provider.user("by-id-token") as user:
        user.until("all good")


def test_users_sign_in_while_control_is_away_and_nobody_does_again_when_it_is_back(fabric, provider):
    with provider.user("control-away") as user:
        user.until("signed in before")
        with fabric.control_away():
            user.go_on()
            user.until("signed in meanwhile")
        # What was told while nobody heard is told again.
        eventually("operators see who came meanwhile", lambda: "ivan@staff" in fabric.run("signins"), REFRESHED_S)
        user.go_on()
        user.until("all good")


def test_sessions_end_whose_provider_does_not_stand_by_the_user_any_more(fabric, provider):
    with provider.user("refreshed") as user:
        user.until("signed in")
        provider.say("user=erin&groups=staff,ops")
        provider.say("user=frank&gone=1")
        user.until("erin has new groups, and was not asked")
        user.until("frank is out")
        user.until("dave goes on")
        user.until("all good")
    reasons = {
        (one["user"], one["reason"])
        for one in json.loads(fabric.run("signins", "--output", "json"))
        if one["reason"].startswith("refresh")
    }
    assert reasons == {("users/erin@staff", "refresh_changed"), ("users/frank@staff", "refresh_refused")}, reasons
    renewed = lambda: provider.process.log().splitlines().count("traded refresh_token adit 200")
    eventually("those who are what they were go on", lambda: renewed() >= 2, REFRESHED_S)
