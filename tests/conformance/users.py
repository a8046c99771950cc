"""Users that send a request byte for byte and record the answer so: over HTTP/1.1, HTTP/2 and HTTP/3."""

import asyncio
import contextlib
import ssl

import h2.config
import h2.connection
import h2.events
from aioquic.asyncio.client import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset

import wire
from exchange import Ask, Body, Fields, Got, chunk, render_fields

EXCHANGE_S = 20
# How long a user waits for 100 (Continue) before the body is sent anyway (RFC 9110, section 10.1.1); as curl.
CONTINUE_S = 1


async def over_h1(ask: Ask, host: str, port: int, tls: ssl.SSLContext | None) -> Got:
    """Asks over HTTP/1.1; without `tls`, in the clear."""
    name = {"server_hostname": host} if tls else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=wire.HEAD_BYTES_MAX, **name)
    try:
        return await asyncio.wait_for(exchange_h1(ask, host, reader, writer), EXCHANGE_S)
    finally:
        writer.close()


async def exchange_h1(ask: Ask, host: str, reader, writer) -> Got:
    fields = [(b"Host", host.encode()), *ask.fields]
    if ask.expects:
        fields.append((b"Expect", b"100-continue"))
    if ask.body is not None:
        length = b"%d" % sum(map(len, ask.body))
        fields.append((b"Content-Length", length) if ask.length else (b"Transfer-Encoding", b"chunked"))
    writer.write(b"%s %s HTTP/1.1\r\n%s\r\n" % (ask.method, ask.target, render_fields(fields)))
    sending = None if ask.expects else asyncio.create_task(send_h1(ask, writer))
    interim: list[tuple[int, Fields]] = []
    while True:
        try:
            start, said = await wire.read_head(reader)
        except (EOFError, ConnectionError):
            return Got.nothing(interim)
        version, status, reason = start.split(b" ", 2)
        assert version == b"HTTP/1.1", start
        if status[:1] != b"1":
            break
        interim.append((int(status), said))
        if status == b"100" and ask.expects:
            sending = asyncio.create_task(send_h1(ask, writer))
    if bodiless := ask.method == b"HEAD" or status in (b"204", b"304"):
        body, trailers, whole = b"", [], True
    else:
        body, trailers, whole = await wire.read_body(reader, said, until_close=True)
    assert not bodiless or not reader._buffer, "bytes after an answer that has no body"
    if sending:
        sending.cancel()
    return Got(int(status), reason, said, Body(body), trailers, interim, whole)


async def send_h1(ask: Ask, writer):
    for piece in ask.body or []:
        writer.write(piece if ask.length else chunk(piece))
        await writer.drain()
    if ask.body is not None and not ask.length:
        writer.write(b"0\r\n" + render_fields(ask.trailers) + b"\r\n")
    await writer.drain()


def pseudo(ask: Ask, host: str) -> Fields:
    """The head of HTTP/2 and HTTP/3."""
    fields = [(b":method", ask.method), (b":scheme", b"https"), (b":authority", host.encode()), (b":path", ask.target)]
    fields += [(name.lower(), value) for name, value in ask.fields]
    if ask.expects:
        fields.append((b"expect", b"100-continue"))
    if ask.body is not None and ask.length:
        fields.append((b"content-length", b"%d" % sum(map(len, ask.body))))
    return fields


class Gathered:
    """An answer that comes in pieces."""

    def __init__(self):
        self.heads: list[Fields] = []
        self.body = bytearray()
        self.trailers: Fields = []
        self.whole = False

    def fields(self, fields: Fields):
        if fields and fields[0][0] == b":status":
            self.heads.append(fields)
        else:
            self.trailers = fields

    def got(self) -> Got:
        heads = [(int(head[0][1]), head[1:]) for head in self.heads]
        if not self.final():
            return Got.nothing(heads)
        *interim, final = heads
        return Got(final[0], None, final[1], Body(bytes(self.body)), self.trailers, interim, self.whole)

    def final(self) -> bool:
        return bool(self.heads) and self.heads[-1][0][1][:1] != b"1"


