//! One user at one app that is used with a credential: whether one is kept, whether this agent can open it, and whether the app takes it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{
    app::{BasicSso, CredentialOf, FormSso, Sso},
    vault::CredentialName,
};
use runtime::{
    doctor::{Check, Fault, Finding, Report},
    vault::Credential,
};
use tokio::time::timeout;

use super::{
    origins,
    sso::{Attempt, Means, NotTaken, wrong},
};
use crate::{
    credentials::{self, Sealed, Who},
    form::{
        self, ANSWER_BYTES_MAX, Because, Judged, Next, Place, SignIn, SignIns, Step, judge,
        leads_to,
    },
    look::{LookError, Question, open},
    origin::Origin,
    view::App,
};

/// Looks at the credential that the user's requests would go with.
pub(super) async fn walk(app: &App, attempt: &Attempt, means: &Means<'_>, report: &mut Report<'_>) {
    let of = match app.sso() {
        Some(Sso::Form(FormSso { credential, .. }) | Sso::Basic(BasicSso { credential, .. })) => {
            *credential
        }
        Some(Sso::Kerberos(_)) | None => return,
    };
    let holder = match (of, &attempt.who) {
        (CredentialOf::App, _) => None,
        (CredentialOf::User, Some(who)) => Some(who),
        (CredentialOf::User, None) => {
            return report.add(wrong(
                app.id(),
                "users have credentials of their own there: `adit app sso test` looks at these",
            ));
        }
    };
    let name = credentials::name(app.id(), holder);
    let Some(sealed) = means.view.credentials().find(&name) else {
        let found = "none is kept that is sealed to a key of this agent's group";
        return report.add(failed(Fault::NoCredential, &name, found));
    };
    let credential = match sealed.open(&name, means.keyring) {
        Ok(credential) => credential,
        Err(error) => {
            let found = format!("cannot be opened by this agent: {error}");
            return report.add(failed(Fault::Credential, &name, found));
        }
    };
    let found = "is kept, and this agent can open it";
    report.add(Finding::ok(Check::Credential, name.to_string(), found));
    let kept = Kept {
        app,
        attempt,
        means,
        name: &name,
        sealed,
        credential: &credential,
    };
    report.add(kept.taken().await);
}

fn failed(fault: Fault, name: &CredentialName, found: impl Into<String>) -> Finding {
    Finding::failed(Check::Credential, fault, name.to_string(), found)
}

/// A credential that could be sent.
struct Kept<'a> {
    app: &'a App,
    attempt: &'a Attempt,
    means: &'a Means<'a>,
    name: &'a CredentialName,
    sealed: &'a Sealed,
    credential: &'a Credential,
}

