//! Pages of the edge's own: one look, and a policy that lets them load nothing but the operator's pictures.
//!
//! Whoever answers writes what a page says; whose fabric it is ([`Look`]) is put around it at the end of the request, in one place, so no
//! page can forget it.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{brand::Look, download::Body, id::RequestId, view::Views};

/// One page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// Shown by the browser; plain text.
    pub title: &'a str,
    /// Used once: allows the page's style, and its script.
    pub nonce: RequestId,
    /// HTML of the page's only part.
    pub main: &'a str,
    /// A script; empty: none.
    pub script: &'static str,
    /// Where forms may lead, as in a policy; browsers also ask for wherever an answer leads on. Empty: there are none.
    pub form_action: &'a str,
}

/// What a page says, until it is known whose it is.
#[derive(Clone, Debug)]
struct Draft {
    title: String,
    nonce: RequestId,
    main: String,
    script: &'static str,
    /// HTML at the end of the bar on top of a wide page; `None`: a narrow one, with a single card.
    bar: Option<String>,
}

impl Page<'_> {
    /// An answer with nothing but this page, on a card.
    pub(crate) fn respond(&self, status: StatusCode) -> Response<Bytes> {
        self.answer(status, None)
    }

    /// The same, as wide as the window; `bar` is HTML that goes on top.
    pub(crate) fn respond_wide(&self, status: StatusCode, bar: &str) -> Response<Bytes> {
        self.answer(status, Some(bar.to_owned()))
    }

    fn answer(&self, status: StatusCode, bar: Option<String>) -> Response<Bytes> {
        let draft = Draft {
            title: self.title.to_owned(),
            nonce: self.nonce,
            main: self.main.to_owned(),
            script: self.script,
            bar,
        };
        let mut response = Response::new(Bytes::from(draft.html(&Look::default())));
        *response.status_mut() = status;
        response.extensions_mut().insert(draft);
        let fields = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // For browsers that do not know frame-ancestors.
            (header::X_FRAME_OPTIONS, "DENY"),
            // Other sites learn nothing; "no-referrer" would take the origin from our own forms too (Fetch, "append a request Origin
            // header").
            (header::REFERRER_POLICY, "same-origin"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(policy) = HeaderValue::from_str(&self.policy()) {
            fields.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    fn policy(&self) -> String {
        let Self { nonce, .. } = self;
        let script = match self.script {
            "" => String::new(),
            _ => format!("script-src 'nonce-{nonce}'; "),
        };
        let form_action = match self.form_action {
            "" => "'none'",
            action => action,
        };
        format!(
            "default-src 'none'; {script}style-src 'nonce-{nonce}'; img-src 'self'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
        )
    }
}

/// Puts the look of the fabric around a page; all other answers stay as they are.
pub(crate) fn dress(mut response: Response<Body>, views: &Views) -> Response<Body> {
    let Some(draft) = response.extensions_mut().remove::<Draft>() else {
        return response;
    };
    let Some(view) = views.current() else {
        return response;
    };
    // HEAD gets none.
    if view.look().is_plain() || response.body().bytes_at_hand() == 0 {
        return response;
    }
    let html = Bytes::from(draft.html(view.look()));
    response.map(|_| Body::whole(html))
}

impl Draft {
    fn html(&self, look: &Look) -> String {
        let Self { nonce, main, .. } = self;
        let title = look.title(&self.title);
        let script = match self.script {
            "" => String::new(),
            script => format!("<script nonce=\"{nonce}\">{script}</script>\n"),
        };
        let (class, bar) = match &self.bar {
            Some(bar) => (" class=\"wide\"", bar.as_str()),
            None => ("", ""),
        };
        let Look {
            style, head, foot, ..
        } = look;
        let top = match (head.as_str(), bar) {
            ("", "") => String::new(),
            (head, bar) => format!("<header>\n{head}{bar}</header>\n"),
        };
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style nonce="{nonce}">{STYLE}{style}</style>
</head>
<body{class}>
{top}<main>
{main}</main>
{foot}{script}</body>
</html>
"#
        )
    }
}

/// Plain text as HTML has it, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            plain => safe.push(plain),
        }
    }
    safe
}

