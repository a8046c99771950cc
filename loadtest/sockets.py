#!/usr/bin/python3
"""WebSockets that are held, and how each ended; for the scripts beside it.

  sockets.py serve PORT
      echoes messages on loopback
  sockets.py hold URL CA PORT USERS OVER
      holds a socket for each user until the file OVER is there, through the port of an edge; says something twice a second, and begins anew
      when it was closed

`hold` prints for each socket that ended "closed CODE MILLISECONDS_SINCE_1970", and "silent ..." for one that did not echo within 10 s.
Needs Debian's python3-websockets (RFC 6455).
"""

import asyncio
import contextlib
import os
import ssl
import sys
import time
from urllib.parse import urlsplit

import websockets

ECHO_MAX = 10


async def serve(port):
    async def echo(socket):
        # Edges that go away tell users why, and end the way to the app.
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    async with websockets.serve(echo, "127.0.0.1", port, ping_interval=None):
        await asyncio.Future()


async def hold(url, ca, port, over):
    tls = ssl.create_default_context(cafile=ca)
    while not os.path.exists(over):
        try:
            async with websockets.connect(
                url,
                ssl=tls,
                server_hostname=urlsplit(url).hostname,
                host="127.0.0.1",
                port=port,
                ping_interval=None,
                close_timeout=2,
            ) as socket:
                while not os.path.exists(over):
                    await socket.send("still there")
                    await asyncio.wait_for(socket.recv(), ECHO_MAX)
                    await asyncio.sleep(0.5)
        except websockets.ConnectionClosed as closed:
            told("closed", closed.rcvd.code if closed.rcvd else 1006)
        except asyncio.TimeoutError:
            told("silent", 0)
        except (OSError, websockets.InvalidHandshake) as error:
            told("refused", type(error).__name__)
            await asyncio.sleep(0.2)


def told(what, code):
    print(what, code, int(time.time() * 1000), flush=True)


async def hold_all(url, ca, port, users, over):
    await asyncio.gather(*(hold(url, ca, port, over) for _ in range(users)))


match sys.argv[1:]:
    case ["serve", port]:
        asyncio.run(serve(int(port)))
    case ["hold", url, ca, port, users, over]:
        asyncio.run(hold_all(url, ca, int(port), int(users), over))
    case _:
        sys.exit(__doc__)
