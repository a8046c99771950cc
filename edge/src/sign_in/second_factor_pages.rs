//! What the sign-in host shows of second factors and accounts. All of it works without JavaScript.

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http::{Response, StatusCode};
use qrcodegen::{QrCode, QrCodeEcc};

use super::{
    pages::{Hidden, KEEP_FRAGMENT, fault_line},
    passkey_pages::{self, Asked},
};
use crate::{
    id::RequestId,
    page::{self, Page},
};

/// Quiet modules around a QR code (ISO/IEC 18004).
const QUIET: i32 = 4;

/// A page with one form, for a user whose password was right.
fn respond(
    status: StatusCode,
    nonce: RequestId,
    (title, main): (&str, &str),
    form_action: &str,
) -> Response<Bytes> {
    let page = Page {
        title,
        nonce,
        main,
        script: KEEP_FRAGMENT,
        form_action,
    };
    page.respond(status)
}

/// Asks for a code, or for a passkey in its place if the user has any.
pub(crate) fn code(
    (status, nonce): (StatusCode, RequestId),
    hidden: &Hidden<'_>,
    (halfway, asked): (&str, Option<&Asked<'_>>),
    fault: &str,
) -> Response<Bytes> {
    let (fault, fields) = (fault_line(fault), hidden.fields());
    let passkey = asked.map(|asked| passkey_pages::form(hidden, asked));
    let passkey = passkey.unwrap_or_default();
    let halfway = page::escape(halfway);
    let main = format!(
        r#"<h1>Second factor</h1>
<p>Open the authenticator app on your phone, and type the six digits that it shows for this place.</p>
{fault}<form method="post" action="/second-factor">
{fields}<input type="hidden" name="halfway" value="{halfway}">
<label for="code">Code</label>
<input id="code" name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" maxlength="64" required autofocus>
<button>Go on</button>
</form>
{passkey}<p class="aside">Without your phone, type one of your recovery codes. Each is good once. If you have none left, ask your administrator.</p>
"#
    );
    let page = Page {
        title: "Second factor",
        nonce,
        main: &main,
        script: asked.map_or(KEEP_FRAGMENT, |_| passkey_pages::USE_SCRIPT),
        form_action: hidden.action(),
    };
    page.respond(status)
}

/// What is to be put into an authenticator app.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    pub halfway: &'a str,
    pub offer: &'a str,
    pub key: &'a [u8],
    /// The fabric's domain, and the user's name for it.
    pub issuer: &'a str,
    pub user: &'a str,
    /// Whether the user has to.
    pub must: bool,
}

/// Shows the key of an authenticator app, and asks for a code of it.
pub(crate) fn enrol(
    (status, nonce): (StatusCode, RequestId),
    hidden: &Hidden<'_>,
    offered: &Offered<'_>,
    fault: &str,
) -> Response<Bytes> {
    let (fault, fields) = (fault_line(fault), hidden.fields());
    let [halfway, offer] = [offered.halfway, offered.offer].map(page::escape);
    let key = BASE32_NOPAD.encode(offered.key);
    let picture = qr_code(&otpauth(offered, &key));
    let key = spaced(&key);
    let why = if offered.must {
        "<p>Your organisation asks for a second factor besides the password. It takes a minute, once.</p>\n"
    } else {
        ""
    };
    let main = format!(
        r#"<h1>Set up an authenticator app</h1>
{why}<p>Scan this picture with an authenticator app on your phone, or type the key into it. Then type the six digits that it shows.</p>
{fault}{picture}
<p class="aside">Key: <code>{key}</code></p>
<form method="post" action="/authenticator/confirm">
{fields}<input type="hidden" name="halfway" value="{halfway}">
<input type="hidden" name="offer" value="{offer}">
<label for="code">Code</label>
<input id="code" name="code" autocomplete="one-time-code" inputmode="numeric" maxlength="16" required autofocus>
<button>Confirm</button>
</form>
"#
    );
    let title = ("Set up an authenticator app", main.as_str());
    respond(status, nonce, title, hidden.action())
}

/// The address that apps read (Key Uri Format of Google Authenticator, which all of them follow).
fn otpauth(offered: &Offered<'_>, key: &str) -> String {
    let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let (issuer, user) = (escape(offered.issuer), escape(offered.user));
    format!(
        "otpauth://totp/{issuer}:{user}?secret={key}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    )
}

/// Four characters at a time, as people read them.
fn spaced(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    let groups: Vec<String> = chars.chunks(4).map(|four| four.iter().collect()).collect();
    groups.join(" ")
}

/// A picture for cameras: dark on light, whatever the page's colours are.
fn qr_code(text: &str) -> String {
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else {
        // Longer than any code holds; the key is shown as text anyway.
        return String::new();
    };
    let (size, mut path) = (code.size(), String::new());
    for y in 0..size {
        for x in 0..size {
            if code.get_module(x, y) {
                path.push_str(&format!("M{} {}h1v1h-1z", x + QUIET, y + QUIET));
            }
        }
    }
    let whole = size + 2 * QUIET;
    format!(
        r##"<svg role="img" aria-label="QR code" viewBox="0 0 {whole} {whole}" width="220" height="220" shape-rendering="crispEdges"><rect width="{whole}" height="{whole}" fill="#fff"/><path d="{path}" fill="#000"/></svg>"##
    )
}

/// Shows the recovery codes, once.
pub(crate) fn recovery_codes(nonce: RequestId, codes: &[String], go_on: &str) -> Response<Bytes> {
    let codes: Vec<_> = codes.iter().map(|code| page::escape(code)).collect();
    let (codes, go_on) = (codes.join("\n"), page::escape(go_on));
    let main = format!(
        r#"<h1>Keep these recovery codes</h1>
<p>If your phone is lost, each of them lets you in once instead of a code of the app. They are shown this once: print them, or put them where your passwords are, and not on the phone.</p>
<pre>{codes}</pre>
<p><a href="{go_on}">I have kept them: go on</a></p>
"#
    );
    let title = ("Keep these recovery codes", main.as_str());
    respond(StatusCode::OK, nonce, title, "")
}

/// What a user is about to do, for which the password is asked once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// To set up an authenticator app, or another one.
    Enrol,
    /// To take it away.
    RemoveAuthenticator,
    /// To add a passkey.
    AddPasskey,
    /// To take one away.
    RemovePasskey,
}

