"""An origin of WebSockets, by `websockets`: what it does is told by the path."""

import asyncio
import contextlib
import functools
import json

import websockets
from websockets.asyncio.server import serve

# Longest that any conversation takes.
CONVERSATION_S = 20


def serving(closed: asyncio.Queue):
    """The origin, for `async with`. How the sockets of `/closed` ended goes to `closed`."""
    says = {"select_subprotocol": agree, "process_request": refuse, "process_response": greet}
    return serve(functools.partial(converse, closed), "127.0.0.1", 0, max_size=None, subprotocols=["b", "c"], **says)


async def converse(closed: asyncio.Queue, socket) -> None:
    """What the origin does at each path."""
    way, _, argument = socket.request.path.strip("/").partition("/")
    match way:
        case "echo":
            async for message in socket:
                await socket.send(message)
        case "fragments":
            # Says how a message came: fragment by fragment.
            parts = [part async for part in socket.recv_streaming()]
            await socket.send(json.dumps(parts))
            await socket.send(iter(parts))
        case "ping":
            await asyncio.wait_for(await socket.ping(b"are you there"), CONVERSATION_S)
            await socket.send("pong came")
        case "close":
            await socket.close(int(argument), "because ä")
        case "closed":
            with contextlib.suppress(websockets.ConnectionClosed):
                await socket.recv()
            closed.put_nowait((socket.close_code, socket.close_reason))
        case "vanish":
            await socket.send("now")
            socket.transport.abort()
        case "count":
            for at in range(int(argument)):
                await socket.send(f"{at}")


def greet(connection, request, response) -> None:
    """Adds to the 101 what browsers must get."""
    response.headers["Set-Cookie"] = "a=1; Path=/"
    response.headers["Set-Cookie"] = "b=; HttpOnly"
    response.headers["X-Cookie-Seen"] = request.headers.get("Cookie", "none")


def agree(connection, subprotocols: list[str]) -> str | None:
    """Of what is offered, the origin's own favourite."""
    return next((known for known in ["b", "c"] if known in subprotocols), None)


def refuse(connection, request):
    return connection.respond(403, "not you\n") if request.path == "/refuse" else None
