//! From the agent's answer to the user's.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header, response::Parts,
};
use hyper::ext::ReasonPhrase;
use model::{
    app::App,
    balance::{Failure, Outcome},
};
use proto::tunnel::ResponseHead;
use runtime::field_case;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tunnel::{codes::Code, stream::RecvHalf};

use crate::{
    access_log::Record,
    download::{Body, Download, DownloadParts, Rest},
    exchange::{Answered, Progress, Sending},
    failure::RequestError,
    fields,
    outgoing::{Outgoing, UpgradeForm},
    request::Visit,
    rules::Rules,
    sign_in::leash::{self, Cut},
    upgrade,
    upload::{Upload, UploadError},
    websocket::Boundary,
};

/// Longest wait for the END behind a head without a body. It comes in the same write; later, it tells nothing new.
const END_WAIT: Duration = Duration::from_secs(1);

/// How much of an answer follows its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    Nothing,
    Known(u64),
    Streamed,
    Upgraded,
}

/// Turns an answer into the user's response, and sets in motion what goes on beside it.
pub(crate) async fn respond(
    visit: &Visit,
    app: &App,
    answered: Answered,
    mut outgoing: Outgoing,
    slot: &mut Option<Record>,
    rules: &Rules,
) -> Result<Response<Body>, RequestError> {
    let (mut parts, payload) = read_head(&answered.head, &outgoing)?;
    // What switches protocols is no answer with anything in it.
    if payload != Payload::Upgraded {
        rules.apply_to_origins(&mut parts.headers);
    }
    let Answered {
        send,
        mut recv,
        guard,
        progress,
        came_at,
        ..
    } = answered;
    let Some(mut record) = slot.take() else {
        return Err(RequestError::Bug("the record is gone"));
    };
    record.head_of(parts.status.as_u16(), came_at);
    let end = app
        .timeouts
        .total
        .map(|total| record.traffic.ends_at(total));
    let body = match (payload, outgoing.upgrade.take()) {
        (Payload::Upgraded, Some(wish)) => {
            upgrade::start(upgrade::Session {
                connection: wish.connection,
                stall_timeout: visit.user.stall_timeout(app),
                stalls: Arc::clone(&visit.worker.edge.stalls),
                send,
                recv,
                guard,
                underway: visit.user.presence.begin(),
                record,
                idle: app.timeouts.idle,
                end,
                boundary: Boundary::of(&wish.token),
                scope: visit.worker.streams.clone(),
            });
            Body::Whole(None)
        }
        // hyper drops a body of no length unread: it would look as if the user had left.
        (Payload::Nothing | Payload::Known(0), _) => {
            skip_to_end(&mut recv).await;
            record.complete();
            Body::Whole(None)
        }
        (Payload::Known(_) | Payload::Streamed | Payload::Upgraded, _) => {
            let rest = go_on(visit, outgoing.upload, send, progress, &record);
            Body::Stream(Box::new(Download::new(DownloadParts {
                recv,
                length: match payload {
                    Payload::Known(bytes) => Some(bytes),
                    Payload::Nothing | Payload::Streamed | Payload::Upgraded => None,
                },
                idle: app.timeouts.idle,
                end,
                record,
                _stream: guard,
                _rest: rest,
            })))
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// How the answer speaks for the agent that gave it.
pub(crate) fn outcome(answered: &Answered) -> Outcome {
    match StatusCode::from_u16(u16::try_from(answered.head.status).unwrap_or_default()) {
        Ok(
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE,
        ) => Outcome::Failure(Failure::Busy { retry_after: None }),
        _ => Outcome::Head(answered.latency),
    }
}

fn read_head(head: &ResponseHead, outgoing: &Outgoing) -> Result<(Parts, Payload), RequestError> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = u16::try_from(head.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(RequestError::Answer("status"))?;
    parts.headers =
        tunnel::fields::decode(head.fields.clone()).map_err(|_| RequestError::Answer("fields"))?;
    let chosen = parts.headers.get(header::UPGRADE).cloned();
    fields::clean_response(&mut parts.headers);
    let payload = payload(head, parts.status, outgoing)?;
    if let (Payload::Upgraded, Some(wish)) = (payload, &outgoing.upgrade)
        && wish.form == UpgradeForm::Upgrade
    {
        upgrade::announce(&mut parts.headers, chosen.as_ref().unwrap_or(&wish.token));
    }
    set_length(&mut parts.headers, payload, parts.status, &outgoing.method);
    if outgoing.version <= Version::HTTP_11 && !head.field_names.is_empty() {
        parts.extensions = field_case::extensions(&head.field_names);
    }
    if outgoing.version <= Version::HTTP_11 && !head.reason_phrase.is_empty() {
        // A phrase that HTTP does not allow is no loss.
        if let Ok(phrase) = ReasonPhrase::try_from(head.reason_phrase.clone()) {
            parts.extensions.insert(phrase);
        }
    }
    Ok((parts, payload))
}

fn payload(
    head: &ResponseHead,
    status: StatusCode,
    outgoing: &Outgoing,
) -> Result<Payload, RequestError> {
    let form = outgoing.upgrade.as_ref().map(|wish| wish.form);
    let granted = form.is_some_and(|form| form.is_granted_by(status));
    if head.upgraded || granted || status == StatusCode::SWITCHING_PROTOCOLS {
        return if head.upgraded && granted {
            Ok(Payload::Upgraded)
        } else {
            Err(RequestError::Answer("upgrade that nobody asked for"))
        };
    }
    // RFC 9110, section 6.4.1.
    let bodiless = outgoing.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match head.body_length {
        _ if bodiless => Payload::Nothing,
        Some(bytes) => Payload::Known(bytes),
        None if head.body_streamed => Payload::Streamed,
        None => Payload::Known(0),
    })
}

/// The length that the tunnel vouches for replaces the origin's own, except where that stands for a body not sent.
fn set_length(fields: &mut HeaderMap, payload: Payload, status: StatusCode, method: &Method) {
    match payload {
        Payload::Known(bytes) => {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        Payload::Nothing if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED => {}
        Payload::Nothing | Payload::Streamed | Payload::Upgraded => {
            fields.remove(header::CONTENT_LENGTH);
        }
    }
}

/// Reads what closes an answer without a body, so that the agent does not take it for a user who left.
async fn skip_to_end(recv: &mut RecvHalf) {
    let rest = async { while let Ok(Some(_)) = recv.next().await {} };
    // Nothing is lost with what comes late.
    let _ = timeout(END_WAIT, rest).await;
}

/// What is left of the upload goes on beside the answer, and ends with it.
fn go_on(
    visit: &Visit,
    upload: Option<Upload>,
    send: Sending,
    progress: Progress,
    record: &Record,
) -> Rest {
    match (progress, upload) {
        (Progress::Running, Some(mut upload)) => {
            upload.drop_pace();
            let token = CancellationToken::new();
            let guard = token.clone().drop_guard();
            let finish = finish_upload(upload, send, token, record.cut());
            visit.worker.streams.spawn("upload", finish);
            Rest::Running(guard)
        }
        (Progress::Withheld | Progress::Done | Progress::Running, _) => Rest::Idle(send),
    }
}

/// Until the answer ends, or the session that it is of: a user who takes nothing of the answer may still send.
async fn finish_upload(
    mut upload: Upload,
    mut send: Sending,
    token: CancellationToken,
    cut: Option<Cut>,
) {
    let pump = async {
        // What was queued when the head came.
        send.0.flush().await.map_err(UploadError::Send)?;
        upload.pump(&mut send.0).await
    };
    let pump = async {
        tokio::select! {
            pumped = pump => Some(pumped),
            () = leash::ended(cut) => None,
        }
    };
    match token.run_until_cancelled(pump).await.flatten() {
        Some(Err(
            error @ (UploadError::User(_)
            | UploadError::Slow
            | UploadError::TooLong
            | UploadError::Trailers(_)),
        )) => {
            tracing::debug!(%error, "user's body broke off behind the answer's head");
            send.0.reset(Code::Truncated);
        }
        Some(Err(UploadError::Send(_)) | Ok(())) | None => {}
    }
}
