//! What users see of sign-in at an app's own host.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    id::RequestId,
    page::{self, Page},
};

/// Puts a form where the browser keeps it for this tab, and goes on. Scripts of the app's pages may do away with it, and read nothing.
const KEEP: &str = "\
const e=document.forms[0].elements;\
try{sessionStorage.setItem('adit-form',e.mark.value+' '+e.path.value+' '+e.kept.value);location.replace(e.next.value)}\
catch{document.getElementById('fault').hidden=false}";

/// Sends it on its way.
const REPEAT: &str = "\
const f=document.forms[0],[mark,path,kept]=(sessionStorage.getItem('adit-form')||'').split(' ');\
if(kept&&path.startsWith('/')&&mark===new URLSearchParams(location.search).get('form')){\
sessionStorage.removeItem('adit-form');f.elements.kept.value=kept;\
f.action=location.origin+path+(path.includes('?')?'&':'?')+'adit-form='+mark;f.submit()}\
else document.getElementById('gone').hidden=false";

/// Goes on as if from a link of this page, with what stood behind `#`.
const ENTER: &str = "location.replace(document.links[0].href+location.hash)";

/// Does nothing where the user has opened the window.
const CLOSE: &str = "window.close()";

/// A form on its way to the browser's store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping<'a> {
    /// Tells it from others.
    pub mark: &'a str,
    /// Path and query that it was posted to.
    pub path: &'a str,
    /// The form, sealed.
    pub kept: &'a str,
    /// Where the user signs in.
    pub next: &'a str,
}

/// Has the browser keep a form, and leads on to the sign-in host.
pub(super) fn keep(keeping: &Keeping<'_>) -> Response<Bytes> {
    let Keeping {
        mark,
        path,
        kept,
        next,
    } = keeping;
    let (path, next) = (page::escape(path), page::escape(next));
    let main = format!(
        r#"<h1>Sign in to send the form</h1>
<form>
<input type="hidden" name="mark" value="{mark}">
<input type="hidden" name="path" value="{path}">
<input type="hidden" name="kept" value="{kept}">
<input type="hidden" name="next" value="{next}">
</form>
<p id="fault" hidden>This browser does not keep the form, and it was not sent. <a href="{next}">Sign in</a>, and fill it in again.</p>
<noscript><p>Without JavaScript the form cannot be kept, and it was not sent. <a href="{next}">Sign in</a>, and fill it in again.</p></noscript>
"#
    );
    show("Sign in to send the form", &main, KEEP, "")
}

/// Sends a form that the browser has kept.
pub(super) fn repeat() -> Response<Bytes> {
    const MAIN: &str = r#"<h1>Sending the form</h1>
<form method="post">
<input type="hidden" name="kept">
</form>
<p id="gone" hidden>The form was sent before, or is not here any more. <a href="/">Go to the app</a></p>
<noscript><p>Without JavaScript the form cannot be sent. <a href="/">Go to the app</a></p></noscript>
"#;
    // Of the app, and wherever the app leads on.
    show("Sending the form", MAIN, REPEAT, "'self' https: http:")
}

/// Leads on to `url`, at this host, from here: browsers keep a strict cookie back from what another site has begun.
pub(super) fn enter(url: &str) -> Response<Bytes> {
    let url = page::escape(url);
    let main = format!("<h1>You are signed in</h1>\n<p><a href=\"{url}\">Go on</a></p>\n");
    show("You are signed in", &main, ENTER, "")
}

/// In a window that a script of the app has opened for the sign-in alone.
pub(super) fn renewed() -> Response<Bytes> {
    const MAIN: &str = "<h1>You are signed in</h1>\n<p>You can close this window. <a href=\"/\">Go to the app</a></p>\n";
    show("You are signed in", MAIN, CLOSE, "")
}

/// In a frame, where nobody can sign in: the way to `url` for the whole window.
pub(super) fn embedded(url: &str) -> Response<Bytes> {
    let url = page::escape(url);
    let main = format!(
        "<h1>You are not signed in</h1>\n<p><a href=\"{url}\" target=\"_top\">Sign in</a></p>\n"
    );
    let mut response = show("You are not signed in", &main, "", "");
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    // It does nothing but lead to the app, which others' pages could do by themselves.
    let fields = response.headers_mut();
    fields.remove(header::X_FRAME_OPTIONS);
    let policy = fields.get(header::CONTENT_SECURITY_POLICY);
    let policy = policy.and_then(|policy| policy.to_str().ok());
    let open = policy.map(|policy| policy.replace("frame-ancestors 'none'", "frame-ancestors *"));
    if let Some(Ok(open)) = open.map(HeaderValue::try_from) {
        fields.insert(header::CONTENT_SECURITY_POLICY, open);
    }
    response
}

fn show(title: &str, main: &str, script: &'static str, form_action: &str) -> Response<Bytes> {
    let page = Page {
        title,
        nonce: RequestId::random(),
        main,
        script,
        form_action,
    };
    page.respond(StatusCode::OK)
}
