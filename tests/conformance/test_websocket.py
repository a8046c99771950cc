"""WebSockets by `websockets` on both sides, and by Node's `ws`: everything that they can say passes as it does directly."""

import asyncio
import json
import ssl

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.frames import CloseCode

from cases import noise
from socket_origin import CONVERSATION_S, serving

LARGE_BYTES = 16 * 1024 * 1024 + 1
# How sockets at `/closed` ended.
CLOSED: asyncio.Queue = None


@pytest.fixture(params=["directly", "through the fabric"])
def run(request, fabric):
    """Runs a conversation with an origin: `act` gets a function that opens a socket at a path."""

    async def all_of_it(act):
        global CLOSED
        CLOSED = asyncio.Queue()
        async with serving(CLOSED) as server:
            opener = await asyncio.to_thread(opening, request.param, fabric, server.sockets[0].getsockname()[1])
            await asyncio.wait_for(act(opener), CONVERSATION_S)

    return lambda act: asyncio.run(all_of_it(act))


def opening(way: str, fabric, port: int):
    if way == "directly":
        return lambda path, **more: connect(f"ws://127.0.0.1:{port}{path}", max_size=None, **more)
    host = fabric.publish(f"sockets-{port}", f"http://127.0.0.1:{port}")
    tls: ssl.SSLContext = fabric.tls("http/1.1")
    url = f"wss://{host}:{fabric.port}"
    return lambda path, **more: connect(f"{url}{path}", host="127.0.0.1", ssl=tls, max_size=None, **more)


def test_text_and_binary_of_any_size(run):
    async def act(open_at):
        async with open_at("/echo") as socket:
            for message in ["", b"", "hello", "ä€𝄞" * 1000, b"\x00\xff", noise(65_535), noise(65_536), noise(LARGE_BYTES)]:
                await socket.send(message)
                assert await socket.recv() == message

    run(act)


def test_fragments_stay_fragments(run):
    async def act(open_at):
        async with open_at("/fragments", compression=None) as socket:
            await socket.send(iter(["a", "", "bc"]))
            assert [part for part in json.loads(await socket.recv()) if part] == ["a", "bc"]
            assert [part async for part in socket.recv_streaming() if part] == ["a", "bc"]

    run(act)


def test_both_sides_ping(run):
    async def act(open_at):
        async with open_at("/ping") as socket:
            assert await socket.recv() == "pong came"
        async with open_at("/echo") as socket:
            await (await socket.ping(b"x" * 125))

    run(act)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1009, 1011, 3000, 4999])
def test_close_codes_pass_both_ways(run, code: int):
    async def act(open_at):
        async with open_at(f"/close/{code}") as socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "because ä")
        async with open_at("/closed") as socket:
            await socket.close(code, "enough")
            assert await CLOSED.get() == (code, "enough")
            assert socket.close_code == code

    run(act)


def test_an_origin_that_vanishes_is_seen_to(run):
    async def act(open_at):
        async with open_at("/vanish") as socket:
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd is None or closed.value.rcvd.code != CloseCode.NORMAL_CLOSURE

    run(act)


def test_a_user_who_vanishes_is_seen_to(run):
    async def act(open_at):
        socket = await open_at("/closed")
        socket.transport.abort()
        code, _ = await CLOSED.get()
        assert code != CloseCode.NORMAL_CLOSURE

    run(act)


def test_subprotocols_and_cookies_are_agreed_on_with_the_101(run):
    async def act(open_at):
        headers = {"Cookie": "c=; d=1"}
        async with open_at("/echo", subprotocols=["a", "c", "b"], additional_headers=headers) as socket:
            assert socket.subprotocol == "b"
            assert socket.response.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=; HttpOnly"]
            assert socket.response.headers["X-Cookie-Seen"] == "c=; d=1"

    run(act)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_compression_is_agreed_on_between_user_and_origin(run, compression):
    async def act(open_at):
        async with open_at("/echo", compression=compression) as socket:
            assert bool(socket.protocol.extensions) == (compression == "deflate")
            await socket.send("a" * 100_000)
            assert await socket.recv() == "a" * 100_000

    run(act)


def test_the_origins_refusal_is_passed_on(run):
    async def act(open_at):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await open_at("/refuse")
        assert (refused.value.response.status_code, refused.value.response.body) == (403, b"not you\n")

    run(act)


def test_many_messages_and_many_sockets(run):
    async def one(open_at):
        async with open_at("/count/200") as socket:
            assert [await socket.recv() for _ in range(200)] == [f"{at}" for at in range(200)]

    async def act(open_at):
        await asyncio.gather(*[one(open_at) for _ in range(100)])

    run(act)
