"""WebSockets over HTTP/2 and HTTP/3, before an origin that speaks HTTP/1.1."""

import asyncio
import pathlib

import pytest
from websockets.asyncio.server import serve
from websockets.frames import CloseCode

import chromium
import socket_streams
from cases import noise
from socket_origin import CONVERSATION_S, serving

LARGE_BYTES = 1_000_003
# Tells the origin how it was loaded, and what came of its socket.
PAGE = """<!doctype html><title>page</title><script type="module">
const socket = new WebSocket(`wss://${location.host}/`, ['c', 'b']);
await new Promise((open) => (socket.onopen = open));
socket.send('hello');
const said = await new Promise((heard) => (socket.onmessage = (message) => heard(message.data)));
const closed = new Promise((end) => (socket.onclose = end));
socket.close(3000, 'enough');
const { code, reason, wasClean } = await closed;
const [page] = performance.getEntriesByType('navigation');
await fetch('/said/' + [page.nextHopProtocol, socket.protocol, said, code, reason, wasClean]);
</script>"""


@pytest.fixture(params=["h2", "h3"])
def run(request, fabric):
    """Runs a conversation with an origin: `act` gets a function that opens a socket at a path, and how sockets ended at the origin."""

    async def all_of_it(act):
        closed = asyncio.Queue()
        async with serving(closed) as server:
            port = server.sockets[0].getsockname()[1]
            host = await asyncio.to_thread(fabric.publish, f"streams-{port}", f"http://127.0.0.1:{port}")
            await asyncio.wait_for(act(opening(request.param, fabric, host), closed), CONVERSATION_S)

    return lambda act: asyncio.run(all_of_it(act))


def opening(version: str, fabric, host: str):
    if version == "h2":
        return lambda path, *fields: socket_streams.over_h2(host, fabric.port, fabric.tls("h2"), path, fields)
    return lambda path, *fields: socket_streams.over_h3(host, fabric.port, fabric.ca, path, fields)


def test_text_and_binary_of_any_size(run):
    async def act(open_at, _):
        async with open_at("/echo") as socket:
            assert socket.status() == b"200"
            for message in ["", b"", "hello", "ä€𝄞" * 1000, b"\x00\xff", noise(65_535), noise(65_536), noise(LARGE_BYTES)]:
                await socket.send(message)
                assert await socket.recv() == message

    run(act)


def test_the_origin_pings_and_is_answered(run):
    async def act(open_at, _):
        async with open_at("/ping") as socket:
            assert await socket.recv() == b"are you there"
            assert await socket.recv() == "pong came"

    run(act)


def test_subprotocols_and_cookies_are_agreed_on_with_the_answer(run):
    async def act(open_at, _):
        async with open_at("/echo", (b"sec-websocket-protocol", b"a, c, b"), (b"cookie", b"c=; d=1")) as socket:
            fields = socket.answer.result()
            assert [value for name, value in fields if name == b"sec-websocket-protocol"] == [b"b"]
            assert [value for name, value in fields if name == b"set-cookie"] == [b"a=1; Path=/", b"b=; HttpOnly"]
            assert (b"x-cookie-seen", b"c=; d=1") in fields
            # Of HTTP/1.1's handshake, which the agent makes.
            assert not {b"connection", b"upgrade", b"sec-websocket-accept"} & {name for name, _ in fields}

    run(act)


def test_the_origin_closes_and_the_stream_ends(run):
    async def act(open_at, _):
        async with open_at("/close/4999") as socket:
            assert await socket.ended
            assert (socket.frames.close_rcvd.code, socket.frames.close_rcvd.reason) == (4999, "because ä")

    run(act)


def test_the_user_closes_and_the_stream_ends(run):
    async def act(open_at, closed):
        async with open_at("/closed") as socket:
            await socket.close(3000, "enough")
            assert await closed.get() == (3000, "enough")
            assert await socket.ended

    run(act)


def test_an_origin_that_vanishes_is_seen_to(run):
    async def act(open_at, _):
        async with open_at("/vanish") as socket:
            await socket.ended
            assert socket.frames.close_rcvd is None

    run(act)


def test_a_user_who_vanishes_is_seen_to(run):
    async def act(open_at, closed):
        async with open_at("/closed") as socket:
            socket.link.vanish()
            code, _ = await closed.get()
            assert code != CloseCode.NORMAL_CLOSURE

    run(act)


def test_the_origins_refusal_is_passed_on(run):
    async def act(open_at, _):
        async with open_at("/refuse") as socket:
            assert await socket.ended
            assert (socket.status(), bytes(socket.body)) == (b"403", b"not you\n")

    run(act)


def test_chromium_opens_one_over_http2(fabric, tmp_path):
    asyncio.run(asyncio.wait_for(browse(fabric, tmp_path), CONVERSATION_S))


async def browse(fabric, folder: pathlib.Path):
    heard = asyncio.Queue()

    def page(connection, request):
        if request.path.startswith("/said/"):
            heard.put_nowait(request.path)
        if "Upgrade" in request.headers:
            return None
        answer = connection.respond(200, PAGE)
        del answer.headers["Content-Type"]
        answer.headers["Content-Type"] = "text/html"
        return answer

    async def echo(socket):
        await socket.send(await socket.recv())
        await socket.wait_closed()

    async with serve(echo, "127.0.0.1", 0, process_request=page, subprotocols=["b"]) as server:
        port = server.sockets[0].getsockname()[1]
        host = await asyncio.to_thread(fabric.publish, f"streams-{port}", f"http://127.0.0.1:{port}")
        log = folder / "net.json"
        command = chromium.command(fabric, host, folder, "--disable-quic", f"--log-net-log={log}", f"https://{host}:{fabric.port}/")
        browser = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            assert await heard.get() == "/said/h2,b,hello,3000,enough,true"
        finally:
            browser.terminate()
            await browser.wait()
    # Not over another connection, of HTTP/1.1.
    assert ":protocol: websocket" in log.read_text(errors="replace")
