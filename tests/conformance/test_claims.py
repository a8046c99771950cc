"""Applications that have users sign in by SAML, WS-Federation and OpenID Connect at providers of other sites, in Chromium."""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fabric import DOMAIN, Process, free_port
from federation import AppPages, Stub, StsPages, escaped
from saml_app import SamlApp
from saml_provider import HOST, SamlProvider
from test_identity_provider import base64url

HERE = pathlib.Path(__file__).parent
FIRST_PASSWORD = "seven grey ponies in a lift"
PASSWORD = "an otter reads the minutes"
# A whole walk, Chromium's start among it.
WALK_S = 90
# What edges keep of a form: a response is made nearly as long.
FORM_BYTES_MAX = 64 * 1024
PAD = 41_000

pytestmark = pytest.mark.timeout(2 * WALK_S)


@pytest.fixture(scope="module")
def alice(fabric):
    """An account that has changed the password that an operator chose."""
    (fabric.folder / "alice.password").write_text(FIRST_PASSWORD)
    fabric.run("user", "create", "alice", "--password-file", "alice.password")
    goes(fabric, "first")


def publish(fabric, app: str, origin: str, *more: str):
    closed = ("--access", "sign-in", "--assign-user", "alice")
    fabric.run("app", "publish", app, "--host", f"{app}.{DOMAIN}", "--origin", origin, *closed, *more)
    fabric.until_served(f"{app}.{DOMAIN}")


@contextlib.contextmanager
def user(fabric, walk: str):
    command = ["node", str(HERE / "claims_user.mjs"), walk, str(fabric.port), PASSWORD, FIRST_PASSWORD]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(WALK_S, process.kill)
    timer.start()

    def until(said: str):
        line = process.stdout.readline()
        assert line == f"{said}\n", line + process.stderr.read()

    try:
        yield process, until
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def goes(fabric, walk: str):
    with user(fabric, walk) as (_, until):
        until("all good")


@contextlib.contextmanager
def saml(fabric, app: str, *more: str, same_site: str = ""):
    """mod_auth_mellon behind the fabric, and a provider by pysaml2 that it trusts."""
    # Not pytest's folder, which Apache's own user may not enter.
    with tempfile.TemporaryDirectory(prefix="adit-saml-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        for part in ("idp", "sp"):
            (folder / part).mkdir()
        provider = SamlProvider(folder / "idp")
        service = SamlApp(folder / "sp", f"{app}.{DOMAIN}:{fabric.port}", provider.metadata, same_site)
        try:
            provider.trust(service.metadata())
            publish(fabric, app, service.url, *more)
            yield provider, service
        finally:
            service.stop()
            provider.stop()


@pytest.fixture(scope="module")
def saml_app(fabric, alice):
    with saml(fabric, "saml", "--cross-site-posts") as started:
        yield started


def test_a_response_of_saml_reaches_its_app_though_no_cookie_of_the_edge_comes_with_it(fabric, saml_app):
    goes(fabric, "saml")


def test_a_long_response_that_meets_an_expired_session_survives_the_sign_in(fabric, saml_app):
    provider, service = saml_app
    provider.pad = PAD
    with user(fabric, "expired") as (process, until):
        until("at the provider")
        fabric.run("user", "sign-out", "alice")
        process.stdin.write("go on\n")
        process.stdin.flush()
        until("all good")
    provider.pad = 0
    [response] = [line for line in service.seen().splitlines() if line.startswith("POST /mellon/postResponse ") and int(line.split()[-1]) > PAD]
    path, status, length = response.split()[1], *map(int, response.split()[-2:])
    # The address without what the edge's page adds to it, and all of the response.
    assert (path, status) == ("/mellon/postResponse", 303), response
    assert FORM_BYTES_MAX - 3_000 < length <= FORM_BYTES_MAX, response


def test_with_a_cookie_for_all_sites_a_response_goes_straight_to_its_app(fabric, alice):
    with saml(fabric, "saml-none", "--cookie-same-site", "none"):
        goes(fabric, "saml-none")


def test_without_the_switch_no_other_site_posts_to_an_app(fabric, alice):
    with saml(fabric, "saml-closed") as (_, service):
        goes(fabric, "closed")
        assert "POST" not in service.seen()


def test_ws_federation_comes_back_by_the_public_name(fabric, alice):
    sts, app = Stub(StsPages), Stub(AppPages)
    sts.registered = f"https://ws-federation.{DOMAIN}:{fabric.port}/"
    there = f"http://{HOST}:{sts.port}/"
    app.ask = lambda own, url: f"{there}?wa=wsignin1.0&wtrealm=urn%3Aapp&wreply={escaped(own + '/signin')}&wctx={escaped(url)}"
    try:
        publish(fabric, "ws-federation", app.url, "--cross-site-posts")
        goes(fabric, "ws-federation")
    finally:
        sts.stop()
        app.stop()


def test_openid_connect_comes_back_by_the_public_name(fabric, alice):
    app, port = Stub(AppPages), free_port()
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    key = fabric.folder / "claims.jwk"
    key.write_text(json.dumps({"kty": "RSA", "use": "sig", "n": base64url(numbers.n), "e": base64url(numbers.e)}))
    command = ["node", str(HERE / "provider.mjs"), str(port), str(fabric.port), DOMAIN, fabric.ca, str(key)]
    provider = Process("claims-provider", fabric.folder, command)
    asked = f"http://localhost:{port}/auth?client_id=app&response_type=id_token&response_mode=form_post&scope=openid&nonce=n"
    app.ask = lambda own, url: f"{asked}&redirect_uri={escaped(own + '/cb')}&state={escaped(url)}"
    try:
        provider.until("serves", lambda: "serves" in provider.log())
        publish(fabric, "openid", app.url, "--cross-site-posts")
        goes(fabric, "openid")
    finally:
        provider.stop()
        app.stop()
