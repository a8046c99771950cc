"""Node on both sides: its `http`, its `https`, and the package `ws`."""

import pathlib
import subprocess

import pytest

SCRIPT = str(pathlib.Path(__file__).parent / "websocket.mjs")


@pytest.fixture
def port():
    server = subprocess.Popen(["node", SCRIPT, "serve"], stdout=subprocess.PIPE, text=True)
    yield int(server.stdout.readline())
    server.kill()
    server.wait()


def test_node_speaks_websocket_upgrades_and_plain_http(fabric, port: int):
    host = fabric.publish("node", f"http://127.0.0.1:{port}")
    asked = ["node", SCRIPT, "ask", host, str(fabric.port), fabric.ca]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=40)
    assert done.stdout == "all good\n", done.stdout + done.stderr
