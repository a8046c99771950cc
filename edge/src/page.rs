//! Pages of the edge's own: one look, and a policy that lets them load nothing.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::id::RequestId;

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

impl Page<'_> {
    /// An answer with nothing but this page.
    pub(crate) fn respond(&self, status: StatusCode) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.html()));
        *response.status_mut() = status;
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
            "default-src 'none'; {script}style-src 'nonce-{nonce}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
        )
    }

    fn html(&self) -> String {
        let Self { nonce, main, .. } = self;
        let title = escape(self.title);
        let script = match self.script {
            "" => String::new(),
            script => format!("<script nonce=\"{nonce}\">{script}</script>\n"),
        };
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style nonce="{nonce}">{STYLE}</style>
</head>
<body>
<main>
{main}</main>
{script}</body>
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

/// System colours follow light and dark mode by themselves.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:Canvas;color:CanvasText;\
font:1rem/1.5 system-ui,sans-serif}\
main{width:100%;max-width:34rem;padding:2rem 1.25rem;box-sizing:border-box}\
.status{margin:0;font-size:.9rem;letter-spacing:.1em;opacity:.7}\
h1{margin:.25rem 0 1rem;font-size:1.5rem;line-height:1.25}\
.words{white-space:pre-line;overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:auto 1fr;align-items:baseline;gap:.25rem 1rem;margin:1.5rem 0 0;padding-top:1rem;\
border-top:1px solid GrayText;font-size:.9rem}\
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}code{font:.78rem ui-monospace,monospace}\
form{max-width:22rem}label{display:block;margin:1rem 0 .25rem}\
input{width:100%;box-sizing:border-box;padding:.6rem .7rem;font:inherit;color:FieldText;background:Field;\
border:1px solid GrayText;border-radius:.4rem}\
button{margin:1.5rem 0 0;padding:.6rem 1.4rem;font:inherit;font-weight:600;color:#fff;background:#1d4ed8;border:0;border-radius:.4rem;\
cursor:pointer}button:hover{background:#1e40af}\
:focus-visible{outline:2px solid #3b82f6;outline-offset:2px}\
.fault{padding:.6rem .8rem;border-left:4px solid #dc2626;background:color-mix(in srgb,#dc2626 12%,Canvas)}\
.aside{margin-top:1.5rem;font-size:.9rem;opacity:.85}a{color:LinkText}";

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
