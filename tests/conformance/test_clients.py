"""Clients that no one here wrote, before a server that no one here wrote: curl, nghttp and h2load before Apache."""

import hashlib
import re
import subprocess

import pytest

from cases import noise


@pytest.fixture(scope="module")
def host(fabric, apache) -> str:
    (apache.www / "big").write_bytes(noise(20_000_003))
    (apache.www / "index.html").write_text("hello")
    return fabric.publish("files", apache.url)


@pytest.fixture
def curl(fabric, host, tmp_path):
    """Runs curl for the app; gives what it printed."""

    def run(path: str, *args: str) -> str:
        command = ["curl", "-sS", "--fail-with-body", "--max-time", "30", "--cacert", fabric.ca]
        command += ["--resolve", f"{host}:{fabric.port}:127.0.0.1", f"https://{host}:{fabric.port}{path}", *args]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=40)
        assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


VERSIONS = {"--http1.1": "1.1", "--http2": "2"}


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_loads_what_the_server_has(curl, apache, tmp_path, version: str):
    assert curl("/big", version, "-o", "got", "-w", "%{http_code} %{http_version}") == f"200 {VERSIONS[version]}"
    assert same(tmp_path / "got", apache.www / "big")


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_resumes_a_download(curl, apache, tmp_path, version: str):
    whole = (apache.www / "big").read_bytes()
    (tmp_path / "got").write_bytes(whole[:7_000_001])
    assert curl("/big", version, "-C", "-", "-o", "got", "-w", "%{http_code} %{size_download}") == f"206 {len(whole) - 7_000_001}"
    assert same(tmp_path / "got", apache.www / "big")


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_loads_several_ranges(curl, version: str):
    assert curl("/index.html", version, "-r", "0-0,4-4").count("Content-range: bytes") == 2


@pytest.mark.parametrize("how", ["known", "chunked", "expect100"])
@pytest.mark.parametrize("version", VERSIONS)
def test_curl_uploads(curl, apache, tmp_path, version: str, how: str):
    (tmp_path / "put").write_bytes(noise(8_000_009))
    args = {
        "known": ["-H", "Expect:"],
        "chunked": ["-H", "Expect:", "-H", "Content-Length:", "-H", "Transfer-Encoding: chunked"],
        "expect100": ["-H", "Expect: 100-continue"],
    }[how]
    name = f"dav/{how}{version}"
    command = ["-T", "put", *args, version, "-o", "said", "-w", "%{http_code}"]
    assert curl(f"/{name}", *command) in ("201", "204")
    assert same(tmp_path / "put", apache.www / name)


def test_curl_keeps_one_connection_for_many_requests(curl):
    said = curl("/index.html?[1-20]", "--http1.1", "-o", "/dev/null", "-w", "%{num_connects} ")
    assert said.split() == ["1"] + ["0"] * 19


def test_curl_asks_many_at_once_on_one_connection(curl):
    said = curl("/index.html?[1-50]", "--http2", "-Z", "--parallel-max", "50", "-o", "/dev/null", "-w", "%{http_code} ")
    assert said.split() == ["200"] * 50


def test_nghttp_gets_and_sends(fabric, host, tmp_path):
    url = f"https://127.0.0.1:{fabric.port}"
    name = ["-H", f":authority: {host}"]
    done = subprocess.run(["nghttp", "-v", *name, f"{url}/index.html"], capture_output=True, text=True, timeout=30)
    assert ":status: 200" in done.stdout and "hello" in done.stdout, done.stdout + done.stderr
    (tmp_path / "put").write_bytes(b"sent by nghttp")
    put = ["nghttp", "-v", *name, "-H", ":method: PUT", "-d", str(tmp_path / "put"), f"{url}/dav/nghttp"]
    done = subprocess.run(put, capture_output=True, text=True, timeout=30)
    assert ":status: 201" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["h2", "http/1.1"])
def test_h2load_gets_nothing_but_2xx(fabric, host, version: str):
    command = ["h2load", "-n", "2000", "-c", "8", f"--npn-list={version}", f"--connect-to=127.0.0.1:{fabric.port}"]
    command += ["-m", "32"] if version == "h2" else []
    done = subprocess.run([*command, f"https://{host}:{fabric.port}/index.html"], capture_output=True, text=True, timeout=50)
    assert re.search(r"status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx", done.stdout), done.stdout + done.stderr


def same(one, other) -> bool:
    return hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()
