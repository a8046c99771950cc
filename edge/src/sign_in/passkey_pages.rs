//! What the sign-in host shows of passkeys. Browsers make and use them by JavaScript only.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Response, StatusCode};

use super::pages::{Hidden, fault_line};
use crate::{
    id::RequestId,
    page::{self, Page},
};

/// Offers a passkey where names are filled in, and by a button; sends what it signs. Also keeps what stood behind `#`, as
/// [`KEEP_FRAGMENT`](super::pages::KEEP_FRAGMENT) does.
///
/// A page that says that a passkey was refused offers it by the button only: a browser that shows it unasked would be refused for ever.
pub(crate) const USE_SCRIPT: &str = "\
for(const f of document.forms)if(f.fragment&&location.hash)f.fragment.value=location.hash;\
const f=document.getElementById('passkey');\
const bytes=s=>Uint8Array.from(atob(s.replace(/-/g,'+').replace(/_/g,'/')),c=>c.charCodeAt(0));\
const text=b=>btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\\+/g,'-').replace(/\\//g,'_').replace(/=+$/,'');\
if(f&&window.PublicKeyCredential){\
f.hidden=false;\
const ids=f.dataset.ids?f.dataset.ids.split(' '):[];\
const publicKey={challenge:bytes(f.dataset.challenge),rpId:location.hostname,userVerification:'required',\
allowCredentials:ids.map(i=>({type:'public-key',id:bytes(i)}))};\
const send=c=>{if(!c)return;const r=c.response;f.credential.value=text(c.rawId);f.client_data.value=text(r.clientDataJSON);\
f.authenticator_data.value=text(r.authenticatorData);f.signature.value=text(r.signature);f.submit()};\
let waiting=new AbortController();\
f.addEventListener('submit',e=>{e.preventDefault();waiting.abort();\
navigator.credentials.get({publicKey}).then(send).catch(()=>{document.getElementById('passkey-fault').hidden=false})});\
if(!ids.length&&location.pathname!=='/passkeys/use'&&PublicKeyCredential.isConditionalMediationAvailable)\
PublicKeyCredential.isConditionalMediationAvailable().then(y=>{if(y)return navigator.credentials.get(\
{publicKey,mediation:'conditional',signal:waiting.signal}).then(send)}).catch(()=>{})}";

/// Makes a passkey and sends what the browser says of it.
const ADD_SCRIPT: &str = "\
const f=document.getElementById('passkey');\
const bytes=s=>Uint8Array.from(atob(s.replace(/-/g,'+').replace(/_/g,'/')),c=>c.charCodeAt(0));\
const text=b=>btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\\+/g,'-').replace(/\\//g,'_').replace(/=+$/,'');\
const fault=()=>{document.getElementById('passkey-fault').hidden=false};\
if(!window.PublicKeyCredential)fault();\
f.addEventListener('submit',e=>{e.preventDefault();const d=f.dataset;\
navigator.credentials.create({publicKey:{challenge:bytes(d.challenge),rp:{id:location.hostname,name:d.issuer},\
user:{id:bytes(d.handle),name:d.user,displayName:d.name},\
pubKeyCredParams:[-7,-8,-257].map(alg=>({type:'public-key',alg})),\
excludeCredentials:(d.ids?d.ids.split(' '):[]).map(i=>({type:'public-key',id:bytes(i)})),\
authenticatorSelection:{residentKey:'required',requireResidentKey:true,userVerification:'required'},attestation:'none'}})\
.then(c=>{const r=c.response;f.credential.value=text(c.rawId);f.client_data.value=text(r.clientDataJSON);\
f.authenticator_data.value=text(r.getAuthenticatorData());f.public_key.value=text(r.getPublicKey());\
f.algorithm.value=r.getPublicKeyAlgorithm();f.submit()}).catch(fault)})";

/// What a passkey is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Sealed.
    pub challenge: &'a str,
    pub bytes: &'a [u8],
    /// Of the passkeys that will do; none: any.
    pub ids: &'a [Bytes],
    /// What was shown before, sealed; empty: nothing.
    pub halfway: &'a str,
}

