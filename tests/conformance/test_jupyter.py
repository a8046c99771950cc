"""JupyterLab works behind the fabric: its page, its files, and a kernel over its WebSocket."""

import asyncio
import base64
import json
import os
import pathlib
import subprocess
import sys
import uuid

import pytest
from websockets.asyncio.client import connect

from cases import noise
from fabric import Process, free_port, listens

TOKEN = "conformance"
UPLOAD_BYTES = 40 * 1024 * 1024
# The server and its kernels start slowly on a busy machine.
START_S = 60
EXECUTE_S = 50

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="module")
def host(fabric, files) -> str:
    port, folder = free_port(), files / "shown"
    folder.mkdir()
    command = [str(pathlib.Path(sys.executable).parent / "jupyter-lab"), "--no-browser", "--allow-root", f"--port={port}"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"]
    # What keeps it from looking anything up elsewhere.
    command += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    quiet = {"HOME": str(files), "JUPYTER_PLATFORM_DIRS": "1", "PATH": os.environ["PATH"]}
    process = Process("jupyter", files, command, env=quiet)
    try:
        process.until("listens", lambda: listens(port), START_S)
        yield fabric.publish("lab", f"http://127.0.0.1:{port}")
    finally:
        process.stop()


@pytest.fixture
def curl(fabric, host, tmp_path):
    """Runs curl for a path; gives what the server said."""

    def run(path: str, *args: str) -> bytes:
        command = ["curl", "-sS", "--fail-with-body", "--max-time", "40", "--cacert", fabric.ca]
        command += ["--resolve", f"{host}:{fabric.port}:127.0.0.1", "-H", f"Authorization: token {TOKEN}"]
        done = subprocess.run([*command, f"https://{host}:{fabric.port}{path}", *args], cwd=tmp_path, capture_output=True, timeout=50)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_page_and_its_scripts_load(curl):
    page = curl("/lab").decode()
    script = next(part.split('"')[0] for part in page.split('src="')[1:] if "/static/lab/" in part.split('"')[0])
    assert len(curl(script)) > 1000


def test_a_kernel_computes_over_its_websocket(fabric, curl, host):
    kernel = json.loads(curl("/api/kernels", "-X", "POST"))["id"]
    try:
        assert asyncio.run(asyncio.wait_for(execute(fabric, host, kernel, "1+1"), EXECUTE_S)) == "2"
    finally:
        curl(f"/api/kernels/{kernel}", "-X", "DELETE")


async def execute(fabric, host: str, kernel: str, code: str) -> str:
    """What a kernel says to a line of code."""
    url = f"wss://{host}:{fabric.port}/api/kernels/{kernel}/channels?token={TOKEN}"
    origin = f"https://{host}:{fabric.port}"
    async with connect(url, host="127.0.0.1", ssl=fabric.tls("http/1.1"), origin=origin, max_size=None) as socket:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
        ask = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": ask, "channel": "shell", "buffers": []}
        await socket.send(json.dumps(message))
        while True:
            said = json.loads(await socket.recv())
            if said["msg_type"] == "execute_result" and said["parent_header"]["msg_id"] == header["msg_id"]:
                return said["content"]["data"]["text/plain"]


def test_40_mib_are_uploaded_and_come_back_whole_and_in_parts(curl, files, tmp_path):
    data = noise(UPLOAD_BYTES)
    # The interface of Jupyter takes files in chunks of JSON; the last one has the number -1.
    step = UPLOAD_BYTES // 4
    for number in range(4):
        part = upload_part(data[number * step : (number + 1) * step], -1 if number == 3 else number + 1)
        (tmp_path / "part").write_text(part)
        curl("/api/contents/big.bin", "-X", "PUT", "-H", "Content-Type: application/json", "-T", "part")
    assert (files / "shown/big.bin").read_bytes() == data
    assert curl("/files/big.bin") == data
    assert curl("/files/big.bin", "-r", "1000-1999") == data[1000:2000]


def upload_part(data: bytes, number: int) -> str:
    content = base64.b64encode(data).decode()
    return json.dumps({"type": "file", "format": "base64", "name": "big.bin", "path": "big.bin", "chunk": number, "content": content})
