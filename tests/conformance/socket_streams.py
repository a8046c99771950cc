"""WebSockets that are streams of HTTP/2 (RFC 8441, by hyper-h2) and HTTP/3 (RFC 9220, by aioquic); their frames are those of `websockets`."""

import asyncio
import contextlib
import ssl

import h2.config
import h2.connection
import h2.events
import h2.settings
from aioquic.asyncio.client import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset
from websockets.frames import Frame
from websockets.protocol import Protocol, Side

from exchange import Fields
from socket_origin import CONVERSATION_S

# What HTTP/2 calls an end without an answer (RFC 9113, section 7), and HTTP/3 too (RFC 9114, section 8.1).
CANCEL_H2, CANCEL_H3 = 0x8, 0x10C


def head(host: str, path: str, fields: Fields) -> Fields:
    """An extended CONNECT."""
    return [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":authority", host.encode()),
        (b":path", path.encode()),
        (b"sec-websocket-version", b"13"),
        *fields,
    ]


class Socket:
    """The part that both versions share: frames, once the stream is open."""

    def __init__(self, link):
        self.link = link
        self.frames = Protocol(Side.CLIENT, max_size=None)
        self.answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        self.received: asyncio.Queue[Frame] = asyncio.Queue()
        self.body = bytearray()
        # True once the peer ended the stream in good order, False if it broke off.
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def send(self, message: str | bytes):
        if isinstance(message, str):
            self.frames.send_text(message.encode())
        else:
            self.frames.send_binary(message)
        await self.flush()

    async def close(self, code: int, reason: str):
        self.frames.send_close(code, reason)
        await self.flush()

    async def recv(self) -> str | bytes:
        frame = await self.received.get()
        return frame.data.decode() if frame.opcode == 1 else bytes(frame.data)

    async def flush(self):
        for data in self.frames.data_to_send():
            await self.link.write(data)

    def take_answer(self, fields: Fields):
        self.answer.set_result(fields)

    def take(self, data: bytes):
        if self.status() != b"200":
            self.body += data
            return
        self.frames.receive_data(data)
        for frame in self.frames.events_received():
            self.received.put_nowait(frame)

    def end(self, well: bool):
        if self.ended.done():
            return
        self.ended.set_result(well)
        if well:
            # Its own half is ended too.
            self.frames.receive_eof()

    def status(self) -> bytes:
        return self.answer.result()[0][1]


@contextlib.asynccontextmanager
async def over_h2(host: str, port: int, tls: ssl.SSLContext, path: str, fields: Fields):
    """A socket over HTTP/2, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host)
    link = LinkH2(reader, writer)
    reading = asyncio.create_task(link.read())
    try:
        await asyncio.wait_for(link.settled.wait(), CONVERSATION_S)
        assert link.h2.remote_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
        link.h2.send_headers(1, head(host, path, fields))
        link.flush()
        await asyncio.wait_for(link.socket.answer, CONVERSATION_S)
        yield link.socket
    finally:
        reading.cancel()
        writer.close()


class LinkH2:
    """A connection of HTTP/2 with one stream."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        # hyper-h2's checks know no `:protocol`.
        config = h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()
        self.socket = Socket(self)
        self.settled, self.room = asyncio.Event(), asyncio.Event()

    async def read(self):
        while data := await self.reader.read(65536):
            for event in self.h2.receive_data(data):
                self.hear(event)
            self.flush()
            await self.socket.flush()
        self.socket.end(False)

    def hear(self, event):
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settled.set()
                self.room.set()
            case h2.events.WindowUpdated():
                self.room.set()
            case h2.events.ResponseReceived():
                self.socket.take_answer(event.headers)
            case h2.events.DataReceived():
                self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
                self.socket.take(event.data)
            case h2.events.StreamEnded():
                self.socket.end(True)
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                self.socket.end(False)

    async def write(self, data: bytes):
        if not data:
            self.h2.end_stream(1)
        while data:
            room = min(self.h2.local_flow_control_window(1), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.room.clear()
                await self.room.wait()
                continue
            self.h2.send_data(1, data[:room])
            data = data[room:]
            self.flush()
        self.flush()

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    def vanish(self):
        self.h2.reset_stream(1, CANCEL_H2)
        self.flush()


@contextlib.asynccontextmanager
async def over_h3(host: str, port: int, ca: str, path: str, fields: Fields):
    """A socket over HTTP/3, on a connection of its own."""
    settings = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=host, idle_timeout=CONVERSATION_S)
    settings.load_verify_locations(ca)
    async with quic_connect("127.0.0.1", port, configuration=settings, create_protocol=LinkH3) as link:
        await asyncio.wait_for(link.settled.wait(), CONVERSATION_S)
        assert link.h3.received_settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1
        link.stream = link._quic.get_next_available_stream_id()
        link.h3.send_headers(link.stream, head(host, path, fields))
        link.transmit()
        await asyncio.wait_for(link.socket.answer, CONVERSATION_S)
        yield link.socket


class LinkH3(QuicConnectionProtocol):
    """A connection of HTTP/3 with one stream for requests."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3, self.stream = H3Connection(self._quic), None
        self.socket = Socket(self)
        self.settled = asyncio.Event()

    def quic_event_received(self, event):
        for said in self.h3.handle_event(event):
            if isinstance(said, HeadersReceived):
                self.socket.take_answer(said.headers)
            elif isinstance(said, DataReceived):
                self.socket.take(said.data)
            if getattr(said, "stream_ended", False):
                self.socket.end(True)
        if isinstance(event, StreamReset | ConnectionTerminated):
            self.socket.end(False)
        if self.h3.received_settings is not None:
            self.settled.set()
        for data in self.socket.frames.data_to_send():
            self.put(data)

    async def write(self, data: bytes):
        self.put(data)
        self.transmit()

    def put(self, data: bytes):
        self.h3.send_data(self.stream, data, end_stream=not data)

    def vanish(self):
        self._quic.reset_stream(self.stream, CANCEL_H3)
        self.transmit()
