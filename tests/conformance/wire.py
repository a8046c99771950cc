"""HTTP/1.1 read byte for byte, as strictly as a test wants it."""

import asyncio
import re

from exchange import Fields, first

# Heads here are smaller; a peer that sends more is broken.
HEAD_BYTES_MAX = 256 * 1024
CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]+")


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, Fields]:
    """The start line and the fields of a message; EOFError at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise EOFError(f"{len(error.partial)} bytes of a head") from error
    assert len(head) <= HEAD_BYTES_MAX, "head too large"
    start, *lines = head[:-4].split(b"\r\n")
    return start, parse_fields(lines)


def parse_fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        assert colon and name and not name.endswith(b" "), f"not a field: {line!r}"
        fields.append((name, value.strip(b" \t")))
    return fields


async def read_body(reader: asyncio.StreamReader, fields: Fields, until_close: bool) -> tuple[bytes, Fields, bool]:
    """The body, its trailers, and whether it is whole."""
    coding, length = first(fields, b"transfer-encoding"), first(fields, b"content-length")
    assert coding is None or length is None, "both Transfer-Encoding and Content-Length"
    data = bytearray()
    try:
        if coding is not None:
            assert coding.lower() == b"chunked", coding
            return await read_chunks(reader, data)
        if length is not None:
            while len(data) < int(length):
                data += await some(reader, int(length) - len(data))
        elif until_close:
            while piece := await reader.read(65536):
                data += piece
        return bytes(data), [], True
    except (EOFError, ConnectionError, asyncio.IncompleteReadError):
        return bytes(data), [], False


async def some(reader: asyncio.StreamReader, most: int) -> bytes:
    if piece := await reader.read(min(most, 65536)):
        return piece
    raise EOFError("the body is cut")


async def read_chunks(reader: asyncio.StreamReader, data: bytearray) -> tuple[bytes, Fields, bool]:
    while True:
        size = (await reader.readuntil(b"\r\n"))[:-2]
        assert CHUNK_SIZE.fullmatch(size), f"chunk size {size!r}"
        left = int(size, 16)
        if left == 0:
            break
        while left:
            piece = await some(reader, left)
            data += piece
            left -= len(piece)
        assert await reader.readexactly(2) == b"\r\n", "end of chunk"
    lines = []
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        lines.append(line[:-2])
    return bytes(data), parse_fields(lines), True
