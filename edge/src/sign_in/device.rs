//! Terminals sign in without a browser of their own (after RFC 8628): a terminal shows a code, its user types that into a page of the
//! sign-in host, sees what asks and from where, and lets it in.
//!
//! There is no address that has the code in it: whoever is sent one and only has to click is easily led to let somebody else in (RFC 8628,
//! section 5.4).

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use model::{app::Rate, host::Hostname};
use proto::{
    edge,
    fabric::{
        DeviceBegin, DeviceDecide, DeviceFind, DeviceFound, DevicePoll, DeviceQuestion,
        DeviceRefusalKind, DeviceState, EndSessionRequest, SignInEvent, SignInKind,
        device_answer::Outcome, device_question::Kind,
    },
};
use serde_json::{Value, json};

use super::{
    accounts::AccountsError,
    device_pages::{self, Waiting},
    form::Form,
    host::{self, Call},
    redirect, reports,
    session::{Browser, Errand, Session, milliseconds},
    set_cookie,
    terminal::{self, APP_TOKEN_LIFE},
    token::{TokenError, bearer},
};
use crate::{
    answer, cookies, digest::sha256, failure::RequestError, neighbours::Network, quotas::Clients,
    time::Epoch, user_body::UserBody,
};

/// Where users type the code.
pub(super) const PAGE: &str = "/device";
/// Where they decide.
const CONFIRM: &str = "/device/confirm";
/// Where a terminal begins (RFC 8628, section 3.1).
const AUTHORIZE: &str = "/device/authorize";
/// Where it asks what became of it (section 3.4).
const TOKEN: &str = "/device/token";
/// Where it trades what it has for the token of an app.
const APP_TOKEN: &str = "/device/app-token";
/// Where it signs out.
const SIGN_OUT: &str = "/device/sign-out";

/// How terminals ask (section 3.4).
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Random bytes of what the terminal keeps.
const DEVICE_CODE_BYTES: usize = 32;
/// Most that a terminal calls itself, in characters; control takes no more.
const PROGRAM_CHARS_MAX: usize = 64;
/// What terminals of one network may ask control by way of this edge. Nobody has to show anything for that, and the line to control is everybody's.
/// A terminal asks every five seconds, and control lets twenty of a network wait; those who share an address with more are only slower.
const ASKED: Rate = Rate {
    per_second: 5,
    burst: 100,
};
/// Letters of a code.
const CODE_LETTERS: usize = 8;

const STALE: &str = "This page was open for too long, or cookies are refused. Please try again.";
const NO_CODE: &str =
    "No terminal waits with this code. Look at it again; it is good for ten minutes and once.";
const TOO_MANY: &str = "Too many codes that are none. Please try again in a minute.";
const AWAY: &str = "Signing in is not possible right now. Please try again in a moment.";

/// Counts what terminals ask, by network.
#[derive(Debug)]
pub(crate) struct Terminals {
    epoch: Epoch,
    networks: Clients<Network>,
}

impl Terminals {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            networks: Clients::default(),
        }
    }

    /// Whether one more may ask now.
    fn admit(&self, address: IpAddr) -> bool {
        let now = self.epoch.since();
        self.networks.take(Network::of(address), ASKED, now).is_ok()
    }
}

