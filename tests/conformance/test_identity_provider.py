"""Users sign in by a certified OpenID provider (npm `oidc-provider`), in Chromium."""

import http.server
import os
import pathlib
import subprocess
import threading

import pytest

from fabric import DOMAIN, Process, free_port

HERE = pathlib.Path(__file__).parent
# Chromium starts, and walks through some twenty pages.
WALK_S = 120


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


@pytest.fixture
def origin():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture
def provider(fabric):
    port = free_port()
    command = ["node", str(HERE / "provider.mjs"), str(port), str(fabric.port), DOMAIN, fabric.ca]
    process = Process("provider", fabric.folder, command)
    try:
        process.until("serves", lambda: "serves" in process.log())
        (fabric.folder / "credential").write_text("a secret: with % and +\n")
        fabric.run(
            "identity-provider",
            "create",
            "staff",
            *("--display-name", "Staff", "--issuer", f"http://localhost:{port}", "--client-id", "adit"),
            *("--credential-file", "credential", "--private-network", "--plain-groups", "--sign-out"),
        )
        yield process, port
    finally:
        process.stop()


def test_users_sign_in_once_for_all_apps_and_out_at_either_end(fabric, origin: str, provider):
    process, port = provider
    closed = ("--access", "sign-in", "--assign-user-group", "staff")
    for app, host, more in [
        ("one", f"one.{DOMAIN}", ()),
        ("two", "two.other.test", ()),
        ("only", f"only.{DOMAIN}", ("--identity-provider", "staff")),
    ]:
        fabric.run("app", "publish", app, "--host", host, "--origin", origin, *closed, *more)
    walk = ["node", str(HERE / "provider_user.mjs"), str(fabric.port), str(port), os.environ.get("ADIT_TEST_PICTURES", "")]
    done = subprocess.run(walk, capture_output=True, text=True, timeout=WALK_S)
    logs = [one.log()[-3000:] for one in [process, *fabric.processes] if one.name in ("provider", "edge")]
    assert done.stdout == "all good\n", "\n".join([done.stdout, done.stderr, *logs])
    assert "told /sign-out/back-channel 200" in process.log()
    listed = fabric.run("identity-provider", "list", "--output", "json")
    assert "a secret" not in listed
