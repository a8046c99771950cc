"""An origin that answers as told and records what it got, byte for byte.

The field `X-Case` of a request says which of the answers given to `expect` is meant.
"""

import asyncio
import contextlib
import threading

import wire
from exchange import Answer, Body, Fields, Seen, chunk, first, render_fields

# Longer than any exchange of the corpus; a hung one must not hold up the end.
EXCHANGE_S = 20
# A request is recorded when its body has ended, which may be a little after the answer.
RECORDED_S = 5


class Recorder:
    """Runs in a thread of its own until `stop`."""

    def __init__(self):
        self.answers: dict[bytes, Answer] = {}
        self.seen: dict[bytes, Seen] = {}
        self.recorded = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        listening = asyncio.start_server(self.serve, "127.0.0.1", 0, limit=wire.HEAD_BYTES_MAX)
        self.server = asyncio.run_coroutine_threadsafe(listening, self.loop).result()
        self.port = self.server.sockets[0].getsockname()[1]

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

    def expect(self, case: str, answer: Answer) -> None:
        self.answers[case.encode()] = answer

    def take(self, case: str) -> Seen | None:
        """What was recorded of a case; None when nothing came."""
        key = case.encode()
        with self.recorded:
            self.recorded.wait_for(lambda: key in self.seen, RECORDED_S)
            return self.seen.pop(key, None)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
            while await asyncio.wait_for(self.exchange(reader, writer), EXCHANGE_S):
                pass
        writer.close()

    async def exchange(self, reader, writer) -> bool:
        """Serves one request; says whether the connection goes on."""
        start, fields = await wire.read_head(reader)
        method, target, version = start.split(b" ")
        assert version == b"HTTP/1.1", version
        case = first(fields, b"x-case")
        answer = self.answers.get(case or b"", Answer(body=[]))
        await self.speak_first(writer, answer, fields)
        refused = answer.early and first(fields, b"expect") is not None
        if refused:
            body, trailers, whole = b"", [], False
        else:
            body, trailers, whole = await wire.read_body(reader, fields, until_close=False)
        if case:
            with self.recorded:
                self.seen[case] = Seen(method, target, fields, Body(body), trailers, whole)
                self.recorded.notify_all()
        if not answer.early:
            await self.answer(writer, answer, head_only=method == b"HEAD")
        return whole and answer.framing != "close" and not answer.cut

    async def speak_first(self, writer, answer: Answer, fields: Fields):
        for status, more in answer.interim:
            writer.write(b"HTTP/1.1 %d Interim\r\n%s\r\n" % (status, render_fields(more)))
        if answer.early:
            await self.answer(writer, answer, head_only=False)
        elif first(fields, b"expect") is not None:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()

    async def answer(self, writer, answer: Answer, head_only: bool):
        fields = list(answer.fields)
        if answer.framing == "length":
            promised = sum(map(len, answer.body)) + (1 if answer.cut else 0)
            fields.append((b"Content-Length", b"%d" % promised))
        elif answer.framing == "chunked":
            fields.append((b"Transfer-Encoding", b"chunked"))
        writer.write(b"HTTP/1.1 %d %s\r\n%s\r\n" % (answer.status, answer.reason, render_fields(fields)))
        if not head_only:
            await self.send_body(writer, answer)
        await writer.drain()

    async def send_body(self, writer, answer: Answer):
        chunked = answer.framing == "chunked"
        for piece in answer.body:
            writer.write(chunk(piece) if chunked else piece)
            await writer.drain()
        if chunked and not answer.cut:
            writer.write(b"0\r\n" + render_fields(answer.trailers) + b"\r\n")
