//! One user at one app that is used with a credential: whether one is kept, whether this agent can open it, and whether the app takes it.

use std::time::Duration;

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

use super::{
    origins,
    sso::{At, Attempt, Means, NOT_PUBLISHED, NotTaken, Taken, finding, page_of, weighed, wrong},
};
use crate::{
    credentials::{self, Who},
    form::{self, Address, Because, Judged, SignIn, SignIns, Step, Use, Walker},
    look::{Answer, Question, open},
    origin::{Origin, Versions},
    translate::Translation,
    view::App,
};

/// What is kept free of a test's time for the answer to a form.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// The same for a look at where that leads.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// The same for all from the page on. With less, nothing is begun.
const SENDING_TIME: Duration = Duration::from_secs(5);

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

impl At<'_> {
    /// Of several parts that have a path a request is for the one that has it most closely.
    fn depth(&self) -> usize {
        self.site.names().inner_path().as_str().len()
    }
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
        let held = sign_ins.holds_back(by, clock.now());
        match (held, self.attempt.sign_in) {
            // Whose turn is to be waited for.
            (Some(Because::UnderWay) | None, true) => {}
            (Some(why), _) => return held_back(why, &by.name),
            (None, false) => return self.not_sent(&by.name),
        }
        let at = match self.reach().await {
            Ok(at) => at,
            Err(finding) => return finding,
        };
        let url = at.origin.published().url.to_string();
        let users = &self.attempt.users;
        let Some(host) = users.host_sent(at.part, at.site, at.origin) else {
            let why = "was not sent: the app is asked for the host that users come by, and control has told of none: is it published under none but wildcards?";
            return Finding::skipped(Check::SignOn, url, why);
        };
        let outcome = match self.app.sso() {
            Some(Sso::Form(sso)) => self.by_form((sso, who), by, (&at, host)).await,
            Some(Sso::Basic(sso)) => self.by_basic(*sso, by, (&at, host)).await,
            Some(Sso::Kerberos(_)) | None => return wrong(self.app.id(), "it has changed"),
        };
        match outcome {
            Outcome::HeldBack(why) => held_back(why, &by.name),
            Outcome::Sent(outcome) => finding(outcome, url),
        }
    }

    /// Where a request of the user's would go to: of the part that it is for, the first origin that takes a connection, the healthy ones
    /// first.
    async fn reach(&self) -> Result<At<'_>, Finding> {
        let (app, attempt) = (self.app, self.attempt);
        let is_form = matches!(app.sso(), Some(Sso::Form(_)));
        // The form is the main part's.
        let parts = app.parts().filter(|(part, _)| !is_form || part.is_empty());
        let asked = parts.flat_map(|(part, site)| {
            let origins = site.origins().iter();
            origins.filter_map(move |origin| {
                let path = page_of(attempt, site, origin)?;
                Some(At {
                    part,
                    site,
                    origin,
                    path,
                })
            })
        });
        let mut asked: Vec<_> = asked.collect();
        let part = match &attempt.path {
            // Of equals the first, which is the main part.
            Some(_) => asked.iter().rev().max_by_key(|at| at.depth()),
            None => asked.first(),
        };
        let part = part.map(|at| at.part);
        asked.retain(|at| Some(at.part) == part);
        asked.sort_by_key(|at| !at.origin.is_healthy());
        let mut found = wrong(app.id(), NOT_PUBLISHED);
        let count = asked.len();
        for (tried, at) in asked.into_iter().enumerate() {
            // None takes the time of those behind it.
            let left = self.means.end - self.means.clock.now();
            let share = left.saturating_sub(SENDING_TIME) / small(count - tried);
            let limit = app.timeouts().connect.min(share);
            let opening = open(at.origin, self.means.allow, Versions::Http1, limit);
            match self.means.wait_for(app, Duration::ZERO, opening).await {
                Ok(_) => return Ok(at),
                Err(error) => found = finding(Err(error), at.origin.published().url.to_string()),
            }
        }
        Err(found)
    }

    /// Sends the app's form once, as a request of the user's would.
    async fn by_form(
        &self,
        (sso, who): (&FormSso, &Who),
        by: &Use,
        (at, host): (&At<'_>, String),
    ) -> Outcome {
        let Means {
            sign_ins, clock, ..
        } = self.means;
        let users = &self.attempt.users;
        let known = users.hosts.get("").unwrap_or(&host);
        let Some(public) = Public::new(Scheme::Https, known) else {
            return Outcome::Sent(Err(NotTaken {
                fault: Fault::NoSignOn,
                why: "the host that users come by is none".to_owned(),
            }));
        };
        // One at a time.
        let turn = sign_ins.turn(&by.name);
        let _turn = turn.lock().await;
        if clock.now() + SENDING_TIME > self.means.end {
            return Outcome::Sent(Err(NotTaken {
                fault: Fault::SignOnTime,
                why: "was not sent, as too little time is left for what comes of it".to_owned(),
            }));
        }
        let mut begun = match sign_ins.begin(by, clock.now()) {
            Ok(begun) => begun,
            Err(because) => return Outcome::HeldBack(because),
        };
        let mut said = users.fields("");
        said.insert(header::USER_AGENT, origins::ASKER);
        let address = Address {
            app: self.app,
            sso,
            public: &public,
            authority: Bytes::copy_from_slice(known.as_bytes()),
            is_main_host: true,
            said: &said,
            now: clock.wall(),
        };
        // Its cookies are nobody's: users go on with those that they have.
        let kept = (&by.name, &by.sealed);
        let apart = SignIns::default().of((self.app.id(), who), kept, clock.now());
        let steps = FormSteps {
            address: &address,
            origin: at.origin,
            translation: Translation::new(self.app, at.site, at.origin, &public),
            sign_in: &apart,
            means: self.means,
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
                    "the app does not let the user in by the form of {}: this agent does not send it again for half an hour, or longer each time",
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
    async fn by_basic(&self, sso: BasicSso, by: &Use, (at, host): (&At<'_>, String)) -> Outcome {
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
        let path = at.path;
        let mut question = Question::get(&host, path, origins::ASKER);
        question.fields = self.attempt.users.fields(at.part);
        question.fields.insert(header::AUTHORIZATION, value);
        let limit = self.app.timeouts().connect;
        let asking = async {
            let opened = open(at.origin, self.means.allow, Versions::Http1, limit).await?;
            opened.ask(&question).await
        };
        let asked = self.means.wait_for(self.app, Duration::ZERO, asking).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return Outcome::Sent(Err(error)),
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

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
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
    means: &'a Means<'a>,
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
        let (app, means) = (self.address.app, self.means);
        let limit = app.timeouts().connect;
        let asking = async {
            let opened = open(self.origin, means.allow, Versions::Http1, limit).await?;
            opened.send(request, step.reads()).await
        };
        // A form that is sent is one whose answer can be waited for.
        let spare = match (&step.form, step.is_look) {
            (Some(_), _) => LOOK_TIME,
            (None, true) => Duration::ZERO,
            (None, false) => ANSWER_TIME + LOOK_TIME,
        };
        let answer = means.wait_for(app, spare, asking).await?;
        let of = (self.sign_in, begun);
        (self.address).take_in(step, &self.translation, of, &answer.fields);
        Ok(answer)
    }
}

fn refused(why: impl Into<String>) -> NotTaken {
    NotTaken {
        fault: Fault::CredentialRefused,
        why: why.into(),
    }
}
