//! What the sign-in host shows.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::{
    id::RequestId,
    page::{self, Page},
};

/// Puts what stood behind `#` where the form brings it along: browsers send it to nobody, and it would be lost.
const KEEP_FRAGMENT: &str = "\
for(const f of document.forms)if(f.fragment&&location.hash)f.fragment.value=location.hash";

/// What a form of the sign-in host brings back besides what people type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden<'a> {
    /// Shows where the form was made.
    pub token: &'a str,
    /// The errand, sealed; empty: none.
    pub to: &'a str,
    /// What stood behind `#`, with it.
    pub fragment: &'a str,
    /// Where the user comes from, as in a URL; empty: from nowhere.
    pub authority: &'a str,
}

impl Hidden<'_> {
    fn fields(&self) -> String {
        let [token, to, fragment] = [self.token, self.to, self.fragment].map(page::escape);
        format!(
            r#"<input type="hidden" name="token" value="{token}">
<input type="hidden" name="to" value="{to}">
<input type="hidden" name="fragment" value="{fragment}">
"#
        )
    }

    /// Browsers hold all that an answer leads on to against this: the app, and wherever the app itself leads on.
    fn action(&self) -> &'static str {
        match self.authority {
            "" => "'self'",
            _ => "'self' https: http:",
        }
    }
}

/// Asks for name and password.
pub(crate) fn sign_in(
    status: StatusCode,
    nonce: RequestId,
    hidden: &Hidden<'_>,
    user: &str,
    fault: &str,
) -> Response<Bytes> {
    let goal = match hidden.authority {
        "" => String::new(),
        authority => format!("<p>to go on to <b>{}</b></p>\n", page::escape(authority)),
    };
    let (fault, fields, user) = (fault_line(fault), hidden.fields(), page::escape(user));
    let (first, second) = if user.is_empty() {
        (" autofocus", "")
    } else {
        ("", " autofocus")
    };
    let main = format!(
        r#"<h1>Sign in</h1>
{goal}{fault}<form method="post" action="/sign-in">
{fields}<label for="user">User name</label>
<input id="user" name="user" value="{user}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="128" required{first}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required{second}>
<button>Sign in</button>
</form>
"#
    );
    let page = Page {
        title: "Sign in",
        nonce,
        main: &main,
        script: KEEP_FRAGMENT,
        form_action: hidden.action(),
    };
    page.respond(status)
}

/// Asks for the password, and for another.
pub(crate) fn change_password(
    status: StatusCode,
    nonce: RequestId,
    hidden: &Hidden<'_>,
    user: &str,
    (words, fault): (&str, &str),
) -> Response<Bytes> {
    let (fault, fields, user) = (fault_line(fault), hidden.fields(), page::escape(user));
    let main = format!(
        r#"<h1>Choose a new password</h1>
<p>{words}At least 12 characters; a few words that only you would put together are easy to keep in mind.</p>
{fault}<form method="post" action="/change-password">
{fields}<label for="user">User name</label>
<input id="user" name="user" value="{user}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="128" required>
<label for="password">Password until now</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required autofocus>
<label for="new">New password</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="12" maxlength="256" required>
<label for="again">New password again</label>
<input id="again" name="again" type="password" autocomplete="new-password" minlength="12" maxlength="256" required>
<button>Change password</button>
</form>
"#
    );
    let page = Page {
        title: "Choose a new password",
        nonce,
        main: &main,
        script: KEEP_FRAGMENT,
        form_action: hidden.action(),
    };
    page.respond(status)
}

/// For a user who is signed in.
pub(crate) fn home(nonce: RequestId, token: &str, name: &str, user: &str) -> Response<Bytes> {
    let (token, name, user) = (page::escape(token), page::escape(name), page::escape(user));
    let main = format!(
        r#"<h1>You are signed in</h1>
<p><b>{name}</b> ({user})</p>
<form method="post" action="/sign-out">
<input type="hidden" name="token" value="{token}">
<button>Sign out</button>
</form>
<p class="aside"><a href="/.adit/portal">Your apps</a> · <a href="/change-password">Change password</a></p>
"#
    );
    let page = Page {
        title: "You are signed in",
        nonce,
        main: &main,
        script: "",
        form_action: "'self'",
    };
    page.respond(StatusCode::OK)
}

/// The same, asked by an app.
pub(crate) fn sign_out(nonce: RequestId, token: &str, name: &str) -> Response<Bytes> {
    let (token, name) = (page::escape(token), page::escape(name));
    let main = format!(
        r#"<h1>Sign out?</h1>
<p><b>{name}</b> will be signed out of all apps.</p>
<form method="post" action="/sign-out">
<input type="hidden" name="token" value="{token}">
<button autofocus>Sign out</button>
</form>
"#
    );
    let page = Page {
        title: "Sign out?",
        nonce,
        main: &main,
        script: "",
        form_action: "'self'",
    };
    page.respond(StatusCode::OK)
}

/// After that.
pub(crate) fn signed_out(nonce: RequestId) -> Response<Bytes> {
    message(
        StatusCode::OK,
        nonce,
        "Signed out",
        "You are signed out of all apps.",
    )
}

/// When control could not be told: the session goes on, and so does the way to end it.
pub(crate) fn not_signed_out(nonce: RequestId) -> Response<Bytes> {
    message(
        StatusCode::SERVICE_UNAVAILABLE,
        nonce,
        "Not signed out yet",
        "Signing out is not possible right now, and you are still signed in. Please try again in a moment; close the browser if others use it.",
    )
}

/// Nobody is signed in.
pub(crate) fn nobody(nonce: RequestId) -> Response<Bytes> {
    message(
        StatusCode::OK,
        nonce,
        "Not signed in",
        "Nobody is signed in here.",
    )
}

fn message(status: StatusCode, nonce: RequestId, title: &str, words: &str) -> Response<Bytes> {
    let main = format!(
        r#"<h1>{title}</h1>
<p>{words}</p>
<p class="aside"><a href="/">Sign in</a></p>
"#
    );
    let page = Page {
        title,
        nonce,
        main: &main,
        script: "",
        form_action: "",
    };
    page.respond(status)
}

fn fault_line(fault: &str) -> String {
    match fault {
        "" => String::new(),
        fault => format!(
            "<p class=\"fault\" role=\"alert\">{}</p>\n",
            page::escape(fault)
        ),
    }
}