/// Colours that are not the operator's, by name. [`PAPERS`] are those that writing is on.
///
/// Nothing moves, so there is nothing to hold for those who prefer it so.
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#1a1d21;--soft:#565d66;--line:#d5d9df;--edge:#7b838e;\
--accent:#1d4ed8;--accent-ink:#fff;--link:#1d4ed8;--bad:#b91c1c;--bad-paper:#fdecec}\
@media(prefers-color-scheme:dark){:root{--paper:#111418;--card:#1b1f25;--ink:#e8eaed;--soft:#a4acb6;--line:#363c45;--edge:#7f8894;\
--link:#8ab4ff;--bad:#ff9c94;--bad-paper:#3a1d1d}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;align-items:center;justify-content:center;\
padding:1rem;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\
main{width:100%;max-width:30rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}\
header{width:100%;max-width:30rem;margin:0 0 1rem;display:flex;align-items:center;gap:.75rem;font-weight:600}\
header img{display:block;max-height:2.5rem;max-width:12rem}\
footer{width:100%;max-width:30rem;margin:1rem 0 0;color:var(--soft);font-size:.875rem}footer p{margin:.25rem 0}\
footer a{margin-right:1rem}\
.status{margin:0;color:var(--soft);font-size:.875rem;letter-spacing:.1em}\
h1{margin:.25rem 0 1rem;font-size:1.5rem;line-height:1.25}p{margin:.75rem 0}\
.words{white-space:pre-line}\
dl{display:grid;grid-template-columns:auto 1fr;align-items:baseline;gap:.25rem 1rem;margin:1.5rem 0 0;padding-top:1rem;\
border-top:1px solid var(--line);font-size:.875rem}\
dt{color:var(--soft)}dd{margin:0}code{font:.8rem ui-monospace,monospace}\
label{display:block;margin:1rem 0 .25rem}\
input{width:100%;padding:.6rem .7rem;font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--edge);\
border-radius:.4rem}\
button{margin:1.5rem 0 0;padding:.6rem 1.4rem;font:inherit;font-weight:600;color:var(--accent-ink);background:var(--accent);\
border:1px solid transparent;border-radius:.4rem;cursor:pointer;white-space:nowrap}button:hover{text-decoration:underline}\
::placeholder{color:var(--soft);opacity:1}:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
.answers{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.5rem 0 0}.answers button{margin:0}\
.other{color:var(--link);background:none;border-color:var(--edge)}\
.terms{margin:1.5rem 0 0;padding:1rem 0;border:solid var(--line);border-width:1px 0}.terms>:first-child{margin-top:0}\
.terms>:last-child{margin-bottom:0}.terms ul{margin:.75rem 0;padding-left:1.25rem}h3{margin:1.25rem 0 .5rem;font-size:1rem}\
.fault{padding:.6rem .8rem;border-left:4px solid var(--bad);background:var(--bad-paper)}\
.aside{margin:1.5rem 0 0;font-size:.875rem}a{color:var(--link)}\
@media(max-width:30rem){main{padding:1.25rem}}\
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}\
.wide{justify-content:flex-start}.wide>header,.wide>main,.wide>footer{max-width:72rem}\
.wide>main{padding:0;background:none;border:0}\
.who{display:flex;flex-wrap:wrap;justify-content:flex-end;gap:.25rem 1rem;margin-left:auto;font-weight:400;font-size:.875rem}\
.find{display:flex;gap:.5rem;max-width:30rem}.find button{margin:0;flex:none}\
h2{margin:1.75rem 0 .75rem;font-size:1rem}\
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(16rem,100%),1fr));gap:.75rem;margin:1rem 0 0;padding:0;list-style:none}\
.tiles a{display:flex;align-items:center;gap:.75rem;height:100%;padding:.9rem;color:inherit;text-decoration:none;background:var(--card);\
border:1px solid var(--line);border-radius:.75rem}.tiles a:hover{border-color:var(--edge)}.tiles a:hover b{text-decoration:underline}\
.tiles li:has(.own) a{height:auto}.tiles .own{display:inline-block;padding:.4rem .9rem;background:none;border:0;color:var(--link);\
font-size:.875rem;text-decoration:underline}\
.icon{flex:none;width:2.5rem;height:2.5rem;border-radius:.5rem;object-fit:contain}\
.letter{display:grid;place-items:center;color:#fff;font-size:1.25rem;font-weight:600;line-height:1}\
.text{min-width:0}.text b{display:block;line-height:1.3}\
.text small{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden;color:var(--soft);font-size:.875rem;\
line-height:1.4}\
.hue0{background:#9f1239}.hue1{background:#9a3412}.hue2{background:#854d0e}.hue3{background:#3f6212}.hue4{background:#166534}\
.hue5{background:#115e59}.hue6{background:#155e75}.hue7{background:#1e40af}.hue8{background:#3730a3}.hue9{background:#6b21a8}\
.hue10{background:#86198f}.hue11{background:#374151}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_allows_its_own_style_and_script_and_no_more() {
        let nonce = RequestId::random();
        let plain = Page {
            title: "a <title>",
            nonce,
            main: "<p>x</p>\n",
            script: "",
            form_action: "",
        };
        let said = |page: &Page<'_>| {
            let response = page.respond(StatusCode::OK);
            let policy = &response.headers()[header::CONTENT_SECURITY_POLICY];
            let policy = policy.to_str().unwrap().to_owned();
            (
                policy,
                String::from_utf8(response.into_body().to_vec()).unwrap(),
            )
        };
        let (policy, html) = said(&plain);
        assert!(policy.starts_with("default-src 'none'; style-src"));
        assert!(policy.contains("form-action 'none'; frame-ancestors 'none'"));
        assert!(html.contains("<title>a &lt;title&gt;</title>"));
        assert!(!html.contains("<script"));
        let (policy, html) = said(&Page {
            script: "go()",
            form_action: "'self' https:",
            ..plain
        });
        assert!(policy.contains(&format!("script-src 'nonce-{nonce}'; ")));
        assert!(policy.contains("form-action 'self' https:;"));
        assert!(html.contains(&format!("<script nonce=\"{nonce}\">go()</script>")));
    }
}
