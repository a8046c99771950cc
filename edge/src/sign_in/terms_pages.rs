//! What the sign-in host shows of terms of use. All of it works without JavaScript.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::pages::{Hidden, KEEP_FRAGMENT, fault_line};
use crate::{
    id::RequestId,
    page::{self, Page},
};

/// A text that a user is asked to accept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub id: &'a str,
    pub version: &'a str,
    pub title: &'a str,
    pub text: &'a str,
    /// What the user is called.
    pub name: &'a str,
}

/// Shows a text, and asks to accept it.
pub(crate) fn ask(
    nonce: RequestId,
    hidden: &Hidden<'_>,
    shown: &Shown<'_>,
    fault: &str,
) -> Response<Bytes> {
    let (fault, fields, text) = (fault_line(fault), hidden.fields(), html(shown.text));
    let [id, version, title, name] =
        [shown.id, shown.version, shown.title, shown.name].map(page::escape);
    let goal = match hidden.authority {
        "" => String::new(),
        authority => format!(" to go on to <b>{}</b>", page::escape(authority)),
    };
    let main = format!(
        r#"<h1>{title}</h1>
<p>Please read this, <b>{name}</b>, and accept it{goal}.</p>
{fault}<div class="terms">
{text}</div>
<form method="post" action="/terms">
{fields}<input type="hidden" name="terms" value="{id}">
<input type="hidden" name="version" value="{version}">
<div class="answers">
<button name="answer" value="accept">I accept</button>
<button class="other" name="answer" value="decline">Decline</button>
</div>
</form>
"#
    );
    let page = Page {
        title: shown.title,
        nonce,
        main: &main,
        script: KEEP_FRAGMENT,
        form_action: hidden.action(),
    };
    page.respond(StatusCode::OK)
}

/// After the user has declined. `to` is the errand, which has nothing that would have to be escaped.
pub(crate) fn declined(nonce: RequestId, to: &str) -> Response<Bytes> {
    let words =
        "You can use the app only once you have accepted its terms. Nothing was written down.";
    message((StatusCode::OK, nonce), "Not accepted", to, words)
}

/// Where the text cannot be shown, or it cannot be written that it is accepted.
pub(crate) fn unavailable(nonce: RequestId, to: &str, words: &str) -> Response<Bytes> {
    let about = (StatusCode::SERVICE_UNAVAILABLE, nonce);
    message(about, "Terms of use", to, words)
}

fn message(
    (status, nonce): (StatusCode, RequestId),
    title: &str,
    to: &str,
    words: &str,
) -> Response<Bytes> {
    let (to, words) = (page::escape(to), page::escape(words));
    let main = format!(
        r#"<h1>{title}</h1>
<p>{words}</p>
<p class="aside"><a href="/sign-in?to={to}">Read the terms again</a></p>
<p class="aside"><a href="/sign-out">Sign out</a></p>
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

/// What a text is made of, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    List,
}

/// A text with the few marks that people write without thinking of them: `#` for headings, `-` for items, an empty line between paragraphs.
/// Everything else is text.
fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 4);
    let mut open = Block::None;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            close(&mut open, &mut html);
        } else if let Some((heading, tag)) = heading(line) {
            close(&mut open, &mut html);
            html += &format!("<{tag}>{}</{tag}>\n", page::escape(heading));
        } else if let Some(item) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
            if open != Block::List {
                close(&mut open, &mut html);
                html += "<ul>\n<li>";
            } else {
                html += "</li>\n<li>";
            }
            html += &page::escape(item);
            open = Block::List;
        } else {
            match open {
                Block::None => html += "<p>",
                Block::Paragraph | Block::List => html.push('\n'),
            }
            html += &page::escape(line);
            open = match open {
                Block::List => Block::List,
                Block::None | Block::Paragraph => Block::Paragraph,
            };
        }
    }
    close(&mut open, &mut html);
    html
}

fn heading(line: &str) -> Option<(&str, &'static str)> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    let text = rest.strip_prefix(' ')?;
    match level {
        0 => None,
        1 | 2 => Some((text, "h2")),
        _ => Some((text, "h3")),
    }
}

fn close(open: &mut Block, html: &mut String) {
    *html += match open {
        Block::None => "",
        Block::Paragraph => "</p>\n",
        Block::List => "</li>\n</ul>\n",
    };
    *open = Block::None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_with_its_headings_and_lists_and_everything_else_as_text() {
        for (text, want) in [
            ("", ""),
            ("Be kind.", "<p>Be kind.</p>\n"),
            ("a\r\nb\r\n\r\nc", "<p>a\nb</p>\n<p>c</p>\n"),
            (
                "# Use\n#hash\n### More",
                "<h2>Use</h2>\n<p>#hash</p>\n<h3>More</h3>\n",
            ),
            (
                "Do:\n- a\n  more\n- b\n\nc",
                "<p>Do:</p>\n<ul>\n<li>a\nmore</li>\n<li>b</li>\n</ul>\n<p>c</p>\n",
            ),
            (
                "<script>alert(1)</script>\n# <b>\n- &\"'",
                "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n<h2>&lt;b&gt;</h2>\n<ul>\n<li>&amp;&quot;&#39;</li>\n</ul>\n",
            ),
        ] {
            assert_eq!(html(text), want, "{text:?}");
        }
    }

    #[test]
    fn what_operators_and_users_call_things_is_text() {
        let hidden = Hidden {
            token: "t",
            to: "e",
            fragment: "#\"x",
            authority: "wiki.example.com",
        };
        let shown = Shown {
            id: "aup",
            version: "00",
            title: "Use <of> it",
            text: "Be kind.",
            name: "Alice <b>",
        };
        let page = ask(RequestId::random(), &hidden, &shown, "<i>");
        let framing = &page.headers()["x-frame-options"];
        assert_eq!(framing, "DENY");
        let page = String::from_utf8(page.into_body().to_vec()).unwrap();
        for part in [
            "<h1>Use &lt;of&gt; it</h1>",
            "Alice &lt;b&gt;",
            "value=\"#&quot;x\"",
            "&lt;i&gt;",
            "<b>wiki.example.com</b>",
            "name=\"version\" value=\"00\"",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }
}
