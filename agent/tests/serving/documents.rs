//! Documents on their way out: names in their links.

use std::io::Read as _;

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue};
use model::app::{AgentApp, Translation};
use proto::tunnel::RequestHead;
use tokio::io::AsyncWriteExt as _;
use tunnel::{fields, frame::Frame};

use crate::{
    edge::{Bench, app, final_head, get, soon},
    origin::{ScriptedOrigin, read_head},
};

fn translating(origin: &ScriptedOrigin) -> Vec<AgentApp> {
    vec![AgentApp {
        translation: Translation {
            bodies: true,
            ..Translation::default()
        },
        ..app("app", &[&origin.url()])
    }]
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, plain).unwrap();
    encoder.finish().unwrap()
}

/// Answers every request with the page that `page` makes of its own URL, in gzip.
async fn compressed(page: fn(&str) -> String) -> ScriptedOrigin {
    ScriptedOrigin::start(move |mut stream, _| async move {
        let url = format!("http://{}", stream.local_addr().unwrap());
        while let Some(head) = read_head(&mut stream).await {
            let body = gzip(page(&url).as_bytes());
            let told = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\n\
                 etag: \"1\"\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(told.as_bytes()).await.unwrap();
            if !head.starts_with("head ") {
                stream.write_all(&body).await.unwrap();
            }
        }
    })
    .await
}

fn accepting_gzip(method: &'static str) -> RequestHead {
    let mut wanted = HeaderMap::new();
    wanted.insert("accept-encoding", HeaderValue::from_static("gzip"));
    RequestHead {
        method: method.into(),
        fields: fields::encode(&wanted).unwrap(),
        ..get("/")
    }
}

#[tokio::test]
async fn links_of_a_compressed_page_become_public() {
    let origin = compressed(|url| format!("<a href={url}/x>{url}</a>").repeat(5_000)).await;
    let bench = Bench::with(translating(&origin)).await;
    let answer = bench.ask(accepting_gzip("GET"), b"").await;
    assert_eq!(answer.status(), 200);
    let told = answer.fields();
    assert_eq!(told["content-encoding"], "gzip");
    assert_eq!(told["etag"], "W/\"1\"");
    assert!(!told.contains_key("content-length") && !told.contains_key("accept-ranges"));
    let mut page = String::new();
    GzDecoder::new(answer.body.as_slice())
        .read_to_string(&mut page)
        .unwrap();
    let inner = origin.url();
    let want = format!("<a href=\"https://app.example.com/x\">{inner}</a>").repeat(5_000);
    assert!(page == want);
    // A HEAD is told the same, and the connection is good for more.
    let head = bench.ask(accepting_gzip("HEAD"), b"").await;
    assert_eq!(head.fields(), told);
    assert!(head.body.is_empty());
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn what_an_origin_has_written_of_a_page_is_seen_at_once() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut encoder, b"<p>first</p>").unwrap();
        std::io::Write::flush(&mut encoder).unwrap();
        let told = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\n\
                    content-length: 1000\r\n\r\n";
        stream.write_all(told.as_bytes()).await.unwrap();
        stream.write_all(encoder.get_ref()).await.unwrap();
        // Nothing more, until the agent goes.
        read_head(&mut stream).await;
    })
    .await;
    let bench = Bench::with(translating(&origin)).await;
    let (mut send, mut recv) = bench.open(accepting_gzip("GET")).await;
    soon(send.end(Default::default())).await.unwrap();
    final_head(&mut recv).await;
    let mut came = Vec::new();
    let mut seen = [0; 12];
    while GzDecoder::new(came.as_slice())
        .read_exact(&mut seen)
        .is_err()
    {
        let Some(Frame::Data(data)) = soon(recv.next()).await.unwrap() else {
            panic!("the answer ended");
        };
        came.extend_from_slice(&data);
    }
    assert_eq!(&seen, b"<p>first</p>");
}

#[tokio::test]
async fn a_page_that_cannot_be_read_breaks_off() {
    let origin = ScriptedOrigin::answering(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\n\
         content-length: 5\r\n\r\nhello",
    )
    .await;
    let bench = Bench::with(translating(&origin)).await;
    let answer = bench.get("/").await;
    assert_eq!(answer.error().reason, "origin_protocol");
}

#[tokio::test]
async fn what_is_no_document_passes_as_it_is() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        let url = format!("http://{}", stream.local_addr().unwrap());
        while let Some(head) = read_head(&mut stream).await {
            let kind = head
                .split_whitespace()
                .nth(1)
                .unwrap()
                .trim_start_matches('/');
            let body = format!("<a href=\"{url}/\">");
            let told = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(told.as_bytes()).await.unwrap();
        }
    })
    .await;
    let bench = Bench::with(translating(&origin)).await;
    for path in [
        "/text/plain",
        "/text/event-stream",
        "/application/json",
        "/application/grpc",
    ] {
        let answer = bench.get(path).await;
        assert_eq!(
            answer.text(),
            format!("<a href=\"{}/\">", origin.url()),
            "{path}"
        );
        assert!(answer.fields().contains_key("content-length"));
    }
}
