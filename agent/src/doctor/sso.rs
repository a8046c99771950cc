//! One user at one app with single sign-on: every stage that a request would go through, and which of them fails.

use http::{HeaderValue, StatusCode};
use kerberos::{Blame, Failure, Kerberos, Mutual, Pending, Spn, Stage, UserName};
use model::{
    app::{KerberosSso, Sso},
    name::AppId,
};
use runtime::{
    doctor::{self, Check, Fault, Finding, Report},
    tls,
};
use tokio::time::timeout;

use super::{kerberos as account, origins, snapshot};
use crate::{
    allow::AllowList,
    config::Config,
    look::{Answer, LookError, Question, open},
    origin::{Origin, SystemRoots},
    sign_on::{
        asked,
        challenge::{self, Offer},
    },
    view::{App, View, ViewBuilder},
};

/// Who is to be signed on where.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The app.
    pub app: AppId,
    /// What names the user there: the value that the app's publication chooses.
    pub user: String,
    /// What the app is asked for; `None`: the path of its health check, or else `/`.
    pub path: Option<String>,
}

/// Looks whether an agent with this configuration can sign a user on to an app.
pub async fn examine_sso(config: &Config, attempt: &Attempt, report: &mut Report<'_>) {
    tls::install_provider();
    let app = &attempt.app;
    let wrong = |found: &str| Finding::failed(Check::SignOn, Fault::NoSignOn, app.as_str(), found);
    let Some(directory) = config.data_directory.as_deref() else {
        return report.add(wrong(
            "an agent that keeps nothing has no list of apps to look at: name the data directory of one that does",
        ));
    };
    let snapshot = snapshot(directory, report);
    let view = match ViewBuilder::new(SystemRoots::default()).build(snapshot.values()) {
        Ok(view) => view,
        Err(error) => return report.add(wrong(&doctor::causes(&error))),
    };
    let Some(published) = view.app(app.as_str()) else {
        return report.add(wrong(
            "no such app is published for this agent's group, as far as the agent was told",
        ));
    };
    let Some(Sso::Kerberos(settings)) = published.sso() else {
        return report.add(wrong("the app has no single sign-on by kerberos"));
    };
    if let Some(finding) = keys_of_provider(settings, &view) {
        report.add(finding);
    }
    let Some(kerberos) = account::opened(config.serving.kerberos.as_ref(), app, report).await
    else {
        return;
    };
    let walk = Walk {
        kerberos: &kerberos,
        settings,
        allow: &config.serving.allow,
        path: attempt.path.as_deref(),
    };
    walk.all(published, &attempt.user, report).await;
}

/// Whether users' ID tokens can be checked, if the app asks for them. The doctor has no user's.
fn keys_of_provider(settings: &KerberosSso, view: &View) -> Option<Finding> {
    let (provider, _) = settings.id_token()?;
    let id = provider.map_or_else(String::new, ToString::to_string);
    Some(
        match provider.map_or(0, |id| view.provider_keys().count(id)) {
            0 => {
                let found = "the app asks for users' ID tokens, and control has told of no keys of their provider: can it reach the provider, and is that published?";
                Finding::failed(Check::SignOn, Fault::SignOnSetup, id, found)
            }
            keys => {
                let found = format!(
                    "the app asks for users' ID tokens, which are checked by {keys} of the provider's keys; what follows is done without one"
                );
                Finding::ok(Check::SignOn, id, found)
            }
        },
    )
}

/// What every step needs.
struct Walk<'a> {
    kerberos: &'a Kerberos,
    settings: &'a KerberosSso,
    allow: &'a AllowList,
    path: Option<&'a str>,
}

/// Why an app does not take the user.
struct NotTaken {
    fault: Fault,
    why: String,
}

