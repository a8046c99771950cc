//! A sign-in by a form from its page to its end, whoever takes the steps: a request that needs it, or an operator who tries it out.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{self, InvalidHeaderValue},
    uri::{InvalidUri, PathAndQuery},
};
use model::{
    app::{FormSso, HostSent},
    translate::Public,
};
use runtime::vault::Credential;
use tokio::time::timeout;

use super::{
    Attempt, SignIn,
    jar::Place,
    steps::{Judged, Next, Step, judge, leads_to},
};
use crate::{look::Answer, translate::Translation, view::App};

/// How long the page to which the form leads may take, before the user is taken to be in.
const LANDING_MAX: Duration = Duration::from_secs(5);

/// What the user's own request says that apps may bind a sign-in to, or read their own address from.
const PASSED_ON: [HeaderName; 8] = [
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
];

/// The way to an app.
pub(crate) trait Walker {
    type Error;

    /// Takes one step to the app's main part, and keeps the cookies that come of it in the `begun`th sign-in.
    async fn step(&self, begun: u64, step: &Step) -> Result<Answer, Self::Error>;
}

/// Where users sign in, as one user comes there: the form is the main part's, whatever they ask for.
#[derive(Debug)]
pub(crate) struct Address<'a> {
    pub(crate) app: &'a App,
    pub(crate) sso: &'a FormSso,
    pub(crate) public: &'a Public,
    /// Host and port as the user wrote them.
    pub(crate) authority: Bytes,
    /// The host is one of the app's main part.
    pub(crate) is_main_host: bool,
    /// What the user's own request says.
    pub(crate) said: &'a HeaderMap,
    pub(crate) now: SystemTime,
}

/// What no request can be made of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadStep {
    #[error("the page or the form has no good path")]
    Path(#[from] InvalidUri),
    #[error("the app is asked for a host that is none")]
    Host(#[from] InvalidHeaderValue),
}

/// Walks from the page with the form to the answer that it gets, and one step on, if nobody has said what success is.
pub(crate) async fn walk<W: Walker>(
    walker: &W,
    (address, sign_in): (&Address<'_>, &SignIn),
    credential: &Credential,
    attempt: &mut Attempt<'_>,
) -> Result<Judged, W::Error> {
    let sso = address.sso;
    let begun = sign_in.begin();
    let page = walker.step(begun, &Step::page(sso)).await?;
    let step = match Step::form(sso, &page, credential) {
        Next::Send(step) => step,
        Next::Stuck(why) => return Ok(Judged::Failed(why)),
    };
    attempt.is_sent();
    let answer = walker.step(begun, &step).await?;
    let judged = judge(sso, &step.path, &answer);
    let landing = Step::landing(sso, &step.path, &answer, |host| address.is_own(host));
    let Some(landing) = landing.filter(|_| judged == Judged::In) else {
        return Ok(judged);
    };
    // A page that leads back to the form: so say apps that the password was wrong. What else may be wrong with it is for the user to see.
    let looked = timeout(LANDING_MAX, walker.step(begun, &landing)).await;
    match looked {
        Ok(Ok(page)) if leads_to(sso, &landing.path, page.status, &page.fields) => {
            Ok(Judged::Refused)
        }
        Ok(Ok(_) | Err(_)) | Err(_) => Ok(judged),
    }
}

impl Address<'_> {
    /// Whether the app's main part is called so, by its users or inside.
    fn is_own(&self, authority: &str) -> bool {
        let is = |name: &[u8]| name.eq_ignore_ascii_case(authority.as_bytes());
        let mut origins = self.app.main().origins().iter();
        let named = match &self.app.translation().host {
            HostSent::Named(name) => is(name.as_bytes()),
            HostSent::Inner | HostSent::Public => false,
        };
        named || is(&self.authority) || origins.any(|origin| is(origin.authority()))
    }

    /// A step as cookies see it: by the path that users see, or would.
    fn place<'p>(&'p self, public_path: &'p str, inner_path: &'p str) -> Place<'p> {
        Place {
            segment: "",
            host: self.public.host(),
            is_main_host: self.is_main_host,
            path: public_path,
            inner_path: Some(inner_path),
            secure: self.public.is_secure(),
            now: self.now,
        }
    }

    /// What an origin is asked, over HTTP/1.1 and without the form itself.
    ///
    /// # Errors
    /// [`BadStep`]
    pub(crate) fn request(
        &self,
        step: &Step,
        translation: &Translation<'_>,
        sign_in: &SignIn,
    ) -> Result<Request<()>, BadStep> {
        let host = translation.host().unwrap_or(&self.authority);
        let mut fields = HeaderMap::new();
        for name in PASSED_ON {
            for value in self.said.get_all(&name) {
                fields.append(name.clone(), value.clone());
            }
        }
        fields.insert(header::ACCEPT, HeaderValue::from_static("text/html,*/*"));
        let identity = HeaderValue::from_static("identity");
        fields.insert(header::ACCEPT_ENCODING, identity);
        let mut request = Request::new(());
        if let Some(form) = &step.form {
            *request.method_mut() = Method::POST;
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            fields.insert(header::CONTENT_TYPE, kind);
            fields.insert(header::CONTENT_LENGTH, form.len().into());
            // Frameworks look whether a form comes from their own page.
            let scheme = self.public.scheme().as_str();
            let mut from = format!("{scheme}://").into_bytes();
            from.extend_from_slice(host);
            from.extend_from_slice(self.sso.page.as_bytes());
            if let Ok(from) = HeaderValue::from_bytes(&from) {
                fields.insert(header::REFERER, from);
            }
        }
        fields.insert(header::HOST, HeaderValue::from_bytes(host)?);
        let path = step.bare_path();
        let public_path = translation.public_path(path);
        let cookies = sign_in.cookies(self.place(&public_path, path), b"");
        put_cookies(&mut fields, cookies.as_ref().map(|text| text.as_slice()));
        *request.uri_mut() = PathAndQuery::try_from(step.path.as_str())?.into();
        *request.headers_mut() = fields;
        Ok(request)
    }

    /// Keeps what the answer to a step sets.
    pub(crate) fn take_in(
        &self,
        step: &Step,
        translation: &Translation<'_>,
        (sign_in, begun): (&SignIn, u64),
        fields: &HeaderMap,
    ) {
        let path = step.bare_path();
        let public_path = translation.public_path(path);
        let set = fields.get_all(header::SET_COOKIE).iter();
        let place = self.place(&public_path, path);
        sign_in.take_in_public(place, begun, (set, Some(translation)));
    }
}

impl SignIn {
    /// Keeps cookies as the user's browser would have got them.
    pub(crate) fn take_in_public<'v>(
        &self,
        place: Place<'_>,
        begun: u64,
        (values, translation): (
            impl Iterator<Item = &'v HeaderValue>,
            Option<&Translation<'_>>,
        ),
    ) {
        let public = values.map(|value| match translation {
            Some(translation) => translation.cookie(value),
            None => Cow::Borrowed(value),
        });
        let public: Vec<_> = public.collect();
        self.take_in(place, begun, public.iter().map(|value| value.as_bytes()));
    }
}

/// Says in `Cookie` what a sign-in has, and nothing else.
pub(crate) fn put_cookies(fields: &mut HeaderMap, cookies: Option<&[u8]>) {
    fields.remove(header::COOKIE);
    let cookies = cookies.and_then(|text| HeaderValue::from_bytes(text).ok());
    if let Some(mut cookies) = cookies {
        cookies.set_sensitive(true);
        fields.insert(header::COOKIE, cookies);
    }
}