fn ids(ids: &[Bytes]) -> String {
    let ids: Vec<_> = ids
        .iter()
        .map(|id| BASE64_URL_SAFE_NO_PAD.encode(id))
        .collect();
    ids.join(" ")
}

/// A form that shows itself where browsers have passkeys.
pub(crate) fn form(hidden: &Hidden<'_>, asked: &Asked<'_>) -> String {
    let fields = hidden.fields();
    let [challenge, halfway] = [asked.challenge, asked.halfway].map(page::escape);
    let bytes = BASE64_URL_SAFE_NO_PAD.encode(asked.bytes);
    let ids = ids(asked.ids);
    format!(
        r#"<form id="passkey" method="post" action="/passkeys/use" data-challenge="{bytes}" data-ids="{ids}" hidden>
{fields}<input type="hidden" name="challenge" value="{challenge}">
<input type="hidden" name="halfway" value="{halfway}">
<input type="hidden" name="credential">
<input type="hidden" name="client_data">
<input type="hidden" name="authenticator_data">
<input type="hidden" name="signature">
<button>Use a passkey</button>
<p id="passkey-fault" class="fault" role="alert" hidden>No passkey was used.</p>
</form>
"#
    )
}

/// Asks for a passkey besides a password, where there is nothing else.
pub(crate) fn ask(
    (status, nonce): (StatusCode, RequestId),
    hidden: &Hidden<'_>,
    asked: &Asked<'_>,
    fault: &str,
) -> Response<Bytes> {
    let (form, fault) = (form(hidden, asked), fault_line(fault));
    let main = format!(
        r#"<h1>Second factor</h1>
<p>Use one of your passkeys to go on.</p>
{fault}{form}<noscript><p class="fault">Passkeys need JavaScript, which this browser does not run.</p></noscript>
"#
    );
    let page = Page {
        title: "Second factor",
        nonce,
        main: &main,
        script: USE_SCRIPT,
        form_action: hidden.action(),
    };
    page.respond(status)
}

/// Whose passkey is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// The fabric's domain.
    pub issuer: &'a str,
    pub user: &'a str,
    pub display_name: &'a str,
    /// What authenticators know the user by.
    pub handle: &'a [u8],
}

/// Makes a passkey.
pub(crate) fn add(
    nonce: RequestId,
    token: &str,
    owner: &Owner<'_>,
    asked: &Asked<'_>,
) -> Response<Bytes> {
    let [token, challenge, halfway, issuer, user, name] = [
        token,
        asked.challenge,
        asked.halfway,
        owner.issuer,
        owner.user,
        owner.display_name,
    ]
    .map(page::escape);
    let bytes = BASE64_URL_SAFE_NO_PAD.encode(asked.bytes);
    let handle = BASE64_URL_SAFE_NO_PAD.encode(owner.handle);
    let ids = ids(asked.ids);
    let main = format!(
        r#"<h1>Add a passkey</h1>
<p>Give it a name by which you will know it, such as the device's. Then your browser asks where to keep it.</p>
<p id="passkey-fault" class="fault" role="alert" hidden>No passkey was made. Browsers need one that can be kept and that asks who you are; perhaps this device has one already.</p>
<form id="passkey" method="post" action="/passkeys/register" data-challenge="{bytes}" data-ids="{ids}" data-handle="{handle}" data-issuer="{issuer}" data-user="{user}" data-name="{name}">
<input type="hidden" name="token" value="{token}">
<input type="hidden" name="challenge" value="{challenge}">
<input type="hidden" name="halfway" value="{halfway}">
<input type="hidden" name="credential">
<input type="hidden" name="client_data">
<input type="hidden" name="authenticator_data">
<input type="hidden" name="public_key">
<input type="hidden" name="algorithm">
<label for="display_name">Name</label>
<input id="display_name" name="display_name" maxlength="64" autofocus>
<button>Make a passkey</button>
</form>
<noscript><p class="fault">Passkeys need JavaScript, which this browser does not run.</p></noscript>
<p class="aside"><a href="/">Back</a></p>
"#
    );
    let page = Page {
        title: "Add a passkey",
        nonce,
        main: &main,
        script: ADD_SCRIPT,
        form_action: "'self'",
    };
    page.respond(StatusCode::OK)
}
