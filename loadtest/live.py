#!/usr/bin/env python3
"""Measures what must not wait and must not be lost, with real processes on loopback.

    cargo build --release && tests/conformance/run --version
    target/conformance/python/bin/python loadtest/live.py target/release/adit dribble
    target/conformance/python/bin/python loadtest/live.py target/release/adit websockets

`dribble`: single bytes every 100 ms for 60 s on 20 streams, down and up; prints the delay of each byte directly and through the
fabric, and what the fabric adds: the difference of each share. `websockets`: 1,000 sockets are held for two minutes, each with a message there and back every ten seconds; prints how
many were lost.
"""

import asyncio
import contextlib
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/conformance"))

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from fabric import Fabric

STREAMS = 20
# Twice the grace of an edge's body_pace: a body that is cut for being slow is cut within it.
BYTES = 600
PAUSE_S = 0.1
SOCKETS = 1_000
HELD_S = 120
TALK_EVERY_S = 10
# The users come from so many addresses, so that no address is near an edge's limits.client_connections.
ADDRESSES = 4
# Handshakes at once while the sockets are opened.
OPENING_MAX = 20


class Times:
    """When each byte of each stream was sent and came, by the one clock of this process."""

    def __init__(self):
        self.sent: dict[tuple, float] = {}
        self.delays_ms: list[float] = []

    def send(self, stream, at: int):
        self.sent[stream, at] = time.monotonic()

    def come(self, stream, at: int):
        self.delays_ms.append((time.monotonic() - self.sent[stream, at]) * 1000)

    def shares(self) -> dict[str, float]:
        ordered = sorted(self.delays_ms)
        return {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 90, 99)}

    def line(self) -> str:
        return f"{len(self.delays_ms)} bytes, " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in self.shares().items())

    def added_to(self, direct: "Times") -> str:
        """By how much each share is later than that of `direct`."""
        shares = direct.shares()
        return ", ".join(f"{name} {ms - shares[name]:+.2f} ms" for name, ms in self.shares().items())


async def send_bytes(writer, times: Times, stream):
    for at in range(BYTES):
        await asyncio.sleep(PAUSE_S)
        times.send(stream, at)
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def take_bytes(reader, times: Times, stream):
    """Reads a chunked body however it is cut, and notes each byte."""
    at = 0
    while (size := int(await reader.readline(), 16)) > 0:
        for _ in range(size):
            assert await reader.readexactly(1) == b"x"
            times.come(stream, at)
            at += 1
        await reader.readline()
    assert at == BYTES, f"{at} bytes came"
    await reader.readline()


async def dribble_at(port: int, host: str, tls, origin_times: dict[str, Times]):
    down, up = Times(), Times()
    origin_times |= {"down": down, "up": up}

    async def one(stream: int):
        name = {"server_hostname": host} if tls else {}
        for way in ("down", "up"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, **name)
            method, body = ("GET", "") if way == "down" else ("POST", "Transfer-Encoding: chunked\r\n")
            writer.write(f"{method} /{way}/{stream} HTTP/1.1\r\nHost: {host}\r\n{body}\r\n".encode())
            if way == "up":
                await send_bytes(writer, up, stream)
            await reader.readuntil(b"\r\n\r\n")
            if way == "down":
                await take_bytes(reader, down, stream)
            writer.close()

    await asyncio.gather(*[one(stream) for stream in range(STREAMS)])
    return down, up


async def dribble(fabric: Fabric):
    times: dict[str, Times] = {}

    async def answer(reader, writer):
        # Idle connections of the agent are still there at the end.
        with contextlib.suppress(asyncio.CancelledError):
            await answer_all(reader, writer)

    async def answer_all(reader, writer):
        while head := await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            way, _, stream = head.split()[1].decode().strip("/").partition("/")
            if way == "up":
                await take_bytes(reader, times["up"], int(stream))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            elif way == "down":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                await send_bytes(writer, times["down"], int(stream))
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    host = await asyncio.to_thread(fabric.publish, "dribble", f"http://127.0.0.1:{port}")
    ways = ("down", "up")
    direct = dict(zip(ways, await dribble_at(port, host, None, times)))
    through = dict(zip(ways, await dribble_at(fabric.port, host, fabric.tls("http/1.1"), times)))
    for way in ways:
        print(f"{way}, directly: {direct[way].line()}")
        print(f"{way}, through the fabric: {through[way].line()}")
        print(f"{way}, added: {through[way].added_to(direct[way])}", flush=True)


async def websockets(fabric: Fabric):
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        host = await asyncio.to_thread(fabric.publish, "sockets", f"http://127.0.0.1:{port}")
        tls, opening = fabric.tls("http/1.1"), asyncio.Semaphore(OPENING_MAX)
        all_open = asyncio.Event()

        async def one(number: int) -> str | None:
            """Why a socket was lost; None if it was not."""
            try:
                async with opening:
                    url, user = f"wss://{host}:{fabric.port}/", f"127.0.0.{1 + number % ADDRESSES}"
                    way = {"host": "127.0.0.1", "local_addr": (user, 0), "ssl": tls}
                    socket = await connect(url, **way, ping_interval=None, open_timeout=60, compression=None)
                await all_open.wait()
                await asyncio.sleep(TALK_EVERY_S * number / SOCKETS)
                for _ in range(HELD_S // TALK_EVERY_S):
                    await socket.send(f"{number}")
                    assert await socket.recv() == f"{number}", "another's message"
                    await asyncio.sleep(TALK_EVERY_S)
                await socket.close()
                assert socket.close_code == 1000, f"closed with {socket.close_code}"
            except Exception as error:
                return repr(error)

        tasks = [asyncio.create_task(one(number)) for number in range(SOCKETS)]
        begin = time.monotonic()
        while len(server.connections) < SOCKETS and not any(task.done() for task in tasks):
            await asyncio.sleep(0.1)
        print(f"{len(server.connections)} sockets are open after {time.monotonic() - begin:.1f} s", flush=True)
        all_open.set()
        lost = [why for why in await asyncio.gather(*tasks) if why]
        print(f"{SOCKETS} sockets held for {HELD_S} s: {len(lost)} lost {sorted(set(lost))[:5]}")
        for process in fabric.processes:
            status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
            print(process.name, next(line for line in status.splitlines() if line.startswith("VmHWM")))


def main():
    program, what = sys.argv[1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fabric = Fabric(program)
    try:
        asyncio.run({"dribble": dribble, "websockets": websockets}[what](fabric))
    finally:
        fabric.stop()


if __name__ == "__main__":
    main()