impl Act {
    /// By the path of its page.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/authenticator" => Self::Enrol,
            "/authenticator/remove" => Self::RemoveAuthenticator,
            "/passkeys/add" => Self::AddPasskey,
            "/passkeys/remove" => Self::RemovePasskey,
            _ => return None,
        })
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Enrol => "/authenticator",
            Self::RemoveAuthenticator => "/authenticator/remove",
            Self::AddPasskey => "/passkeys/add",
            Self::RemovePasskey => "/passkeys/remove",
        }
    }

    /// Heading, words, and the button.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Enrol => (
                "Set up an authenticator app",
                "From then on, a code of the app is asked for besides your password. An app that was set up before is good no longer, and you are signed out everywhere else.",
                "Go on",
            ),
            Self::RemoveAuthenticator => (
                "Remove the authenticator app?",
                "The app and the recovery codes are good no longer, and you are signed out everywhere else.",
                "Remove",
            ),
            Self::AddPasskey => (
                "Add a passkey",
                "A passkey is kept by your device or your password manager, and lets you in by your fingerprint, face or PIN.",
                "Go on",
            ),
            Self::RemovePasskey => (
                "Remove this passkey?",
                "It lets nobody in any more, and you are signed out everywhere else. Remove it from your device as well.",
                "Remove",
            ),
        }
    }
}

/// Asks for the password, before something of the account is changed. `id` is of what it is about; empty: of nothing.
pub(crate) fn ask_password(
    (status, nonce): (StatusCode, RequestId),
    hidden: &Hidden<'_>,
    (act, id): (Act, &str),
    (user, fault): (&str, &str),
) -> Response<Bytes> {
    let (title, words, button) = act.words();
    let (fault, path) = (fault_line(fault), act.path());
    let is_led = matches!(act, Act::Enrol) && !hidden.authority.is_empty();
    let why = if is_led {
        format!(
            "<p><b>{}</b> asks for a second factor, and you have none yet. It takes a minute, once.</p>\n",
            page::escape(hidden.authority)
        )
    } else {
        String::new()
    };
    let (fields, [id, user]) = (hidden.fields(), [id, user].map(page::escape));
    let main = format!(
        r#"<h1>{title}</h1>
{why}<p>{words}</p>
{fault}<form method="post" action="{path}">
{fields}<input type="hidden" name="id" value="{id}">
<label for="user">User name</label>
<input id="user" value="{user}" autocomplete="username" readonly>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required autofocus>
<button>{button}</button>
</form>
<p class="aside"><a href="/">Back</a></p>
"#
    );
    respond(status, nonce, (title, &main), "'self'")
}

/// Something that a user may see and not do.
pub(crate) fn refused(status: StatusCode, nonce: RequestId, words: &str) -> Response<Bytes> {
    let words = page::escape(words);
    let main = format!(
        "<h1>Not done</h1>\n<p>{words}</p>\n<p class=\"aside\"><a href=\"/\">Back to your account</a></p>\n"
    );
    respond(status, nonce, ("Not done", &main), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered<'a>() -> Offered<'a> {
        Offered {
            halfway: "h",
            offer: "o",
            key: b"12345678901234567890",
            issuer: "example.com",
            user: "alice@example.com",
            must: true,
        }
    }

    #[test]
    fn the_key_is_what_apps_read() {
        let key = BASE32_NOPAD.encode(offered().key);
        assert_eq!(key, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(
            otpauth(&offered(), &key),
            "otpauth://totp/example.com:alice%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=example.com&algorithm=SHA1&digits=6&period=30"
        );
        assert!(spaced(&key).starts_with("GEZD GNBV GY3T "));
    }

    #[test]
    fn the_picture_is_drawn_in_one_path_and_loads_nothing() {
        let picture = qr_code(&otpauth(&offered(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"));
        assert!(picture.starts_with("<svg role=\"img\""));
        // A finder pattern begins at the first module behind the quiet zone.
        assert!(picture.contains("<path d=\"M4 4h1v1h-1z"), "{picture}");
        assert!(!picture.contains("http"));
        assert!(picture.len() < 64 * 1024, "{}", picture.len());
        assert_eq!(qr_code(&"x".repeat(8_000)), "");
    }
}
