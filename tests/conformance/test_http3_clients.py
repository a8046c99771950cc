"""Clients of HTTP/3 that no one here wrote, before Apache: niquests (qh3), libcurl (ngtcp2), aioquic and Chromium."""

import asyncio
import hashlib
import socket
import subprocess

import niquests
import pytest
from aioquic.asyncio.client import connect as quic_connect
from aioquic.quic.configuration import QuicConfiguration
from curl_cffi import CurlHttpVersion, CurlOpt, requests

import chromium
import users
from cases import noise
from exchange import Ask

PATIENCE_S = 30
# Writes down how it was loaded itself, and what it loaded, and whether a megabyte that it sent came back.
PAGE = """<!doctype html><title>page</title><script type="module">
await Promise.all([...Array(100).keys()].map((at) => fetch(`/part?${at}`).then((answer) => answer.text())));
const sent = new Uint8Array(1 << 20).map((_, at) => at * 7 + (at >> 8));
await fetch('/dav/chromium-h3', { method: 'PUT', body: sent });
const got = new Uint8Array(await (await fetch('/dav/chromium-h3', { cache: 'no-store' })).arrayBuffer());
const [page] = performance.getEntriesByType('navigation');
const ways = new Set(performance.getEntriesByType('resource').map((part) => part.nextHopProtocol));
const same = got.length === sent.length && got.every((byte, at) => byte === sent[at]);
document.title = [page.nextHopProtocol, ...ways, same].join(' ');
</script>"""


@pytest.fixture(scope="module")
def host(fabric, apache) -> str:
    (apache.www / "large").write_bytes(noise(5_000_011))
    (apache.www / "page.html").write_text(PAGE)
    (apache.www / "part").write_text("part")
    return fabric.publish("files-h3", apache.url)


@pytest.fixture
def libcurl(fabric, host):
    """Asks by libcurl, over HTTP/3 and nothing else."""
    reach = {CurlOpt.RESOLVE: [f"{host}:{fabric.port}:127.0.0.1"]}
    with requests.Session(curl_options=reach, verify=fabric.ca, http_version=CurlHttpVersion.V3ONLY, timeout=PATIENCE_S) as session:

        def ask(method: str, path: str, **more):
            answer = session.request(method, f"https://{host}:{fabric.port}{path}", **more)
            assert answer.http_version == 30, "not HTTP/3"
            return answer

        yield ask


@pytest.fixture
def qh3(fabric, host):
    """Asks by niquests, over HTTP/3 and nothing else."""
    with niquests.Session(resolver=f"in-memory://default?hosts={host}:127.0.0.1", disable_http1=True, disable_http2=True) as session:
        session.quic_cache_layer.add_domain(host, fabric.port, fabric.port)

        def ask(method: str, path: str, **more):
            answer = session.request(method, f"https://{host}:{fabric.port}{path}", verify=fabric.ca, timeout=PATIENCE_S, **more)
            assert answer.http_version == 30, "not HTTP/3"
            return answer

        yield ask


@pytest.fixture(params=["libcurl", "qh3"])
def ask(request):
    return request.getfixturevalue(request.param)


def test_a_large_body_comes_whole(ask, apache):
    answer = ask("GET", "/large")
    assert (answer.status_code, digest(answer.content)) == (200, digest((apache.www / "large").read_bytes()))


def test_a_range_comes(ask, apache):
    answer = ask("GET", "/large", headers={"Range": "bytes=1000000-1000099"})
    assert (answer.status_code, answer.content) == (206, (apache.www / "large").read_bytes()[1_000_000:1_000_100])


def test_a_large_body_goes_up(ask, apache, request):
    body, name = noise(3_000_017), f"dav/{request.node.callspec.id}-h3"
    assert ask("PUT", f"/{name}", data=body).status_code in (201, 204)
    assert digest((apache.www / name).read_bytes()) == digest(body)


def test_many_requests_follow_each_other(ask):
    assert [ask("GET", "/part").content for _ in range(50)] == [b"part"] * 50


def test_many_requests_share_a_connection(fabric, host):
    """Of libcurl: all wait for the first connection, and none makes another."""

    async def all_of_it():
        options = {CurlOpt.RESOLVE: [f"{host}:{fabric.port}:127.0.0.1"], CurlOpt.PIPEWAIT: 1}
        async with requests.AsyncSession(
            curl_options=options, verify=fabric.ca, http_version=CurlHttpVersion.V3ONLY, timeout=PATIENCE_S, max_clients=100
        ) as session:
            asked = [session.get(f"https://{host}:{fabric.port}/part?{at}") for at in range(100)]
            return await asyncio.gather(*asked)

    answers = asyncio.run(all_of_it())
    assert [answer.content for answer in answers] == [b"part"] * 100
    assert len({answer.local_port for answer in answers}) == 1


def test_head_has_the_length_and_no_body(ask):
    answer = ask("HEAD", "/large")
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "5000011", b"")


async def moves(link):
    """Goes on at another port, as behind a NAT that forgot it."""
    own = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    own.bind(("::", 0))
    before = link._transport
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: link, sock=own)
    before.close()


async def changes_keys(link):
    link.request_key_update()


async def changes_its_connection_id(link):
    link.change_connection_id()


@pytest.mark.parametrize("disturb", [moves, changes_keys, changes_its_connection_id], ids=lambda disturb: disturb.__name__)
def test_a_download_goes_on_when_the_user(fabric, host, apache, disturb):
    """By aioquic."""

    async def download():
        settings = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=host)
        settings.load_verify_locations(fabric.ca)
        async with quic_connect("127.0.0.1", fabric.port, configuration=settings, create_protocol=users.ExchangeH3) as link:
            asked = asyncio.create_task(link.exchange(Ask(target=b"/large"), host))
            while len(link.answer.body) < 100_000:
                await asyncio.sleep(0)
            assert not link.ended.is_set()
            await disturb(link)
            return await asyncio.wait_for(asked, PATIENCE_S)

    got = asyncio.run(download())
    assert (got.status, got.whole, digest(got.body.data)) == (200, True, digest((apache.www / "large").read_bytes()))


def test_chromium_loads_a_page(fabric, host, tmp_path):
    forced = f"--origin-to-force-quic-on={host}:{fabric.port}"
    ends = [f"--timeout={PATIENCE_S * 1000}", "--virtual-time-budget=5000", "--dump-dom"]
    browser = chromium.command(fabric, host, tmp_path, forced, *ends, f"https://{host}:{fabric.port}/page.html")
    done = subprocess.run(browser, capture_output=True, text=True, timeout=PATIENCE_S + 10)
    assert "<title>h3 h3 true</title>" in done.stdout, done.stdout + done.stderr


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
