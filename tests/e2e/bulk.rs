//! Bodies of any size pass without being gathered anywhere.

use http::Method;
use http_body_util::BodyExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use kit::{
    client::{body, collect, request},
    origin::{Origin, Sum, pattern},
};

/// Far more than a process may hold.
const BYTES: u64 = 192 * 1024 * 1024;
/// What is sent up at a time.
const PIECE: u64 = 1024 * 1024;
/// Peak of resident memory that an edge, or an agent, stays below.
const MEMORY_KIB_MAX: u64 = 100 * 1024;

#[tokio::test]
async fn a_large_download_and_upload_leave_memory_flat() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("files", &origin.url()).await;
    let ask = request(Method::GET, &host, &format!("/bytes/{BYTES}"), body(""));
    let mut download = fabric.user().open(ask).await.expect("a head").into_body();
    let (mut received, mut sum) = (0, Sum::default());
    while let Some(frame) = download.frame().await {
        let data = frame.expect("whole").into_data().expect("data");
        received += data.len() as u64;
        sum.add(&data);
    }
    let whole = Sum::of_pattern(BYTES).hex();
    assert_eq!((received, sum.hex()), (BYTES, whole.clone()));
    let pieces = (0..BYTES / PIECE).map(|piece| {
        let length = usize::try_from(PIECE).expect("a MiB");
        Ok(Frame::data(pattern(piece * PIECE, length)))
    });
    let upload = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
    let response = fabric
        .user()
        .open(request(Method::POST, &host, "/echo", upload))
        .await
        .expect("a head");
    let seen = collect(response).await.expect("a whole answer").json();
    assert_eq!(seen["body_bytes"], BYTES);
    assert_eq!(seen["body_sha256"], whole);
    for (name, process) in [("edge", &fabric.edge), ("agent", &fabric.agent)] {
        let peak = process.peak_memory_kib();
        assert!(peak < MEMORY_KIB_MAX, "{name}: {peak} KiB");
    }
}
