"""An origin whose connections sign on by NTLM or Negotiate, checked by pyspnego, and that tells whom it takes the asker for."""

import asyncio
import base64
import contextlib
import os
import pathlib
import threading

import spnego
import spnego.exceptions

import wire
from exchange import Fields, first, render_fields

DOMAIN = "FABRIC"
# Such as user3 with password secret3.
USERS = {f"user{number}": f"secret{number}" for number in range(1, 6)}
# Longer than any exchange takes; a hung one must not hold up the end.
EXCHANGE_S = 20


class SignOnOrigin:
    """Runs in a thread of its own until `stop`; `folder` keeps who may sign on."""

    def __init__(self, folder: pathlib.Path, scheme: str):
        self.scheme = scheme.encode()
        accounts = folder / "accounts"
        accounts.write_text("".join(f"{DOMAIN}:{name}:{secret}\n" for name, secret in USERS.items()))
        # Where pyspnego looks for them, in this process.
        os.environ["NTLM_USER_FILE"] = str(accounts)
        self.connections = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        listening = asyncio.start_server(self.serve, "127.0.0.1", 0, limit=wire.HEAD_BYTES_MAX)
        self.server = asyncio.run_coroutine_threadsafe(listening, self.loop).result()
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(EXCHANGE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def end(self):
        self.server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.connections += 1
        signed_on = SignedOn(self.scheme)
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                _, fields = await wire.read_head(reader)
                await wire.read_body(reader, fields, until_close=False)
                status, more = signed_on.judge(fields)
                body = (signed_on.name or "nobody").encode()
                more = [*more, (b"Content-Length", b"%d" % len(body))]
                writer.write(b"HTTP/1.1 %d Judged\r\n%s\r\n" % (status, render_fields(more)) + body)
                await writer.drain()
        writer.close()


class SignedOn:
    """Whom one connection belongs to, from its first request to its end."""

    def __init__(self, scheme: bytes):
        self.scheme = scheme
        self.name: str | None = None
        self.context = None

    def judge(self, fields: Fields) -> tuple[int, Fields]:
        """The status of the answer, and what it says of the sign-in."""
        scheme, _, token = (first(fields, b"authorization") or b"").partition(b" ")
        if scheme.lower() != self.scheme.lower():
            # Whatever else is asked in the midst of a sign-in ends it.
            self.context = None
            return (200, []) if self.name else (401, self.challenge(None))
        return self.step(base64.b64decode(token))

    def step(self, token: bytes) -> tuple[int, Fields]:
        """A leg of a sign-in; whoever was signed on before is so no longer."""
        self.name = None
        self.context = self.context or spnego.server(protocol=self.scheme.decode().lower())
        try:
            reply = self.context.step(token)
        except (spnego.exceptions.SpnegoError, KeyError):
            # KeyError: a later leg without the first.
            self.context = None
            return 401, self.challenge(None)
        if not self.context.complete:
            return 401, self.challenge(reply)
        self.name = self.context.client_principal.removeprefix(f"{DOMAIN}\\")
        self.context = None
        return 200, self.challenge(reply) if reply else []

    def challenge(self, token: bytes | None) -> Fields:
        return [(b"WWW-Authenticate", self.scheme + (b" " + base64.b64encode(token) if token else b""))]
