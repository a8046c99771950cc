//! HTTP/1.1 as bytes: where a body ends.

use super::{
    Stage,
    http1::{Case, check, passed, refused},
};

const CODINGS: &[Case] = &[
    passed(
        "length, then chunks: chunks count, and it is the last request",
        &["POST $P | transfer-encoding: chunked"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: $H\r\n\r\n",
    )
    .closes(),
    passed(
        "chunks, then length: chunks count, and it is the last request",
        &["POST $P | transfer-encoding: chunked | abc"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: $H\r\n\r\n",
    )
    .closes(),
    refused("chunks and a bad length", b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    passed(
        "chunks in capitals",
        &["POST $P | transfer-encoding: chunked | abc"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    passed(
        "a tab before chunked",
        &["POST $P | transfer-encoding: chunked | abc"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding:\tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    refused("a vertical tab before chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    refused("NUL behind chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    refused("chunked, identity", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    refused("identity, chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    refused("gzip, chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    refused("chunked, chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    refused("xchunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    refused("\"chunked\"", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    refused("chunked;q=1", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    refused("a coding of nothing", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: \r\n\r\n0\r\n\r\n"),
    refused("a comma before chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    refused("chunked twice", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    refused("identity, and chunked", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    refused("chunked, and identity", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    refused("chunked, and nonsense", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: nonsense\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    refused("chunked with space before the colon", b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 3\r\nTransfer-Encoding : chunked\r\n\r\nabc"),
    refused("chunked as a line that goes on", b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 3\r\nX-A: b\r\n Transfer-Encoding: chunked\r\n\r\nabc"),
    refused("chunked in HTTP/1.0", b"POST $P HTTP/1.0\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    passed(
        "an underscore is no hyphen",
        &["POST $P | content-length: 3 | abc"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    ),
];

const LENGTHS: &[Case] = &[
    passed(
        "the same length twice",
        &["POST $P | content-length: 5 | hello"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
    refused(
        "two lengths",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ),
    refused(
        "a list of one length",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5, 5\r\n\r\nhello",
    ),
    refused(
        "a negative length",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: -5\r\n\r\nhello",
    ),
    refused(
        "a length with a sign",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: +5\r\n\r\nhello",
    ),
    refused(
        "a length in hex",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 0x5\r\n\r\nhello",
    ),
    refused(
        "a length with a space",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5 5\r\n\r\nhello",
    ),
    refused(
        "a length with a fraction",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5.0\r\n\r\nhello",
    ),
    refused(
        "a length of nothing",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: \r\n\r\nhello",
    ),
    refused(
        "a length beyond 64 bits",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 18446744073709551617\r\n\r\nh",
    ),
    refused(
        "a length at the end of 64 bits",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 18446744073709551615\r\n\r\nh",
    )
    .told(&[431]),
    passed(
        "a length with zeros before",
        &["POST $P | content-length: 5 | hello"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 005\r\n\r\nhello",
    ),
    passed(
        "GET with a body",
        &["GET $P | content-length: 5 | hello"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\n\r\nhello",
    ),
    passed(
        "DELETE with a body",
        &["DELETE $P | content-length: 5 | hello"],
        b"DELETE $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\n\r\nhello",
    ),
    passed(
        "OPTIONS with a body",
        &["OPTIONS $P | content-length: 5 | hello"],
        b"OPTIONS $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\n\r\nhello",
    ),
    passed(
        "GET with chunks",
        &["GET $P | transfer-encoding: chunked | abc"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    passed(
        "a length with an underscore is none",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nContent_Length: 30\r\n\r\n",
    ),
    passed(
        "a body is asked for once",
        &["POST $P | content-length: 5, expect: 100-continue | hello"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    )
    .told(&[100, 200]),
    passed(
        "what nobody can expect",
        &["POST $P | content-length: 5 | hello"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\nExpect: miracles\r\n\r\nhello",
    ),
    passed(
        "an expectation without a body",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nExpect: 100-continue\r\n\r\n",
    ),
];

const CHUNKS: &[Case] = &[
    passed("extensions are left out", &["POST $P | transfer-encoding: chunked | abc"], b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b;c=\"d;e\"\r\nabc\r\n0;f\r\n\r\n"),
    refused(
        "a line's end in a quoted extension",
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"\r\nabc\"\r\nabc\r\n0\r\n\r\n",
    ),
    refused("LF in an extension", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n"),
    refused("LF behind a size", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
    refused("CR behind a size", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\rabc\r\n0\r\n\r\n"),
    refused("LF behind the data", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"),
    refused("nothing behind the data", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n"),
    refused("more data than was said", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n"),
    refused("a size in other digits", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    refused("a size below zero", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"),
    refused("a size with a sign", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"),
    refused("a size with an underscore", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n0_3\r\nabc\r\n0\r\n\r\n"),
    refused("a size beyond 64 bits", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\nF0000000000000003\r\nabc\r\n0\r\n\r\n"),
    refused("a space before a size", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n"),
    refused("two sizes", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3 3\r\nabc\r\n0\r\n\r\n"),
    refused("no size", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n"),
    passed("a space behind a size", &["POST $P | transfer-encoding: chunked | abc"], b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"),
    passed(
        "a request in a body stays there",
        &["POST $P | transfer-encoding: chunked | GET /x HTTP/1.1\r\n\r\n"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n13\r\nGET /x HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
    ),
];

const TRAILERS: &[Case] = &[
    passed(
        "trailers bring what they may",
        &["POST $P | trailer: x-sum, transfer-encoding: chunked | abc | x-sum: 1"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    passed(
        "trailers bring no framing, host or word of a proxy",
        &["POST $P | trailer: x-sum, content-length, transfer-encoding, host, x-forwarded-for, x_forwarded_for, transfer-encoding: chunked | abc | x-sum: 1"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTrailer: x-sum, content-length, transfer-encoding, host, x-forwarded-for, x_forwarded_for\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: other.example\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Sum: 1\r\n\r\n",
    ),
    passed(
        "trailers bring no credentials, and nothing about the body",
        &["POST $P | trailer: authorization, cookie, content-type, expect, x-sum, transfer-encoding: chunked | abc | x-sum: 1"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nTrailer: authorization, cookie, content-type, expect, x-sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Basic x\r\nCookie: a=b\r\nContent-Type: text/html\r\nExpect: 100-continue\r\nX-Sum: 1\r\n\r\n",
    ),
    refused("a trailer that is no field", b"POST $P HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
];

#[tokio::test]
async fn bodies_of_http1_end_where_everybody_thinks_they_end() {
    let stage = Stage::set("hostile").await;
    check(&stage, &[CODINGS, LENGTHS, CHUNKS, TRAILERS]).await;
}