async def over_h2(ask: Ask, host: str, port: int, tls: ssl.SSLContext) -> Got:
    """Asks over HTTP/2, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host)
    try:
        return await asyncio.wait_for(ExchangeH2(ask, host, reader, writer).run(), EXCHANGE_S)
    finally:
        writer.close()


class ExchangeH2:
    """One request on a connection of HTTP/2 (hyper-h2, with its checks of what is sent off)."""

    def __init__(self, ask: Ask, host: str, reader, writer):
        config = h2.config.H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            split_outbound_cookies=False,
        )
        self.ask, self.host, self.reader, self.writer = ask, host, reader, writer
        self.link = h2.connection.H2Connection(config)
        self.answer, self.ended = Gathered(), False
        self.may_send = asyncio.Event()
        self.room = asyncio.Event()

    async def run(self) -> Got:
        self.link.initiate_connection()
        self.link.increment_flow_control_window(1 << 24)
        self.link.send_headers(1, pseudo(self.ask, self.host), end_stream=self.ask.body is None)
        self.flush()
        if not self.ask.expects:
            self.may_send.set()
        sending = asyncio.create_task(self.send_body()) if self.ask.body is not None else None
        while not self.ended:
            data = await self.reader.read(65536)
            if not data:
                break
            for event in self.link.receive_data(data):
                self.take(event)
            self.flush()
        if sending:
            sending.cancel()
        return self.answer.got()

    def flush(self):
        self.writer.write(self.link.data_to_send())

    def take(self, event):
        match event:
            case h2.events.InformationalResponseReceived():
                self.answer.fields(event.headers)
                self.may_send.set()
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self.answer.fields(event.headers)
            case h2.events.DataReceived():
                self.answer.body += event.data
                self.link.acknowledge_received_data(event.flow_controlled_length, 1)
            case h2.events.StreamEnded():
                self.answer.whole = self.ended = True
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                self.ended = True
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self.room.set()

    async def send_body(self):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.may_send.wait(), CONTINUE_S)
        for piece in self.ask.body:
            while piece:
                room = min(self.link.local_flow_control_window(1), self.link.max_outbound_frame_size)
                if room <= 0:
                    self.room.clear()
                    await self.room.wait()
                    continue
                self.link.send_data(1, piece[:room])
                piece = piece[room:]
                self.flush()
                await self.writer.drain()
        if self.ask.trailers:
            trailers = [(name.lower(), value) for name, value in self.ask.trailers]
            self.link.send_headers(1, trailers, end_stream=True)
        else:
            self.link.end_stream(1)
        self.flush()


async def over_h3(ask: Ask, host: str, port: int, ca: str) -> Got:
    """Asks over HTTP/3, on a connection of its own."""
    settings = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=host, idle_timeout=EXCHANGE_S)
    settings.load_verify_locations(ca)
    async with quic_connect("127.0.0.1", port, configuration=settings, create_protocol=ExchangeH3) as link:
        return await asyncio.wait_for(link.exchange(ask, host), EXCHANGE_S)


class Unmeasured(H3Connection):
    """Leaves it to the test to compare lengths: aioquic takes that of an answer to HEAD, and of a 304, for the length of a body."""

    def _check_content_length(self, stream):
        pass


class ExchangeH3(QuicConnectionProtocol):
    """One request on a connection of HTTP/3 (aioquic)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = Unmeasured(self._quic)
        self.answer, self.ended = Gathered(), asyncio.Event()
        self.may_send = asyncio.Event()
        self.is_wanted = True  # what is sent

    async def exchange(self, ask: Ask, host: str) -> Got:
        stream = self._quic.get_next_available_stream_id()
        self.h3.send_headers(stream, pseudo(ask, host), end_stream=ask.body is None)
        self.transmit()
        if ask.body is not None:
            if ask.expects:
                waits = [asyncio.create_task(event.wait()) for event in (self.may_send, self.ended)]
                await asyncio.wait(waits, timeout=CONTINUE_S, return_when=asyncio.FIRST_COMPLETED)
            if self.is_wanted and not self.ended.is_set():
                self.send_body(stream, ask)
        await self.ended.wait()
        return self.answer.got()

    def send_body(self, stream: int, ask: Ask):
        for piece in ask.body:
            self.h3.send_data(stream, piece, end_stream=False)
        if ask.trailers:
            trailers = [(name.lower(), value) for name, value in ask.trailers]
            self.h3.send_headers(stream, trailers, end_stream=True)
        else:
            self.h3.send_data(stream, b"", end_stream=True)
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, StreamReset | ConnectionTerminated):
            self.ended.set()
        if isinstance(event, StopSendingReceived):
            self.is_wanted = False
        for said in self.h3.handle_event(event):
            if isinstance(said, HeadersReceived):
                self.answer.fields(said.headers)
                self.may_send.set()
            elif isinstance(said, DataReceived):
                self.answer.body += said.data
            if getattr(said, "stream_ended", False):
                self.answer.whole = True
                self.ended.set()
