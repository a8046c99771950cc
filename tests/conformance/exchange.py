"""What goes over the wire in one exchange: what is asked, what is to be answered, and what each end saw of it."""

import dataclasses
import hashlib

Fields = list[tuple[bytes, bytes]]


@dataclasses.dataclass
class Ask:
    """A request. `body` is None for none; a body without `length` is chunked in HTTP/1.1."""

    method: bytes = b"GET"
    target: bytes = b"/"
    fields: Fields = dataclasses.field(default_factory=list)
    body: list[bytes] | None = None
    length: bool = True
    trailers: Fields = dataclasses.field(default_factory=list)
    # Waits for 100 (Continue), or a final answer, before it sends the body.
    expects: bool = False


@dataclasses.dataclass
class Answer:
    """What the origin is to say. `framing`: length, chunked, close (until the connection ends) or none."""

    status: int = 200
    reason: bytes = b"OK"
    fields: Fields = dataclasses.field(default_factory=list)
    body: list[bytes] = dataclasses.field(default_factory=lambda: [b"hello"])
    framing: str = "length"
    trailers: Fields = dataclasses.field(default_factory=list)
    # 1xx heads before the answer; 100 is sent for an `Expect` by itself.
    interim: list[tuple[int, Fields]] = dataclasses.field(default_factory=list)
    # Answers when the request's head is there, and reads the body afterwards.
    early: bool = False
    # Ends the connection where the rest of the body is due.
    cut: bool = False


@dataclasses.dataclass
class Seen:
    """A request as the origin got it, byte for byte."""

    method: bytes
    target: bytes
    fields: Fields
    body: "Body"
    trailers: Fields
    whole: bool


@dataclasses.dataclass
class Got:
    """An answer as the user got it, byte for byte. Only HTTP/1.1 has a `reason`; status 0: the connection ended before."""

    status: int
    reason: bytes | None
    fields: Fields
    body: "Body"
    trailers: Fields
    interim: list[tuple[int, Fields]]
    whole: bool

    @classmethod
    def nothing(cls, interim: list[tuple[int, Fields]]) -> "Got":
        return cls(0, None, [], Body(b""), [], interim, False)


@dataclasses.dataclass
class Body:
    """A body; shown by its length, SHA-256 and beginning."""

    data: bytes

    def __repr__(self) -> str:
        return f"{len(self.data)} bytes, SHA-256 {hashlib.sha256(self.data).hexdigest()[:16]}, {self.data[:40]!r}"


def first(fields: Fields, name: bytes) -> bytes | None:
    """The first value of a field, whatever its case."""
    return next((value for known, value in fields if known.lower() == name), None)


def render_fields(fields: Fields) -> bytes:
    """Fields as HTTP/1.1 has them."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in fields)


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)
