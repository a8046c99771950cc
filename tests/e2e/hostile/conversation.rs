//! A user who writes raw bytes of HTTP/1.1 and reads what comes back.

use std::time::Duration;

use kit::recorder::answer_to;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::Stage;

/// How long the edge may take for what it can say at once.
const SOON: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replies {
    /// Statuses in order, interim ones too.
    pub(super) statuses: Vec<u16>,
    /// Bodies of the final ones.
    pub(super) bodies: Vec<String>,
    /// The edge closed the connection.
    pub(super) closed: bool,
}

/// Sends `bytes` on a new connection and reads `count` replies. A connection that is open then is asked once more, for a path
/// that no case has; its answer must be its own and the last.
pub(super) async fn talk(stage: &Stage, bytes: &[u8], count: usize) -> Replies {
    let socket = stage.fabric.user().tls(&stage.host, b"http/1.1").await;
    let mut socket = socket.expect("the edge takes connections");
    // The edge may close before it has read everything.
    let _ = socket.write_all(bytes).await;
    let _ = socket.flush().await;
    let talk = async {
        let mut reader = Reader::default();
        let mut replies = reader.replies(&mut socket, count).await;
        if !replies.closed {
            let last = format!(
                "GET /last HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                stage.host
            );
            let _ = socket.write_all(last.as_bytes()).await;
            let rest = reader.replies(&mut socket, usize::MAX).await;
            if rest.statuses.is_empty() {
                replies.closed = true;
            } else {
                assert_eq!(rest.bodies, [answer_to("GET /last")], "{replies:?}");
            }
        }
        replies
    };
    timeout(SOON, talk)
        .await
        .expect("the edge answers or closes")
}

#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Reads so many replies, or until the connection ends.
    async fn replies<S: AsyncRead + Unpin>(&mut self, socket: &mut S, count: usize) -> Replies {
        let mut replies = Replies {
            statuses: Vec::new(),
            bodies: Vec::new(),
            closed: false,
        };
        while replies.statuses.len() < count {
            let Some((status, length, head)) = parse(&self.bytes) else {
                if !matches!(socket.read_buf(&mut self.bytes).await, Ok(read) if read > 0) {
                    assert!(self.bytes.is_empty(), "half a reply: {:?}", self.bytes);
                    replies.closed = true;
                    break;
                }
                continue;
            };
            let whole: Vec<_> = self.bytes.drain(..head + length).collect();
            replies.statuses.push(status);
            if status >= 200 {
                let body = String::from_utf8_lossy(&whole[head..]).into_owned();
                replies.bodies.push(body);
            }
        }
        replies
    }
}

/// Status, length of the body, and length of the head of a whole reply.
#[expect(
    clippy::unwrap_in_result,
    reason = "none is an answer that is not whole yet; a broken one is a failed test"
)]
fn parse(bytes: &[u8]) -> Option<(u16, usize, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("our heads are ASCII");
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| text.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().expect("a length"))
    });
    let length = length.unwrap_or(0);
    (bytes.len() >= head + length).then_some((status.expect("a status"), length, head))
}
