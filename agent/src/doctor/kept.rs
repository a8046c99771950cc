//! One user at one app that is used with a credential: whether one is kept, whether this agent can open it, and whether the app takes it.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::Full;
use model::{
    app::{BasicSso, CredentialOf, FormSso, Scheme, Sso},
    translate::Public,
    vault::CredentialName,
};
use runtime::{
    doctor::{Check, Fault, Finding, Report},
    vault::Credential,
};
use tokio::time::timeout;

use super::{
    origins,
    sso::{Attempt, Means, NotTaken, Taken, finding, weighed, wrong},
};
use crate::{
    allow::AllowList,
    credentials::{self, Who},
    form::{self, Address, Answer, Because, Judged, SignIn, SignIns, Step, Use, Walker},
    look::{LookError, Question, open},
    origin::{Origin, Versions},
    translate::Translation,
    view::{App, Site},
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
        credential: &credential,
    };
    let sealed = sealed.clone();
    report.add(match &attempt.who {
        Some(who) => {
            let by = Use::new((name, sealed), (app.id(), who));
            kept.taken(who, &by).await
        }
        None => kept.not_sent(&name),
    });
}

fn failed(fault: Fault, name: &CredentialName, found: impl Into<String>) -> Finding {
    Finding::failed(Check::Credential, fault, name.to_string(), found)
}

/// A credential that could be sent.
struct Kept<'a> {
    app: &'a App,
    attempt: &'a Attempt,
    means: &'a Means<'a>,
    credential: &'a Credential,
}

/// Why a credential was not sent, or what came of it.
enum Outcome {
    HeldBack(Because),
    Sent(Result<Taken, NotTaken>),
}

impl Kept<'_> {
    fn not_sent(&self, name: &CredentialName) -> Finding {
        let why = "was not sent to the app: with --sign-in one agent does so, once";
        Finding::skipped(Check::SignOn, name.to_string(), why)
    }

    /// Whether the app takes it, if it may be asked.
    async fn taken(&self, who: &Who, by: &Use) -> Finding {
        let Means {
            sign_ins, clock, ..
        } = self.means;
        if !self.attempt.sign_in {
            let held = sign_ins.holds_back(by, clock.now());
            return held.map_or_else(|| self.not_sent(&by.name), |why| held_back(why, &by.name));
        }
        let place = match self.app.sso() {
            Some(Sso::Form(_)) => origin_of(self.app.main()).map(|origin| ("", origin)),
            _ => {
                let mut parts = self.app.parts();
                parts.find_map(|(part, site)| Some((part, origin_of(site)?)))
            }
        };
        let Some(place) = place else {
            return wrong(self.app.id(), "the app has no origin to send it to");
        };
        let url = place.1.published().url.to_string();
        let Some(host) = (self.attempt.users).host_sent(self.app, place.0, place.1) else {
            let why = "was not sent: the app is asked for the host that users come by, and it is published under none but wildcards";
            return Finding::skipped(Check::SignOn, url, why);
        };
        let outcome = match self.app.sso() {
            Some(Sso::Form(sso)) => self.by_form((sso, who), by, (place.1, host)).await,
            Some(Sso::Basic(sso)) => self.by_basic(*sso, by, (place, host)).await,
            Some(Sso::Kerberos(_)) | None => return wrong(self.app.id(), "it has changed"),
        };
        match outcome {
            Outcome::HeldBack(why) => held_back(why, &by.name),
            Outcome::Sent(outcome) => finding(outcome, url),
        }
    }

    /// Sends the app's form once, as a request of the user's would.
    async fn by_form(
        &self,
        (sso, who): (&FormSso, &Who),
        by: &Use,
        (origin, host): (&Origin, String),
    ) -> Outcome {
        let Means {
            sign_ins, clock, ..
        } = self.means;
        let users = &self.attempt.users;
        let of_origin = || Public::new(Scheme::Https, &host);
        let Some(public) = users.public("").or_else(of_origin) else {
            return Outcome::Sent(Err(NotTaken {
                fault: Fault::NoSignOn,
                why: "the app is asked for a host that is none".to_owned(),
            }));
        };
        // One at a time.
        let turn = sign_ins.turn(&by.name);
        let _turn = turn.lock().await;
        let mut begun = match sign_ins.begin(by, clock.now()) {
            Ok(begun) => begun,
            Err(because) => return Outcome::HeldBack(because),
        };
        let mut said = users.fields("");
        said.insert(header::USER_AGENT, origins::ASKER);
        let authority = users.hosts.get("").unwrap_or(&host);
        let address = Address {
            app: self.app,
            sso,
            public: &public,
            authority: Bytes::copy_from_slice(authority.as_bytes()),
            is_main_host: true,
            said: &said,
            now: clock.wall(),
        };
        // Its cookies are nobody's: users go on with those that they have.
        let kept = (&by.name, &by.sealed);
        let apart = SignIns::default().of((self.app.id(), who), kept, clock.now());
        let steps = FormSteps {
            address: &address,
            origin,
            translation: Translation::new(self.app, self.app.main(), origin, &public),
            sign_in: &apart,
            allow: self.means.allow,
        };
        let outcome = form::walk(&steps, (&address, &apart), self.credential, &mut begun).await;
        let now = clock.now();
        // Before the form was sent nothing has happened that a user's request would have to wait for.
        let give_up = |begun: form::Attempt<'_>| match begun.was_sent() {
            true => begun.ended(Err(Because::Failed), now),
            false => drop(begun),
        };
        Outcome::Sent(match outcome {
            Ok(Judged::In) => {
                begun.ended(Ok(()), now);
                let found = format!("the form of {} lets the user in", sso.page);
                Ok(Taken::Surely(found))
            }
            Ok(Judged::Refused) => {
                begun.ended(Err(Because::Refused), now);
                Err(refused(format!(
                    "the app does not let the user in by the form of {}, and is not sent it again for half an hour",
                    sso.page
                )))
            }
            Ok(Judged::Failed(why)) => {
                give_up(begun);
                Err(NotTaken {
                    fault: Fault::OriginAnswer,
                    why,
                })
            }
            Err(error) => {
                give_up(begun);
                Err(error)
            }
        })
    }

    /// Sends the credential once, and counts what comes of it, as after a request of the user's.
    async fn by_basic(
        &self,
        sso: BasicSso,
        by: &Use,
        ((part, origin), host): ((&str, &Origin), String),
    ) -> Outcome {
        let Means {
            sign_ins, clock, ..
        } = self.means;
        if let Some(because) = sign_ins.rests(&by.name, &by.sealed, clock.now()) {
            return Outcome::HeldBack(because);
        }
        let value = match credentials::basic(sso, self.credential) {
            Ok(value) => value,
            Err(error) => {
                return Outcome::Sent(Err(NotTaken {
                    fault: Fault::Credential,
                    why: error.to_string(),
                }));
            }
        };
        let path = self.attempt.path.as_deref();
        let path = path.unwrap_or_else(|| origins::path_of(origin));
        let mut question = Question::get(&host, path, origins::ASKER);
        question.fields = self.attempt.users.fields(part);
        question.fields.insert(header::AUTHORIZATION, value);
        let limit = origins::LOOK_TIMEOUT;
        let asked = async {
            let opened = open(origin, self.means.allow, Versions::Http1, limit).await?;
            opened.ask(&question).await
        };
        let answer = timeout(limit, asked).await;
        let answer = match answer.unwrap_or(Err(LookError::TimedOut(limit))) {
            Ok(answer) => answer,
            Err(error) => return Outcome::Sent(Err(error.into())),
        };
        let said = format!("answers {} to GET {path} with it", answer.status.as_u16());
        if answer.status == StatusCode::UNAUTHORIZED {
            sign_ins.refused(&by.name, &by.sealed, clock.now());
            let but = match answer.fields.contains_key(header::WWW_AUTHENTICATE) {
                true => "",
                false => ", and asks for no other: it may mean something else by that",
            };
            return Outcome::Sent(Err(refused(said + but)));
        }
        sign_ins.taken(&by.name, &by.sealed, clock.now());
        Outcome::Sent(Ok(weighed(answer.status, said)))
    }
}

