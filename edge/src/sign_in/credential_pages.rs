//! The page where users enter what they sign in to an app with. It is sealed by its script, and by nothing else.

use bytes::Bytes;
use http::{Response, StatusCode};
use model::{
    identity_provider::LOCAL,
    vault::{BLOCK_BYTES, PASSWORD_BYTES_MAX, USER_NAME_BYTES_MAX},
};

use super::pages::fault_line;
use crate::{
    id::RequestId,
    page::{self, Page},
};

/// HPKE in its base mode (RFC 9180, sections 4.1, 5.1 and 6.1), with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-128-GCM; then the
/// form's own use of it, as `runtime::vault` opens it. The fields that are typed in have no names, so that nothing of them is sent.
const SEAL: &str = "\
const S=crypto.subtle,E=new TextEncoder(),say=t=>E.encode(t);\
const cat=(...a)=>{const o=new Uint8Array(a.reduce((n,b)=>n+b.length,0));let i=0;for(const b of a){o.set(b,i);i+=b.length}return o};\
const bytes=s=>Uint8Array.from(atob(s.replace(/-/g,'+').replace(/_/g,'/')),c=>c.charCodeAt(0));\
const text=b=>btoa(String.fromCharCode(...b)).replace(/\\+/g,'-').replace(/\\//g,'_').replace(/=+$/,'');\
const hmac=async(k,d)=>new Uint8Array(await S.sign('HMAC',await S.importKey('raw',k.length?k:new Uint8Array(32),\
{name:'HMAC',hash:'SHA-256'},false,['sign']),d));\
const KEM=cat(say('KEM'),[0,16]),ALL=cat(say('HPKE'),[0,16,0,1,0,1]);\
const extract=(suite,salt,label,key)=>hmac(salt,cat(say('HPKE-v1'),suite,say(label),key));\
const expand=async(suite,key,label,info,n)=>(await hmac(key,cat([0,n],say('HPKE-v1'),suite,say(label),info,[1]))).slice(0,n);\
const seal=async(point,info,aad,plain)=>{\
const curve={name:'ECDH',namedCurve:'P-256'},own=await S.generateKey(curve,true,['deriveBits']);\
const enc=new Uint8Array(await S.exportKey('raw',own.publicKey)),other=await S.importKey('raw',point,curve,false,[]);\
const dh=new Uint8Array(await S.deriveBits({name:'ECDH',public:other},own.privateKey,256));\
const shared=await expand(KEM,await extract(KEM,[],'eae_prk',dh),'shared_secret',cat(enc,point),32);\
const context=cat([0],await extract(ALL,[],'psk_id_hash',[]),await extract(ALL,[],'info_hash',info));\
const secret=await extract(ALL,shared,'secret',[]);\
const key=await S.importKey('raw',await expand(ALL,secret,'key',context,16),'AES-GCM',false,['encrypt']);\
const iv=await expand(ALL,secret,'base_nonce',context,12);\
return cat(enc,new Uint8Array(await S.encrypt({name:'AES-GCM',iv,additionalData:aad,tagLength:128},key,plain)))};\
const f=document.getElementById('seal');\
if(f){const u=document.getElementById('user'),p=document.getElementById('password'),w=document.getElementById('seal-fault');\
const d=f.dataset,fault=t=>{w.textContent=t;w.hidden=false};f.hidden=false;\
f.addEventListener('submit',async e=>{e.preventDefault();w.hidden=true;const a=say(u.value),b=say(p.value);\
if(a.length>+d.user||b.length>+d.password)return fault('The name or the password is too long.');\
const all=4+a.length+b.length,plain=new Uint8Array(Math.ceil(all/+d.block)*+d.block);\
plain.set(cat([a.length>>8,a.length&255],a,[b.length>>8,b.length&255],b));\
try{f.sealed.value=text(await seal(bytes(d.point),say(d.info),say(d.aad),plain));p.value='';f.submit()}\
catch(x){fault('Your browser cannot seal it, so nothing was sent.')}})}";

/// What the page says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub token: &'a str,
    /// Id of the app, and what people call it.
    pub app: &'a str,
    pub name: &'a str,
    pub user: &'a str,
    /// Empty: the fabric itself.
    pub provider: &'a str,
    /// Id, and the key itself; none: nothing can be entered.
    pub key: Option<&'a (String, String)>,
    /// Since when one is kept, in words.
    pub kept: Option<&'a str>,
    /// The portal's host.
    pub portal: Option<&'a str>,
}

