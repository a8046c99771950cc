//! An app with a plain sign-in form that answers a wrong password as it answers the right one: it leads to `/`, and from there back. Another
//! answers 200 and a page either way.
//!
//! | path | does |
//! |---|---|
//! | `/login` | the form, and what it leads to; a good one brings the cookie `sid`, which scripts may not read |
//! | `/forbidden` | leads to the form whoever asks |
//! | `/public` | 200 whoever asks |
//! | others | 200 with the number of the session, and cookies that scripts may read; who is not in is led to the form |

use std::{
    collections::HashSet,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use runtime::Scope;
use tokio::net::TcpListener;

const FORM: &str =
    "<form method=post action=/login><input name=u><input type=password name=p></form>";

/// What the right password gets in Latin-1, and what a wrong one does.
const GREETING: &[u8] = b"<p>Gr\xfc\xdfe";
const FAULT: &[u8] = b"<p>Passwort ung\xfcltig";

/// A running one. It stops when dropped.
#[derive(Debug)]
pub struct PlainApp {
    addr: SocketAddr,
    state: Arc<State>,
    scope: Scope,
}

#[derive(Debug)]
struct State {
    /// A form that is good.
    good: String,
    /// The form leads to a page either way.
    shows_page: bool,
    attempts: AtomicUsize,
    mixed: AtomicUsize,
    sessions: Mutex<HashSet<String>>,
    heard: Mutex<Vec<String>>,
}

/// Requests that are kept in mind.
const HEARD_MAX: usize = 1_000;

/// Fields by which an app may tell one asker from another.
const HEARD_FIELDS: [&str; 7] = [
    "host",
    "referer",
    "accept",
    "accept-encoding",
    "content-type",
    "x-forwarded-host",
    "x-forwarded-proto",
];

impl Drop for PlainApp {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

impl PlainApp {
    /// Starts it with one account, whose name and password need no escape in a form.
    pub async fn start(user: &str, password: &str) -> Self {
        let shows_page = false;
        Self::start_as(user, password, shows_page).await
    }

    /// The same, of an app that answers 200 and a page in Latin-1 whether the password is right or wrong.
    pub async fn start_with_page(user: &str, password: &str) -> Self {
        let shows_page = true;
        Self::start_as(user, password, shows_page).await
    }

    async fn start_as(user: &str, password: &str, shows_page: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has free ports");
        let addr = listener.local_addr();
        let app = Self {
            addr: addr.expect("a bound socket has an address"),
            state: Arc::new(State {
                good: format!("u={user}&p={password}"),
                shows_page,
                attempts: AtomicUsize::new(0),
                mixed: AtomicUsize::new(0),
                sessions: Mutex::default(),
                heard: Mutex::default(),
            }),
            scope: Scope::root(),
        };
        let (scope, state) = (app.scope.clone(), Arc::clone(&app.state));
        app.scope.spawn("plain-app", async move {
            loop {
                let socket = tokio::select! {
                    () = scope.cancelled() => return,
                    accepted = listener.accept() => accepted.expect("accept works in tests").0,
                };
                let state = Arc::clone(&state);
                scope.spawn("plain-app-connection", async move {
                    let before = Arc::<Mutex<String>>::default();
                    let service = service_fn(move |request| {
                        state.look_at(&before, &request);
                        answer(Arc::clone(&state), request)
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // Whoever is there may leave.
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        app
    }

    /// Its URL, as an app's origin.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many forms were sent to sign in.
    pub fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::SeqCst)
    }

    /// What it was asked since this was called last: method, path, some fields and the names of cookies of each request.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.heard())
    }

    /// How often a connection brought a session after another one.
    pub fn mixed(&self) -> usize {
        self.state.mixed.load(Ordering::SeqCst)
    }
}

fn sid(request: &Request<Incoming>) -> String {
    let cookies = request.headers().get(header::COOKIE);
    let cookies = cookies.and_then(|value| value.to_str().ok());
    let mut pairs = cookies.unwrap_or_default().split("; ");
    let sid = pairs.find_map(|pair| pair.strip_prefix("sid="));
    sid.unwrap_or_default().to_owned()
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let sid = sid(&request);
    let path = request.uri().path().to_owned();
    if path == "/login" && *request.method() == Method::POST {
        let form = request.into_body().collect().await;
        let form = form
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        return Ok(state.sign_in(&form));
    }
    let is_in = state.sessions().contains(&sid);
    Ok(match (&*path, is_in) {
        ("/login", _) => Response::new(FORM.into()),
        ("/public", _) => Response::new("public".into()),
        ("/forbidden", _) | (_, false) => leading_to("/login"),
        (_, true) => {
            let mut page = Response::new(format!("session {sid}").into());
            for cookie in ["seen=1; Path=/", "theme=dark; Path=/"] {
                let cookie = header::HeaderValue::from_static(cookie);
                page.headers_mut().append(header::SET_COOKIE, cookie);
            }
            page
        }
    })
}

impl State {
    fn sessions(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at(&self, before: &Mutex<String>, request: &Request<Incoming>) {
        let mut heard = self.heard();
        if heard.len() < HEARD_MAX {
            heard.push(told(request));
        }
        drop(heard);
        let sid = sid(request);
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        if !sid.is_empty() && !before.is_empty() && *before != sid {
            self.mixed.fetch_add(1, Ordering::SeqCst);
        }
        *before = sid;
    }

    fn sign_in(&self, form: &[u8]) -> Response<Full<Bytes>> {
        let number = self.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        let is_good = form == self.good.as_bytes();
        let mut answer = match (self.shows_page, is_good) {
            (false, _) => leading_to("/"),
            (true, true) => page_of(GREETING),
            (true, false) => page_of(FAULT),
        };
        if is_good {
            self.sessions().insert(number.to_string());
            let cookie = format!("sid={number}; Path=/; HttpOnly");
            let cookie = cookie.parse().expect("visible ASCII");
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        answer
    }
}

fn told(request: &Request<Incoming>) -> String {
    let said = |name: &str| {
        let value = request.headers().get(name);
        let value = value.and_then(|value| value.to_str().ok());
        format!("{name}: {}", value.unwrap_or_default())
    };
    let fields: Vec<_> = HEARD_FIELDS.into_iter().map(said).collect();
    let cookies = said("cookie");
    let cookies = cookies.split("; ").map(|pair| pair.split('=').next());
    let cookies: Vec<_> = cookies.flatten().collect();
    format!(
        "{} {} {:?}; {}; {}",
        request.method(),
        request.uri(),
        request.version(),
        fields.join(", "),
        cookies.join(", ")
    )
}

fn page_of(text: &'static [u8]) -> Response<Full<Bytes>> {
    let mut answer = Response::new(text.into());
    let kind = header::HeaderValue::from_static("text/html; charset=iso-8859-1");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn leading_to(path: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::default();
    *answer.status_mut() = StatusCode::FOUND;
    let path = header::HeaderValue::from_static(path);
    answer.headers_mut().insert(header::LOCATION, path);
    answer
}