impl Kept<'_> {
    /// Whether the app takes it, if it may be asked.
    async fn taken(&self) -> Finding {
        let Means {
            sign_ins, clock, ..
        } = self.means;
        if sign_ins.rests(self.name, self.sealed, clock.now()) {
            let found = "the app has refused it, or the last sign-in came to nothing: this agent does not send it again for a while";
            return failed(Fault::CredentialRefused, self.name, found);
        }
        let (true, Some(who)) = (self.attempt.sign_in, &self.attempt.who) else {
            let why = "was not sent to the app: with --sign-in one agent does so, once";
            return Finding::skipped(Check::SignOn, self.name.to_string(), why);
        };
        let mut origins = self.app.sites().flat_map(|site| site.origins());
        let Some(origin) = origins.next() else {
            return wrong(self.app.id(), "the app has no origin");
        };
        let url = origin.published().url.to_string();
        let outcome = match self.app.sso() {
            Some(Sso::Form(sso)) => self.by_form(sso, who, origin).await,
            Some(Sso::Basic(sso)) => self.by_basic(*sso, origin).await,
            Some(Sso::Kerberos(_)) | None => return wrong(self.app.id(), "it has changed"),
        };
        match outcome {
            Ok(found) => Finding::ok(Check::SignOn, url, found),
            Err(NotTaken { fault, why }) => Finding::failed(Check::SignOn, fault, url, why),
        }
    }

    /// Sends the app's form once.
    async fn by_form(&self, sso: &FormSso, who: &Who, origin: &Origin) -> Result<String, NotTaken> {
        let Means {
            sign_ins, clock, ..
        } = self.means;
        // As requests do: one at a time, and none after a refusal.
        let turn = sign_ins.turn(self.name);
        let _turn = turn.lock().await;
        let mut begun = sign_ins
            .begin(self.name, self.sealed, clock.now())
            .map_err(|_| refused("the app has refused it a moment ago"))?;
        // Its cookies are nobody's: users go on with those that they have.
        let apart =
            SignIns::default().of((self.app.id(), who), (self.name, self.sealed), clock.now());
        let outcome = self.walk_form(sso, origin, (&apart, &mut begun)).await;
        let now = clock.now();
        match outcome {
            Ok(Judged::In) => {
                begun.ended(Ok(()), now);
                Ok(format!("the form of {} lets the user in", sso.page))
            }
            Ok(Judged::Refused) => {
                begun.ended(Err(Because::Refused), now);
                let why = format!(
                    "the app does not let the user in by the form of {}, and is not sent it again for half an hour",
                    sso.page
                );
                Err(refused(why))
            }
            Ok(Judged::Failed(why)) => {
                begun.ended(Err(Because::Failed), now);
                Err(NotTaken {
                    fault: Fault::OriginAnswer,
                    why,
                })
            }
            Err(error) => {
                begun.ended(Err(Because::Failed), now);
                Err(error.into())
            }
        }
    }

    async fn walk_form(
        &self,
        sso: &FormSso,
        origin: &Origin,
        (apart, begun): (&SignIn, &mut form::Attempt<'_>),
    ) -> Result<Judged, LookError> {
        let number = apart.begin();
        let first = Step::page(sso);
        let page = self.step(origin, (apart, number), &first, true).await?;
        let step = match Step::form(sso, &page, self.credential) {
            Next::Send(step) => step,
            Next::Stuck(why) => return Ok(Judged::Failed(why)),
        };
        begun.is_sent();
        let answer = self.step(origin, (apart, number), &step, sso.success.reads_page());
        let answer = answer.await?;
        let judged = judge(sso, &step.path, &answer);
        let (host, _) = origins::asked_for(origin);
        let landing = Step::landing(sso, &step.path, &answer, |own| {
            own.eq_ignore_ascii_case(&host)
        });
        let Some(landing) = landing.filter(|_| judged == Judged::In) else {
            return Ok(judged);
        };
        // As requests do, which go on whatever else is wrong there.
        match self.step(origin, (apart, number), &landing, false).await {
            Ok(page) if leads_to(sso, &landing.path, page.status, &page.fields) => {
                Ok(Judged::Refused)
            }
            Ok(_) | Err(_) => Ok(judged),
        }
    }

    async fn step(
        &self,
        origin: &Origin,
        (apart, number): (&SignIn, u64),
        step: &Step,
        reads_page: bool,
    ) -> Result<form::Answer, LookError> {
        let (host, _) = origins::asked_for(origin);
        let place = Place {
            segment: "",
            // Nobody else gets these cookies, so that no other part's host is to be told from it.
            host: &host,
            is_main_host: true,
            path: step.path.split('?').next().unwrap_or_default(),
            inner_path: None,
            // Users come by HTTPS.
            secure: true,
            now: self.means.clock.wall(),
        };
        let mut fields = HeaderMap::new();
        let cookies = apart.cookies(place, b"");
        let cookies = cookies.and_then(|text| HeaderValue::from_bytes(&text).ok());
        if let Some(mut cookies) = cookies {
            cookies.set_sensitive(true);
            fields.insert(header::COOKIE, cookies);
        }
        if step.form.is_some() {
            // Frameworks look whether a form comes from their own page.
            let from = format!("https://{host}{}", place.path);
            if let Ok(from) = HeaderValue::try_from(from) {
                fields.insert(header::REFERER, from);
            }
        }
        let form = step.form.as_ref();
        let question = Question {
            fields,
            form: form.map(|form| Bytes::copy_from_slice(form.as_bytes())),
            body_bytes_max: if reads_page { ANSWER_BYTES_MAX } else { 0 },
            ..Question::get(&host, &step.path, origins::ASKER)
        };
        let answer = self.ask(origin, &question).await?;
        let set = answer.fields.get_all(header::SET_COOKIE).iter();
        apart.take_in(place, number, set.map(HeaderValue::as_bytes));
        Ok(form::Answer {
            status: answer.status,
            fields: answer.fields,
            body: answer.body,
        })
    }

    /// Sends the credential once.
    async fn by_basic(&self, sso: BasicSso, origin: &Origin) -> Result<String, NotTaken> {
        let value = credentials::basic(sso, self.credential).map_err(|error| NotTaken {
            fault: Fault::Credential,
            why: error.to_string(),
        })?;
        let (host, path) = origins::asked_for(origin);
        let path = self.attempt.path.as_deref().unwrap_or(&path);
        let question = Question {
            fields: HeaderMap::from_iter([(header::AUTHORIZATION, value)]),
            ..Question::get(&host, path, origins::ASKER)
        };
        let status = self.ask(origin, &question).await?.status;
        if status == StatusCode::UNAUTHORIZED {
            let Means {
                sign_ins, clock, ..
            } = self.means;
            sign_ins.refused(self.name, self.sealed, clock.now());
            return Err(refused(format!("answers 401 to GET {path} with it")));
        }
        Ok(format!("answers {} to GET {path} with it", status.as_u16()))
    }

    async fn ask(
        &self,
        origin: &Origin,
        question: &Question<'_>,
    ) -> Result<crate::look::Answer, LookError> {
        let limit = origins::LOOK_TIMEOUT;
        let asked = async {
            let opened = open(origin, self.means.allow, limit).await?;
            opened.ask(question).await
        };
        let answer = timeout(limit, asked).await;
        answer.unwrap_or(Err(LookError::TimedOut(limit)))
    }
}

fn refused(why: impl Into<String>) -> NotTaken {
    NotTaken {
        fault: Fault::CredentialRefused,
        why: why.into(),
    }
}