impl Shown<'_> {
    /// What is sealed is bound to this (`model::vault::CredentialName::binding`).
    fn binding(&self, key: &str) -> String {
        let provider = match self.provider {
            "" => LOCAL,
            provider => provider,
        };
        format!("credentials/{}/{provider}/{}\n{key}", self.app, self.user)
    }

    fn form(&self) -> String {
        let Some((key, point)) = self.key else {
            return String::new();
        };
        let [token, app, user, aad] =
            [self.token, self.app, self.user, &self.binding(key)].map(page::escape);
        let info = page::escape(std::str::from_utf8(model::vault::INFO).unwrap_or_default());
        format!(
            r#"<form id="seal" method="post" action="/app-sign-in" data-point="{point}" data-info="{info}" data-aad="{aad}" data-block="{BLOCK_BYTES}" data-user="{USER_NAME_BYTES_MAX}" data-password="{PASSWORD_BYTES_MAX}" hidden>
<input type="hidden" name="token" value="{token}">
<input type="hidden" name="app" value="{app}">
<input type="hidden" name="key" value="{key}">
<input type="hidden" name="sealed">
<label for="user">User name at the app</label>
<input id="user" value="{user}" autocomplete="off" autocapitalize="none" spellcheck="false" required>
<label for="password">Password at the app</label>
<input id="password" type="password" autocomplete="off" required>
<button>Keep</button>
<p id="seal-fault" class="fault" role="alert" hidden></p>
</form>
<noscript><p class="fault">This needs JavaScript, which this browser does not run: what you type is sealed before it leaves your browser.</p></noscript>
"#
        )
    }

    fn removal(&self) -> String {
        if self.kept.is_none() {
            return String::new();
        }
        let [token, app] = [self.token, self.app].map(page::escape);
        format!(
            r#"<form method="post" action="/app-sign-in/remove">
<input type="hidden" name="token" value="{token}">
<input type="hidden" name="app" value="{app}">
<button class="other">Remove</button>
</form>
"#
        )
    }
}

/// The page of one app.
pub(crate) fn app_sign_in(
    (status, nonce): (StatusCode, RequestId),
    shown: &Shown<'_>,
    (said, fault): (&str, &str),
) -> Response<Bytes> {
    let name = page::escape(shown.name);
    let kept = match shown.kept {
        Some(since) => format!("Your sign-in was {}.", page::escape(since)),
        None => "Nothing is kept yet.".to_owned(),
    };
    let said = match said {
        "" => String::new(),
        said => format!("<p role=\"status\">{}</p>\n", page::escape(said)),
    };
    let portal = shown.portal.map_or_else(String::new, |_| {
        "<p class=\"aside\"><a href=\"/.adit/portal\">Your apps</a></p>\n".to_owned()
    });
    let (fault, form, removal) = (fault_line(fault), shown.form(), shown.removal());
    let main = format!(
        r#"<h1>Your sign-in for <span dir="auto">{name}</span></h1>
<p>The app has a sign-in of its own. Enter what you use there, and it is done for you from then on. What you enter is sealed in this browser, and can be read only where the app is.</p>
{said}<p>{kept}</p>
{fault}{form}{removal}{portal}"#
    );
    let page = Page {
        title: "Your sign-in",
        nonce,
        main: &main,
        script: SEAL,
        form_action: "'self'",
    };
    page.respond(status)
}

#[cfg(test)]
mod tests {
    use model::vault::CredentialName;

    use super::*;

    fn shown(key: Option<&(String, String)>) -> Shown<'_> {
        Shown {
            token: "t",
            app: "wiki",
            name: "<Wiki>",
            user: "alice",
            provider: "",
            key,
            kept: None,
            portal: None,
        }
    }

    fn html(shown: &Shown<'_>) -> String {
        let page = app_sign_in((StatusCode::OK, RequestId::random()), shown, ("", ""));
        String::from_utf8(page.into_body().to_vec()).unwrap()
    }

    #[test]
    fn what_is_typed_has_no_name_and_so_is_not_sent() {
        let key = ("k1".to_owned(), "BAAA".to_owned());
        let page = html(&shown(Some(&key)));
        for id in ["user", "password"] {
            let (_, rest) = page.split_once(&format!("<input id=\"{id}\"")).unwrap();
            let (tag, _) = rest.split_once('>').unwrap();
            assert!(!tag.contains("name="), "{tag}");
        }
        assert!(page.contains("&lt;Wiki&gt;") && !page.contains("<Wiki>"));
        assert!(page.contains("<noscript>") && !page.contains("/remove"));
        assert!(!html(&shown(None)).contains("id=\"password\""));
    }

    #[test]
    fn what_is_sealed_is_bound_as_agents_open_it() {
        for (provider, name) in [
            ("", "credentials/wiki/local/alice"),
            ("entra", "credentials/wiki/entra/alice"),
        ] {
            let shown = Shown {
                provider,
                ..shown(None)
            };
            let name: CredentialName = name.parse().unwrap();
            let binding = name.binding(&"k1".parse().unwrap());
            assert_eq!(shown.binding("k1").as_bytes(), binding);
        }
    }
}
