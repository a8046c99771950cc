//! What the sign-in host shows to whoever lets a terminal in.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::{
    answer,
    id::RequestId,
    page::{self, Page},
};

/// A terminal that waits, as its user is shown it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'a> {
    /// What it calls itself. Anybody can call themselves anything.
    pub program: &'a str,
    /// Where it asked from.
    pub client: &'a str,
    /// Whether that is where the user is too.
    pub is_near: bool,
    /// How long ago.
    pub age: std::time::Duration,
    /// The code that was typed.
    pub code: &'a str,
}

/// Asks for the code that the terminal shows.
pub(crate) fn ask(
    status: StatusCode,
    nonce: RequestId,
    token: &str,
    name: &str,
    fault: &str,
) -> Response<Bytes> {
    let (token, name) = (page::escape(token), page::escape(name));
    let fault = match fault {
        "" => String::new(),
        fault => format!(
            "<p class=\"fault\" role=\"alert\">{}</p>\n",
            page::escape(fault)
        ),
    };
    let main = format!(
        r#"<h1>Sign in a terminal</h1>
<p>Signed in as <b>{name}</b>. Type the code that your terminal shows.</p>
{fault}<form method="post" action="/device">
<input type="hidden" name="token" value="{token}">
<label for="code">Code</label>
<input id="code" name="code" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="16" placeholder="BCDF-GHJK" required autofocus>
<button>Go on</button>
</form>
<p class="aside">Has somebody sent you a code? Do not type it: they would be signed in as you.</p>
"#
    );
    respond(status, nonce, "Sign in a terminal", &main, "'self'")
}

/// Shows which terminal it is, and asks whether it may come in.
pub(crate) fn confirm(
    nonce: RequestId,
    token: &str,
    name: &str,
    waiting: &Waiting<'_>,
) -> Response<Bytes> {
    let (token, name) = (page::escape(token), page::escape(name));
    let [program, client, code] = [waiting.program, waiting.client, waiting.code].map(page::escape);
    let age = match answer::in_words(waiting.age) {
        Some(age) => format!("about {age} ago"),
        None => "less than a minute ago".to_owned(),
    };
    let far = if waiting.is_near {
        ""
    } else {
        "<p class=\"fault\" role=\"alert\">This is not the address that you come from. Unless you know why, refuse.</p>\n"
    };
    let main = format!(
        r#"<h1>Let this terminal in?</h1>
<p>It could use all apps that <b>{name}</b> may use, until your sign-in ends or you sign out.</p>
<dl>
<dt>Calls itself</dt><dd><b>{program}</b></dd>
<dt>Asked from</dt><dd><b>{client}</b>, {age}</dd>
<dt>Code</dt><dd><b>{code}</b></dd>
</dl>
{far}<p>Only go on if you have started this yourself, just now, and your terminal shows this code. Nobody who helps you needs it.</p>
<form method="post" action="/device/confirm">
<input type="hidden" name="token" value="{token}">
<input type="hidden" name="code" value="{code}">
<button name="answer" value="allow">Let it in</button>
<button name="answer" value="refuse">Refuse</button>
</form>
"#
    );
    respond(
        StatusCode::OK,
        nonce,
        "Let this terminal in?",
        &main,
        "'self'",
    )
}

/// Says what became of it.
pub(crate) fn decided(nonce: RequestId, is_in: bool) -> Response<Bytes> {
    let (title, words) = if is_in {
        (
            "The terminal is signed in",
            "You can close this page and go on in the terminal. Signing out of all apps ends it there, too.",
        )
    } else {
        (
            "The terminal was refused",
            "It is told so. If somebody had sent you the code, tell your administrator.",
        )
    };
    let main = format!("<h1>{title}</h1>\n<p>{words}</p>\n");
    respond(StatusCode::OK, nonce, title, &main, "")
}

fn respond(
    status: StatusCode,
    nonce: RequestId,
    title: &str,
    main: &str,
    form_action: &str,
) -> Response<Bytes> {
    let page = Page {
        title,
        nonce,
        main,
        script: "",
        form_action,
    };
    page.respond(status)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(response: Response<Bytes>) -> String {
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    #[test]
    fn what_a_terminal_says_of_itself_is_text_and_a_strange_address_is_pointed_out() {
        let waiting = Waiting {
            program: "<b>bank</b>",
            client: "192.0.2.1",
            is_near: true,
            age: Duration::from_secs(90),
            code: "BCDF-GHJK",
        };
        let shown = |waiting: &Waiting<'_>| {
            let nonce = RequestId::random();
            text(confirm(nonce, "token", "Alice <b>", waiting))
        };
        let near = shown(&waiting);
        for part in [
            "&lt;b&gt;bank&lt;/b&gt;",
            "Alice &lt;b&gt;",
            "192.0.2.1",
            "about 2 minutes ago",
            "BCDF-GHJK",
        ] {
            assert!(near.contains(part), "{part} is missing in {near}");
        }
        assert!(!near.contains("role=\"alert\""), "{near}");
        let far = shown(&Waiting {
            is_near: false,
            ..waiting
        });
        assert!(far.contains("not the address that you come from"), "{far}");
    }
}