impl Walk<'_> {
    /// Every origin, as each may be a service of its own.
    async fn all(&self, app: &App, name: &str, report: &mut Report<'_>) {
        let user = match asked::user(self.settings, name, self.kerberos.realm()) {
            Ok(user) => user,
            Err(error) => {
                let found = format!("is no name of a user: {error}");
                return report.add(Finding::failed(
                    Check::SignOn,
                    Fault::SignOnUser,
                    name,
                    found,
                ));
            }
        };
        for origin in app.sites().flat_map(|site| site.origins()) {
            self.one(origin, &user, report).await;
        }
    }

    async fn one(&self, origin: &Origin, user: &UserName, report: &mut Report<'_>) {
        let url = origin.published().url.to_string();
        let spn = match asked::service(self.settings, origin) {
            Ok(spn) => spn,
            Err(error) => {
                let found = doctor::causes(&error);
                return report.add(Finding::failed(Check::SignOn, Fault::NoSignOn, url, found));
            }
        };
        // Once for nobody's connection, so that what fails is the domain's and not the origin's.
        let ask = asked::ask(self.settings, user, &spn, None);
        if let Err(failure) = self.kerberos.token(ask).await {
            let NotTaken { fault, why } = failure.into();
            return report.add(Finding::failed(Check::SignOn, fault, user.as_str(), why));
        }
        let found = format!(
            "the domain gives tickets in the user's name, for the agent (self) and for {spn} (proxy)"
        );
        report.add(Finding::ok(Check::SignOn, user.as_str(), found));
        report.add(match self.at_app(origin, user, &spn).await {
            Ok(found) => Finding::ok(Check::SignOn, url, found),
            Err(NotTaken { fault, why }) => Finding::failed(Check::SignOn, fault, url, why),
        });
    }

    /// A GET with a token, as a request of the user's would be.
    async fn at_app(
        &self,
        origin: &Origin,
        user: &UserName,
        spn: &Spn,
    ) -> Result<String, NotTaken> {
        let opened = open(origin, self.allow, origins::LOOK_TIMEOUT).await?;
        let ask = asked::ask(self.settings, user, spn, opened.certificate());
        let token = self.kerberos.token(ask).await?;
        let mut authorization = HeaderValue::try_from(token.header).map_err(|_| NotTaken {
            fault: Fault::SignOnSetup,
            why: "the token is no value of a field".to_owned(),
        })?;
        authorization.set_sensitive(true);
        let (host, path) = origins::asked_for(origin);
        let path = self.path.unwrap_or(&path);
        let question = Question {
            host: &host,
            path,
            asker: origins::ASKER,
            authorization: Some(authorization),
        };
        let answer = timeout(origins::LOOK_TIMEOUT, opened.ask(&question)).await;
        let answer = answer.unwrap_or(Err(LookError::TimedOut(origins::LOOK_TIMEOUT)))?;
        read(answer, token.pending).map(|said| format!("{said} to GET {path}"))
    }
}

/// What an app says of a token.
fn read(mut answer: Answer, pending: Pending) -> Result<String, NotTaken> {
    let taken = challenge::take(&mut answer.fields);
    let is_refused = answer.status == StatusCode::UNAUTHORIZED;
    if is_refused && taken.offer == Offer::OthersOnly {
        return Err(NotTaken {
            fault: Fault::SignOnApp,
            why: "(app) answers 401 and offers other sign-ins than Kerberos only".to_owned(),
        });
    }
    let mutual = pending.finish(taken.token.as_deref())?;
    // What proves itself has taken the token: who is signed on may not come here.
    if is_refused && mutual == Mutual::Absent {
        return Err(NotTaken {
            fault: Fault::SignOnApp,
            why: "(app) answers 401 all the same".to_owned(),
        });
    }
    let shown = match mutual {
        Mutual::Verified => "it has the service's key",
        Mutual::Absent => "it has not shown that it has the service's key",
    };
    Ok(format!("answers {}, {shown},", answer.status.as_u16()))
}

impl From<Failure> for NotTaken {
    fn from(failure: Failure) -> Self {
        let fault = match (failure.blame(), failure.stage) {
            (Blame::Kdc, _) => Fault::Kdc,
            (Blame::User, _) => Fault::SignOnUser,
            (Blame::Setup, Stage::Agent) => Fault::KerberosAccount,
            (Blame::Setup, Stage::SelfTicket | Stage::Proxy) => Fault::SignOnSetup,
            (Blame::Setup, Stage::App) => Fault::SignOnApp,
        };
        Self {
            fault,
            why: format!("{failure}; {}", failure.hint),
        }
    }
}

impl From<LookError> for NotTaken {
    fn from(error: LookError) -> Self {
        Self {
            fault: origins::fault(&error),
            why: doctor::causes(&error),
        }
    }
}