/// Whether a path of the sign-in host is answered here.
pub(super) fn is_ours(path: &str) -> bool {
    path.strip_prefix(PAGE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request of a terminal, or of whoever lets one in.
pub(super) async fn answer(
    call: &Call<'_>,
    body: UserBody,
) -> Result<Response<Bytes>, RequestError> {
    let method = &call.head.method;
    match (method, call.head.uri.path()) {
        (&Method::GET | &Method::HEAD, PAGE) => ask_for_code(call, StatusCode::OK, ""),
        (&Method::POST, path @ (PAGE | CONFIRM | AUTHORIZE | TOKEN | APP_TOKEN | SIGN_OUT)) => {
            let form = Form::read(&call.head.headers, body).await?;
            match path {
                PAGE => find(call, &form).await,
                CONFIRM => decide(call, &form).await,
                AUTHORIZE => begin(call, &form).await,
                TOKEN => poll(call, &form).await,
                APP_TOKEN => trade(call, &form),
                _ => sign_out(call).await,
            }
        }
        _ => Err(RequestError::NoPage),
    }
}

/// Of the terminal: it wants to sign in.
async fn begin(call: &Call<'_>, form: &Form) -> Result<Response<Bytes>, RequestError> {
    let program = form.get("client_id");
    let is_good = (1..=PROGRAM_CHARS_MAX).contains(&program.chars().count())
        && !program.contains(char::is_control);
    if !is_good {
        return problem(StatusCode::BAD_REQUEST, "invalid_request");
    }
    if !call.edge.terminals.admit(call.address) {
        return problem(StatusCode::TOO_MANY_REQUESTS, "slow_down");
    }
    let random: [u8; DEVICE_CODE_BYTES] = rand::random();
    let device_code = BASE64_URL_SAFE_NO_PAD.encode(random);
    let kind = Kind::Begin(DeviceBegin {
        device_sha256: Bytes::copy_from_slice(&sha256(device_code.as_bytes())),
        program: program.to_owned(),
    });
    match question(call, kind).await {
        Ok(Outcome::Begun(begun)) => {
            let shown = json!({
                "device_code": device_code,
                "user_code": spaced(&begun.user_code),
                "verification_uri": format!("https://{}{PAGE}", call.authority.text),
                "expires_in": begun.expires_in_s,
                "interval": begun.interval_s,
            });
            document(StatusCode::OK, &shown)
        }
        Ok(Outcome::Refusal(_)) => problem(StatusCode::TOO_MANY_REQUESTS, "slow_down"),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
    }
}

/// Of the terminal: it asks what became of it.
async fn poll(call: &Call<'_>, form: &Form) -> Result<Response<Bytes>, RequestError> {
    if form.get("grant_type") != GRANT_TYPE {
        return problem(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if !call.edge.terminals.admit(call.address) {
        return problem(StatusCode::BAD_REQUEST, "slow_down");
    }
    let device_sha256 = Bytes::copy_from_slice(&sha256(form.get("device_code").as_bytes()));
    let kind = Kind::Poll(DevicePoll {
        device_sha256: device_sha256.clone(),
    });
    let Ok(Outcome::Polled(polled)) = question(call, kind).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    };
    let error = match polled.state() {
        DeviceState::Granted => {
            let session = terminal::open_grant(call.view, &polled.grant, &device_sha256, call.now);
            match session {
                Some(session) => return grant(call, &session),
                // The user has signed out since.
                None => "access_denied",
            }
        }
        DeviceState::Pending => "authorization_pending",
        DeviceState::SlowDown => "slow_down",
        DeviceState::Denied => "access_denied",
        DeviceState::Expired | DeviceState::Unspecified => "expired_token",
    };
    problem(StatusCode::BAD_REQUEST, error)
}

fn grant(call: &Call<'_>, session: &Session) -> Result<Response<Bytes>, RequestError> {
    let token = terminal::seal_terminal(call.view, call.host(), session);
    let left = session.ends_ms().saturating_sub(milliseconds(call.now));
    tracing::info!(request.id = %call.id, user = %session.user.id, client = call.client, "a terminal has signed in");
    tell(call, SignInKind::SignedIn, session);
    let shown = json!({
        "access_token": token.ok_or(RequestError::NoView)?,
        "token_type": "Bearer",
        "expires_in": left / 1_000,
        "user": session.user.id.as_str(),
    });
    document(StatusCode::OK, &shown)
}

/// For the log of sign-ins: a terminal came or went, or its user does not let it in.
fn tell(call: &Call<'_>, kind: SignInKind, session: &Session) {
    call.tell(SignInEvent {
        reason: reports::TERMINAL.to_owned(),
        ..reports::of_user(kind, &session.user)
    });
}

/// Of the terminal: it wants to use an app.
fn trade(call: &Call<'_>, form: &Form) -> Result<Response<Bytes>, RequestError> {
    let session = terminal_session(call)?;
    // Only of what is published: the names of others may lead anywhere.
    let host = form.get("host").parse::<Hostname>().ok();
    let host = host.filter(|host| call.view.site(host).is_some());
    let Some(host) = host else {
        return problem(StatusCode::BAD_REQUEST, "invalid_target");
    };
    let token = terminal::seal_app(call.view, &host, &session, call.now);
    let shown = json!({
        "access_token": token.ok_or(RequestError::NoView)?,
        "token_type": "Bearer",
        "expires_in": APP_TOKEN_LIFE.as_secs(),
    });
    document(StatusCode::OK, &shown)
}

/// Of the terminal: what it has is to be good for nothing any more.
async fn sign_out(call: &Call<'_>) -> Result<Response<Bytes>, RequestError> {
    let session = terminal_session(call)?;
    let ended = EndSessionRequest {
        session: Bytes::copy_from_slice(&session.id),
        user: session.user.id.to_string(),
        ..EndSessionRequest::default()
    };
    if call.edge.accounts.end(ended).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    }
    tracing::info!(request.id = %call.id, user = %session.user.id, client = call.client, "a terminal has signed out");
    tell(call, SignInKind::SignedOut, &session);
    document(StatusCode::OK, &json!({}))
}

/// The session of the terminal that asks.
fn terminal_session(call: &Call<'_>) -> Result<Session, RequestError> {
    let mut shown = call.head.headers.get_all(header::AUTHORIZATION).iter();
    let token = match (shown.next(), shown.next()) {
        (Some(value), None) => bearer(value)
            .and_then(|token| std::str::from_utf8(token).ok())
            .ok_or(TokenError::Form),
        (None, _) => Err(TokenError::Form),
        (Some(_), Some(_)) => Err(TokenError::Several),
    };
    let session =
        token.and_then(|token| terminal::open_terminal(call.view, call.host(), token, call.now));
    session.map_err(|error| call.edge.guesses.refuse(call.address, error))
}

/// Of a user: where the code is typed. Who is not signed in does that first.
fn ask_for_code(
    call: &Call<'_>,
    status: StatusCode,
    fault: &str,
) -> Result<Response<Bytes>, RequestError> {
    let (browser, is_new) = Browser::of_or_new(call.fields());
    let browser_to_keep = is_new.then_some(&browser);
    let Some(session) = call.session() else {
        let errand = Errand(edge::Errand {
            authority: call.authority.text.clone(),
            target: PAGE.to_owned(),
            browser_sha256: browser.sha256().into(),
            issued_ms: milliseconds(call.now),
            ..edge::Errand::default()
        });
        let errand = errand.seal(call.view).ok_or(RequestError::NoView)?;
        let mut response = redirect(&format!("/sign-in?to={errand}"))?;
        if let Some(browser) = browser_to_keep {
            let cookie = cookies::set(cookies::BROWSER, &browser.secret());
            set_cookie(&mut response, cookie)?;
        }
        return Ok(response);
    };
    let token = call.token(&browser)?;
    let page = device_pages::ask(status, call.id, &token, session.user.name(), fault);
    host::keep(page, browser_to_keep)
}

/// Of a user: a code was typed.
async fn find(call: &Call<'_>, form: &Form) -> Result<Response<Bytes>, RequestError> {
    let Some(session) = call.session() else {
        return redirect(PAGE);
    };
    if !call.is_ours(form) {
        return ask_for_code(call, StatusCode::BAD_REQUEST, STALE);
    }
    let code = plain(form.get("code"));
    let found = match found(call, &code).await {
        Ok(found) => found,
        Err((status, fault)) => return ask_for_code(call, status, fault),
    };
    let (browser, is_new) = Browser::of_or_new(call.fields());
    let waiting = Waiting {
        program: &found.program,
        client: &found.client,
        is_near: found
            .client
            .parse()
            .is_ok_and(|client| Network::of(client) == Network::of(call.address)),
        age: Duration::from_secs(found.age_s.into()),
        code: &spaced(&code),
    };
    let token = call.token(&browser)?;
    let page = device_pages::confirm(call.id, &token, session.user.name(), &waiting);
    host::keep(page, is_new.then_some(&browser))
}

/// Of a user: the terminal may come in, or not.
async fn decide(call: &Call<'_>, form: &Form) -> Result<Response<Bytes>, RequestError> {
    let Some(session) = call.session() else {
        return redirect(PAGE);
    };
    if !call.is_ours(form) {
        return ask_for_code(call, StatusCode::BAD_REQUEST, STALE);
    }
    let user_code = plain(form.get("code"));
    let found = match found(call, &user_code).await {
        Ok(found) => found,
        Err((status, fault)) => return ask_for_code(call, status, fault),
    };
    let is_in = form.get("answer") == "allow";
    let grant = if is_in {
        let session = terminal::session_of(&session);
        let grant = terminal::seal_grant(call.view, &session, &found.device_sha256);
        grant.ok_or(RequestError::NoView)?
    } else {
        Bytes::new()
    };
    let kind = Kind::Decide(DeviceDecide {
        user_code,
        device_sha256: found.device_sha256,
        grant,
    });
    match question(call, kind).await {
        Ok(Outcome::Decided(_)) => {
            tracing::info!(request.id = %call.id, user = %session.user.id, client = call.client, terminal = found.client, is_in, "decided about a terminal");
            if !is_in {
                tell(call, SignInKind::Refused, &session);
            }
            Ok(device_pages::decided(call.id, is_in))
        }
        Ok(Outcome::Refusal(_)) => ask_for_code(call, StatusCode::NOT_FOUND, NO_CODE),
        _ => ask_for_code(call, StatusCode::SERVICE_UNAVAILABLE, AWAY),
    }
}

/// The terminal that waits with this code; or what the user is told.
async fn found(call: &Call<'_>, code: &str) -> Result<DeviceFound, (StatusCode, &'static str)> {
    const UNKNOWN: (StatusCode, &str) = (StatusCode::NOT_FOUND, NO_CODE);
    if code.len() != CODE_LETTERS {
        return Err(UNKNOWN);
    }
    let kind = Kind::Find(DeviceFind {
        user_code: code.to_owned(),
    });
    match question(call, kind).await {
        Ok(Outcome::Found(found)) => Ok(found),
        Ok(Outcome::Refusal(refusal)) => Err(match refusal.kind() {
            DeviceRefusalKind::TooMany => (StatusCode::TOO_MANY_REQUESTS, TOO_MANY),
            DeviceRefusalKind::Unknown | DeviceRefusalKind::Unspecified => UNKNOWN,
        }),
        _ => Err((StatusCode::SERVICE_UNAVAILABLE, AWAY)),
    }
}

async fn question(call: &Call<'_>, kind: Kind) -> Result<Outcome, AccountsError> {
    let question = DeviceQuestion {
        kind: Some(kind),
        client: call.client.clone(),
    };
    let said = call.edge.accounts.device(question).await?;
    said.outcome.ok_or(AccountsError::Away)
}

/// What terminals are told when there is nothing for them (RFC 6749, section 5.2).
fn problem(status: StatusCode, error: &str) -> Result<Response<Bytes>, RequestError> {
    document(status, &json!({ "error": error }))
}

fn document(status: StatusCode, shown: &Value) -> Result<Response<Bytes>, RequestError> {
    let body = serde_json::to_vec(shown).map_err(|_| RequestError::Bug("json"))?;
    let mut response = answer::document("application/json", body, status);
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        let soon = HeaderValue::from_static("5");
        response.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    Ok(response)
}

/// As people read it: in two halves.
fn spaced(code: &str) -> String {
    match code.split_at_checked(CODE_LETTERS / 2) {
        Some((first, second)) => format!("{first}-{second}"),
        None => code.to_owned(),
    }
}

/// As people may type it: in small letters, with or without the hyphen.
fn plain(typed: &str) -> String {
    typed
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(CODE_LETTERS + 1)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_however_they_are_typed() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k"] {
            assert_eq!(plain(typed), "BCDFGHJK", "{typed}");
        }
        assert_eq!(plain(&"b".repeat(1_000)).len(), CODE_LETTERS + 1);
        assert_eq!(spaced("BCDFGHJK"), "BCDF-GHJK");
    }

    #[tokio::test(start_paused = true)]
    async fn terminals_of_one_network_ask_so_often_and_hold_up_no_other() {
        let terminals = Terminals::new(Epoch::new(runtime::Clock::system()));
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..ASKED.burst {
            assert!(terminals.admit(one));
        }
        assert!(!terminals.admit(one));
        assert!(terminals.admit(other));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..ASKED.per_second {
            assert!(terminals.admit(one));
        }
        assert!(!terminals.admit(one));
    }

    #[test]
    fn its_paths_are_its_own_and_no_others() {
        for (path, want) in [
            ("/device", true),
            ("/device/token", true),
            ("/devices", false),
            ("/", false),
        ] {
            assert_eq!(is_ours(path), want, "{path}");
        }
    }
}