/// Which one of a part's a user's request would most likely go to.
fn origin_of(site: &Site) -> Option<&Origin> {
    let origins = || site.origins().iter().map(Arc::as_ref);
    origins()
        .find(|origin| origin.is_healthy())
        .or_else(|| origins().next())
}

fn held_back(because: Because, name: &CredentialName) -> Finding {
    match because {
        Because::Refused => failed(
            Fault::CredentialRefused,
            name,
            "the app has refused it: this agent does not send it again for a while",
        ),
        Because::Failed => failed(
            Fault::OriginAnswer,
            name,
            "the last sign-in with it came to nothing: this agent does not send it again for half a minute",
        ),
        Because::UnderWay => Finding::skipped(
            Check::SignOn,
            name.to_string(),
            "was not sent: a request of the user's signs in with it at this moment",
        ),
    }
}

/// How a test takes the steps of a sign-in.
struct FormSteps<'a> {
    address: &'a Address<'a>,
    origin: &'a Origin,
    translation: Translation<'a>,
    sign_in: &'a SignIn,
    allow: &'a AllowList,
}

impl Walker for FormSteps<'_> {
    type Error = NotTaken;

    async fn step(&self, begun: u64, step: &Step) -> Result<Answer, NotTaken> {
        let request = self
            .address
            .request(step, &self.translation, self.sign_in)?;
        let form = step.form.as_ref();
        let form = form.map(|form| Bytes::copy_from_slice(form.as_bytes()));
        let request = request.map(|()| Full::new(form.unwrap_or_default()));
        let limit = origins::LOOK_TIMEOUT;
        let asked = async {
            let opened = open(self.origin, self.allow, Versions::Http1, limit).await?;
            opened.send(request, step.reads()).await
        };
        let answer = timeout(limit, asked).await;
        let answer = answer.unwrap_or(Err(LookError::TimedOut(limit)))?;
        let of = (self.sign_in, begun);
        (self.address).take_in(step, &self.translation, of, &answer.fields);
        Ok(Answer {
            status: answer.status,
            fields: answer.fields,
            body: answer.body,
            is_cut: answer.is_cut,
        })
    }
}

fn refused(why: impl Into<String>) -> NotTaken {
    NotTaken {
        fault: Fault::CredentialRefused,
        why: why.into(),
    }
}
