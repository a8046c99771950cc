"""The corpus of the differential test: what is asked, and what the origin is to say to it."""

import dataclasses
import gzip
import hashlib

from exchange import Answer, Ask

ALL = ("h1", "h2", "h3")


@dataclasses.dataclass
class Case:
    """One exchange. `over`: the versions of HTTP that can say it; `direct`: how the direct user must say it."""

    name: str
    ask: Ask = dataclasses.field(default_factory=Ask)
    answer: Answer = dataclasses.field(default_factory=Answer)
    over: tuple[str, ...] = ALL
    direct: Ask | None = None


def noise(length: int) -> bytes:
    """Bytes that do not compress and differ by position."""
    rounds = range(length // 32 + 1)
    return b"".join(hashlib.sha256(b"%d" % at).digest() for at in rounds)[:length]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


METHODS = """GET POST PUT DELETE PATCH OPTIONS HEAD
    PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH MKCALENDAR ACL BIND VERSION-CONTROL CHECKOUT
    RDG_OUT_DATA RDG_IN_DATA RPC_IN_DATA PURGE QUERY M-SEARCH x!#$%&'*+-.^_`|~0""".split()

TARGETS = {
    "query": b"/a/b?c=d&e=f",
    "query-empty": b"/a?",
    "query-of-marks": b"/?a=b?c=d??/;:@!$'()*,",
    "query-not-to-be-decoded": b"/?a=%zz&b=%&c=%00%0d%0a&d=%C3%A4&e=%e4",
    "query-of-odd-bytes": b"/?a=[b]|{c}\\^`",
    "query-in-utf8": "/?a=ä€".encode(),
    "query-long": b"/?" + b"0123456789abcdef" * 500,
    "path-escaped": b"/%7Euser/a%20b%2Bc/%C3%A4",
    "path-of-marks": b"/a;v=1/b,c/@d/$e&f=g/(h)!*'",
    "path-trailing-slash": b"/a/b/",
    "path-plus-and-tilde": b"/a+b/~c",
}

ODD_COOKIES = b'a=; b; =c; d="x y"; e=1; e=2; f=a=b=c; __Host-g=%7B%22h%22%3A1%7D; i=j,k'

ASK_FIELDS = {
    "200-fields": [(b"X-Field-%d" % at, b"value %d" % at) for at in range(200)],
    "duplicates-in-order": [(b"X-Tag", b"b"), (b"X-Other", b"1"), (b"X-Tag", b"a"), (b"X-Tag", b"b")],
    "value-empty": [(b"X-Empty", b""), (b"Accept", b"")],
    "value-long": [(b"X-Long", b"abcdefgh" * 2000)],
    "value-latin-1": [(b"X-Name", "Jürgen Ölçer".encode("latin-1"))],
    "value-utf-8": [(b"X-Name", "Jürgen €".encode())],
    "value-with-tabs-and-spaces": [(b"X-Space", b"a\tb   c")],
    "value-of-marks": [(b"X-Marks", bytes(range(0x21, 0x7F)))],
    "name-of-marks": [(b"X-!#$%&'*+.^_`|~9", b"1"), (b"_under_score", b"2")],
    "cookies-odd": [(b"Cookie", ODD_COOKIES)],
    "credentials": [(b"Authorization", b"Basic YTpi"), (b"Proxy-Connection-Like", b"1")],
    "conditions": [
        (b"If-None-Match", b'W/"a", "b"'),
        (b"If-Match", b"*"),
        (b"If-Modified-Since", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (b"If-Range", b'"a"'),
        (b"If", b'(<urn:uuid:1> ["a"]) (Not <DAV:no-lock>)'),
    ],
    "encodings": [(b"Accept-Encoding", b"gzip;q=0, br;q=1.0, zstd, *;q=0.1"), (b"Accept-Language", b"de-AT, *;q=0")],
    "of-browsers": [
        (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
        (b"Referer", b"https://a.example/?b=c"),
        (b"Origin", b"null"),
        (b"Sec-Fetch-Mode", b"navigate"),
        (b"Upgrade-Insecure-Requests", b"1"),
        (b"Sec-CH-UA", b'"a";v="1"'),
        (b"DNT", b"1"),
    ],
    "dav": [(b"Depth", b"infinity"), (b"Overwrite", b"F"), (b"Lock-Token", b"<urn:uuid:1>"), (b"Timeout", b"Infinite")],
    "te-trailers": [(b"TE", b"trailers")],
    "priority": [(b"Priority", b"u=1, i")],
    "traces": [
        (b"Traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"Tracestate", b"a=b"),
        (b"Baggage", b"c=d"),
    ],
    "via-and-max-forwards": [(b"Via", b"1.1 before"), (b"Max-Forwards", b"3")],
}

ASKS = {
    "body-of-length-0": Ask(b"POST", body=[]),
    "body-chunked-and-empty": Ask(b"POST", body=[], length=False),
    "body-of-1-byte": Ask(b"POST", body=[b"x"]),
    "body-json": Ask(b"PUT", fields=[(b"Content-Type", b'application/json; charset="utf-8"')], body=[b'{"a":"\xc3\xa4"}']),
    "body-gzipped-stays-so": Ask(
        b"POST", fields=[(b"Content-Encoding", b"gzip")], body=[gzip.compress(b"a" * 5000, mtime=0)]
    ),
    "body-of-get": Ask(b"GET", body=[b"{}"]),
    "body-of-delete": Ask(b"DELETE", body=[b"why"], length=False),
    "body-large": Ask(b"PUT", body=pieces(noise(5_000_011), 60_000)),
    "body-large-chunked": Ask(b"PUT", body=pieces(noise(3_000_017), 70_001), length=False),
    "body-of-tiny-chunks": Ask(b"POST", body=pieces(b"0123456789" * 20, 1), length=False),
    "body-with-trailers": Ask(
        b"POST",
        fields=[(b"Trailer", b"X-Sum, X-Empty")],
        body=[b"abc", b"def"],
        length=False,
        trailers=[(b"X-Sum", b"42"), (b"X-Empty", b"")],
    ),
    "body-multipart": Ask(
        b"POST",
        fields=[(b"Content-Type", b"multipart/form-data; boundary=b")],
        body=[b'--b\r\nContent-Disposition: form-data; name="\xe4"\r\n\r\n\x00\r\n--b--\r\n'],
    ),
    "expect-accepted": Ask(b"PUT", body=[b"hello"], expects=True),
    "expect-accepted-chunked": Ask(b"PUT", body=[b"hello"], length=False, expects=True),
}

LENGTHLESS = "none"

ANSWERS = {
    "204": Answer(204, b"No Content", body=[], framing=LENGTHLESS),
    "205": Answer(205, b"Reset Content", body=[]),
    "304": Answer(304, b"Not Modified", [(b"ETag", b'W/"a"'), (b"Content-Length", b"1234")], [], LENGTHLESS),
    "206": Answer(206, b"Partial Content", [(b"Content-Range", b"bytes 2-4/10"), (b"Accept-Ranges", b"bytes")], [b"cde"]),
    "206-multipart": Answer(
        206,
        b"Partial Content",
        [(b"Content-Type", b"multipart/byteranges; boundary=b")],
        [b"--b\r\nContent-Range: bytes 0-0/3\r\n\r\na\r\n--b\r\nContent-Range: bytes 2-2/3\r\n\r\nc\r\n--b--\r\n"],
    ),
    "207": Answer(207, b"Multi-Status", [(b"Content-Type", b"application/xml")], [b"<multistatus/>"]),
    "301-relative": Answer(301, b"Moved Permanently", [(b"Location", b"../b?c#d")], []),
    "302-elsewhere": Answer(302, b"Found", [(b"Location", b"https://elsewhere.example/a?b=%20#c")], []),
    "401-with-lists": Answer(
        401,
        b"Unauthorized",
        [
            (b"WWW-Authenticate", b'Basic realm="a, b", Digest realm="c", nonce="d=="'),
            (b"WWW-Authenticate", b"Bearer"),
            (b"WWW-Authenticate", b'Custom x="y"'),
        ],
        [b"no"],
    ),
    "412": Answer(412, b"Precondition Failed", [(b"ETag", b'"b"')], [b"changed"]),
    "416": Answer(416, b"Range Not Satisfiable", [(b"Content-Range", b"bytes */10")], []),
    "423": Answer(423, b"Locked"),
    "451": Answer(451, b"Unavailable For Legal Reasons", [(b"Link", b'<https://a.example/>; rel="blocked-by"')], []),
    "499-unknown": Answer(499, b"Odd"),
    "500": Answer(500, b"Internal Server Error"),
    "502-of-the-origin": Answer(502, b"Bad Gateway", body=[b"the origin's own"]),
    "503-of-the-origin": Answer(503, b"Service Unavailable", [(b"Retry-After", b"7")]),
    "599-unknown": Answer(599, b"Very Odd"),
    "reason-odd": Answer(200, b"All is (well), thank you!"),
    "reason-empty": Answer(200, b""),
    "cookies-odd": Answer(
        fields=[
            (b"Set-Cookie", b"a=; Path=/"),
            (b"Set-Cookie", b'b="x y"; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Max-Age=0'),
            (b"Set-Cookie", b"a=2; SameSite=None; Secure; HttpOnly; Partitioned; Priority=High; unknown"),
            (b"Set-Cookie", b"=nameless"),
            (b"Set-Cookie", b"valueless"),
            (b"Set-Cookie", b"c=d;path=/;secure;;"),
        ]
    ),
    "duplicates-in-order": Answer(
        fields=[(b"Vary", b"B"), (b"X-Tag", b"2"), (b"Vary", b"A"), (b"X-Tag", b"1"), (b"X-Tag", b"2")]
    ),
    "200-fields": Answer(fields=[(b"X-Field-%d" % at, b"value %d" % at) for at in range(200)]),
    "value-long": Answer(fields=[(b"X-Long", b"abcdefgh" * 1500)]),
    "value-empty": Answer(fields=[(b"X-Empty", b"")]),
    "value-latin-1": Answer(fields=[(b"Content-Disposition", b'attachment; filename="\xfc.txt"')]),
    "value-utf-8": Answer(fields=[(b"X-Name", "ü€".encode())]),
    "charset": Answer(fields=[(b"Content-Type", b"text/html; charset=iso-8859-1")], body=[b"\xe4\xf6\xfc\x00\xff"]),
    "no-content-type": Answer(body=[b"<html>what is it?</html>"]),
    "gzipped-stays-so": Answer(
        fields=[(b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/plain")],
        body=[gzip.compress(b"a" * 9000, mtime=0)],
    ),
    "security-fields": Answer(
        fields=[
            (b"Strict-Transport-Security", b"max-age=1"),
            (b"Content-Security-Policy", b"default-src 'self'"),
            (b"X-Frame-Options", b"DENY"),
            (b"Access-Control-Allow-Origin", b"*"),
            (b"Cross-Origin-Opener-Policy", b"same-origin"),
        ]
    ),
    "caching-fields": Answer(
        fields=[
            (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (b"Server", b"odd/1.0 (a; b)"),
            (b"Age", b"10"),
            (b"Cache-Control", b"no-store, private"),
            (b"Expires", b"0"),
            (b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (b"Via", b"1.1 inner"),
        ]
    ),
    "link-and-refresh": Answer(
        fields=[(b"Link", b"</a.css>; rel=preload; as=style"), (b"Refresh", b"5; url=/b"), (b"Content-Location", b"/c")]
    ),
    "of-length-0": Answer(body=[]),
    "chunked": Answer(body=[b"a", b"bc", b"def"], framing="chunked"),
    "chunked-and-empty": Answer(body=[], framing="chunked"),
    "of-tiny-chunks": Answer(body=pieces(b"0123456789" * 20, 1), framing="chunked"),
    "until-the-connection-ends": Answer(body=[b"abc", b"def"], framing="close"),
    "large": Answer(body=pieces(noise(5_000_011), 60_000)),
    "large-chunked": Answer(body=pieces(noise(3_000_017), 70_001), framing="chunked"),
    "large-until-the-connection-ends": Answer(body=pieces(noise(1_000_003), 50_000), framing="close"),
    "cut-within-its-length": Answer(body=[b"abc"], cut=True),
    "cut-between-chunks": Answer(body=[b"abc", b"def"], framing="chunked", cut=True),
    "cut-when-large": Answer(body=pieces(noise(700_000), 50_000), cut=True),
    "early-hints": Answer(interim=[(103, [(b"Link", b"</a.css>; rel=preload")]), (103, [(b"Link", b"</b.js>; rel=preload")])]),
    "processing": Answer(207, b"Multi-Status", interim=[(102, [])]),
}


def corpus() -> list[Case]:
    """Every case."""
    ends = Answer(body=[b"done"])
    cases = [Case(f"method-{method}", Ask(method.encode()), ends) for method in METHODS]
    cases += [Case(f"target-{name}", Ask(target=target), ends) for name, target in TARGETS.items()]
    cases += [Case(f"asks-with-{name}", Ask(fields=fields), ends) for name, fields in ASK_FIELDS.items()]
    cases += [Case(f"asks-with-{name}", ask, ends) for name, ask in ASKS.items()]
    cases += [Case(f"answer-{name}", answer=answer) for name, answer in ANSWERS.items()]
    return cases + special()


def special() -> list[Case]:
    """Cases that need a certain request and a certain answer."""
    early = Answer(413, b"Content Too Large", [(b"Connection", b"close")], [b"no"], early=True)
    trailers = [(b"X-Sum", b"42"), (b"X-Empty", b"")]
    trailed = Answer(fields=[(b"Trailer", b"X-Sum, X-Empty")], body=[b"abc"], framing="chunked", trailers=trailers)
    announced = [(b"Content-Length", b"1234"), (b"ETag", b'"a"')]
    crumbs = [(b"Cookie", crumb) for crumb in ODD_COOKIES.split(b"; ")]
    hop_by_hop = [(b"Connection", b"keep-alive, X-Hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=5"), (b"X-Stays", b"1")]
    return [
        Case("head-of-length", Ask(b"HEAD"), Answer(fields=announced, body=[], framing=LENGTHLESS)),
        Case("head-of-chunks", Ask(b"HEAD"), Answer(body=[], framing="chunked")),
        Case("head-of-404", Ask(b"HEAD"), Answer(404, b"Not Found")),
        Case("range", Ask(fields=[(b"Range", b"bytes=0-0,-1, 5-")]), Answer(206, b"Partial Content", body=[b"ab"])),
        Case("answer-with-trailers", Ask(fields=[(b"TE", b"trailers")]), trailed),
        Case("expect-refused", Ask(b"PUT", body=[b"hello"], expects=True), early),
        Case("answered-before-the-upload", Ask(b"PUT", body=pieces(noise(300_000), 50_000)), early),
        Case("answered-while-the-upload-goes-on", Ask(b"PUT", body=pieces(noise(300_000), 50_000)), Answer(early=True)),
        Case("cookie-crumbs", Ask(fields=crumbs), over=("h2", "h3"), direct=Ask(fields=[(b"Cookie", ODD_COOKIES)])),
        Case("hop-by-hop", Ask(fields=hop_by_hop), over=("h1",)),
        Case("answer-hop-by-hop", answer=Answer(fields=[*hop_by_hop, (b"Proxy-Connection", b"x")])),
        Case("answer-closes", answer=Answer(fields=[(b"Connection", b"close")])),
        Case("both-ways-large", Ask(b"POST", body=pieces(noise(2_000_003), 65_536)), Answer(body=pieces(noise(2_000_029), 9_999))),
    ]
