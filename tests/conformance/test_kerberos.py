"""Users of an OpenID provider get into an app of a Kerberos domain: by Chromium, and by a native app with the provider's access token."""

import os
import pathlib
import socket
import subprocess
import time

import pytest
from websockets.sync.client import connect

from fabric import DOMAIN, eventually
from kerberos_lab import KerberosLab, PackagesMissing
from openid_provider import WALK_S, Provider

PASSWORD = "Known-to-the-provider-alone-1"
# How long an answer may take.
WAIT_S = 20
# Bytes of an upload that is longer than all that is kept of one on the way.
LARGE_BYTES = 8_000_000
# Tokens that were made so soon after their provider was published are as those before it: its clock may be ahead.
LEEWAY_S = 30
# Of a process that is read at a time.
PIECE_BYTES = 1 << 20

pytestmark = pytest.mark.timeout(2 * WALK_S)


@pytest.fixture(scope="module")
def lab():
    try:
        started = KerberosLab()
    except PackagesMissing as missing:
        pytest.skip(f"NOT RUN: {missing}: ./test installs them")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def provider(fabric, lab):
    """One that says principal names, and apps for its users whose agent signs them on."""
    fabric.add_agent("kerberos", more=lab.agent())
    started = Provider(fabric, "directory", "directory")
    (fabric.folder / "directory.credential").write_text("a secret: with % and +\n")
    client = ("--client-id", "adit", "--client-authentication", "secret-basic", "--credential-file", "directory.credential")
    fabric.run(
        "identity-provider", "create", "directory", "--issuer", started.issuer, "--private-network", *client, "--keep-claim", "upn", "--plain-groups"
    )
    started.published = time.monotonic()
    closed = ("--access", "sign-in", "--assign-everyone", "--identity-provider", "directory", "--group", "kerberos")
    sso = ("--sso", "kerberos", "--sso-spn", lab.said["LAB_APP_SPN"])
    tokens = ("--token-audience", "urn:lab-app", "--token-scope", "app:use")
    for app, more in [("kerberos", tokens), ("kerberos-account", ("--sso-name-form", "local-part"))]:
        host = f"{app}.{DOMAIN}"
        fabric.run("app", "publish", app, "--host", host, "--origin", f"http://{lab.said['LAB_APP_ADDR']}", *closed, *sso, *more)
        fabric.until_served(host)
    yield started
    started.process.stop()


def test_chromium_gets_users_of_a_provider_into_an_app_of_a_kerberos_domain(fabric, lab, provider):
    with provider.user("kerberos", PASSWORD) as user:
        user.until("all good")
    log = next(one for one in fabric.processes if one.name == "kerberos").log
    for user, stage, number in [("carol", "proxy", 13), ("dave", "self", 12), ("unknown", "self", 6)]:
        parts = ["cannot be signed on", f"{user}@lab.test", f'"stage":"{stage}"', f'"number":{number},']
        eventually(f"the agent says why not {user}", lambda: any(all(part in line for part in parts) for line in log().splitlines()))
    knows = [str(path) for folder in (fabric.folder, lab.folder) for path in folder.rglob("*") if path.is_file() and holds(path.read_bytes())]
    assert knows == []
    for process in fabric.processes:
        assert not any(holds(piece) for piece in memory(process.child.pid)), process.name
    # The search finds what is there.
    assert any(holds(piece) for piece in memory(os.getpid()))


def holds(content: bytes) -> bool:
    return PASSWORD.encode() in content


def memory(pid: int):
    """What a process has in memory, piece by piece."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as held:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            begin, end = (int(number, 16) for number in span.split("-"))
            if not rights.startswith("rw"):
                continue
            rest = b""
            for at in range(begin, end, PIECE_BYTES):
                try:
                    held.seek(at)
                    piece = held.read(min(PIECE_BYTES, end - at))
                except OSError:
                    break
                yield rest + piece
                rest = piece[-len(PASSWORD) :]


@pytest.fixture(scope="module")
def tokens(provider) -> dict[str, str]:
    """Access tokens that a native app got for its users."""
    time.sleep(max(0, provider.published + LEEWAY_S + 2 - time.monotonic()))
    users = ["alice", "bob", "carol"]
    with provider.user("phone", *users) as user:
        tokens = {name: user.says(f"token of {name}: ") for name in users}
        user.until("all good")
    return tokens


@pytest.fixture
def curl(fabric, tmp_path):
    """Asks for a page of the app with a bearer token; gives status and text."""

    def run(token: str, path: str, *more: str) -> tuple[int, str]:
        # Tokens are no arguments.
        (tmp_path / "field").write_text(f'header = "Authorization: Bearer {token}"\n')
        host = f"kerberos.{DOMAIN}"
        command = ["curl", "-sS", "--max-time", "30", "--cacert", fabric.ca, "--config", str(tmp_path / "field"), "-w", "\n%{http_code}"]
        command += ["--resolve", f"{host}:{fabric.port}:127.0.0.1", *more, f"https://{host}:{fabric.port}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40)
        assert done.returncode == 0, done.stderr
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    return run


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_native_app_with_a_token_of_the_provider_is_its_user_to_the_app(tokens, curl, tmp_path, version):
    for user, seen in [("alice", "alice\\@lab.test@LAB.TEST"), ("bob", "bob\\@corp.example@LAB.TEST")]:
        status, text = curl(tokens[user], "/echo", version)
        assert status == 200, text
        lines = text.splitlines()
        assert f"user={seen}" in lines, text
        # The backend gets Kerberos, and the provider's token ends at the edge.
        assert "authorization-scheme=Negotiate" in lines and "Bearer" not in text and tokens[user] not in text, text
    upload = tmp_path / "upload"
    upload.write_bytes(b"x" * LARGE_BYTES)
    # HTTP/2 has no chunks, and says nothing of the length.
    without_length = {"--http1.1": "Transfer-Encoding: chunked", "--http2": "Content-Length:"}
    for more in [(), ("-H", without_length[version])]:
        status, text = curl(tokens["alice"], "/echo", version, "--data-binary", f"@{upload}", *more)
        assert status == 200 and f"body-bytes={LARGE_BYTES}" in text.splitlines(), text


def test_a_native_app_opens_a_websocket_of_the_app(fabric, tokens):
    for user, seen in [("alice", "alice\\@lab.test@LAB.TEST"), ("bob", "bob\\@corp.example@LAB.TEST")]:
        link = socket.create_connection(("127.0.0.1", fabric.port), WAIT_S)
        field = {"Authorization": f"Bearer {tokens[user]}"}
        with connect(f"wss://kerberos.{DOMAIN}/socket", sock=link, ssl=fabric.tls("http/1.1"), additional_headers=field, open_timeout=WAIT_S) as opened:
            opened.send("hello")
            assert opened.recv(WAIT_S) == f"{seen}: hello"


def test_tokens_that_are_none_or_of_users_that_the_domain_refuses_are_told_apart(lab, tokens, curl):
    asked = lambda: (pathlib.Path(lab.said["LAB_DIR"]) / "web/log/access.log").read_text().count("/whoami")
    before = asked()
    status, text = curl(tokens["carol"], "/whoami")
    assert status == 403 and "sso_user_refused" in text, text
    head, body, signature = tokens["alice"].split(".")
    status, text = curl(f"{head}.{body}.{signature[::-1]}", "/whoami")
    assert status == 401 and "bad_token" in text, text
    assert asked() == before
