//! One user at one app with single sign-on: every stage that a request would go through, and which of them fails.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kerberos::{Blame, Failure, Kerberos, Mutual, Pending, Spn, Stage, UserName};
use model::{
    app::{KerberosSso, Sso},
    name::AppId,
};
use runtime::{
    Clock,
    doctor::{self, Check, Fault, Finding, Report},
    tls,
    vault::Keyring,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    kept,
    kerberos::{self as account, Account},
    origins, snapshot,
};
use crate::{
    allow::AllowList,
    config::Config,
    credentials::Who,
    form::{BadStep, SignIns},
    look::{Answer, LookError, Question, open},
    origin::{Origin, SystemRoots, Versions},
    sign_on::{
        asked,
        challenge::{self, Offer},
    },
    view::{App, Site, View, ViewBuilder},
};

/// How long the doctor goes on for one user.
const WALK_MAX: Duration = Duration::from_secs(60);

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who is to be signed on where.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub(crate) app: AppId,
    pub(crate) name: String,
    /// Who it is to the fabric, for apps with credentials; `None`: it was not said.
    pub(crate) who: Option<Who>,
    pub(crate) path: Option<String>,
    /// A credential is sent to the app.
    pub(crate) sign_in: bool,
    pub(crate) users: UsersSide,
}

/// The app as its users see it, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsersSide {
    /// Hosts that users come by: of each segment, by its id, and of the main part, by "".
    pub(crate) hosts: HashMap<String, String>,
    /// The app is not told of it.
    pub(crate) is_hidden: bool,
}

impl UsersSide {
    /// The host that a request of a user's for a part is sent to an origin with; `None`: it is theirs, and not known.
    pub(super) fn host_sent(&self, part: &str, site: &Site, origin: &Origin) -> Option<String> {
        let inside = site.names().host_sent(&origin.published().url);
        let inside = inside.map(Cow::into_owned);
        inside.or_else(|| self.hosts.get(part).cloned())
    }

    /// What edges say besides of users' requests.
    pub(super) fn fields(&self, part: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let host = self.hosts.get(part).filter(|_| !self.is_hidden);
        let told = host.and_then(|host| HeaderValue::try_from(host).ok());
        if let Some(host) = told {
            fields.insert(X_FORWARDED_HOST, host);
            fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        }
        fields
    }
}

impl Attempt {
    /// Somebody at an app. `name` names them there: the value that the app's publication chooses. The app is asked for `path`; `None`: the path
    /// of its health check, if that is published, or else where the part begins.
    #[must_use]
    pub fn new(app: AppId, name: String, path: Option<String>) -> Self {
        Self {
            app,
            name,
            who: None,
            path,
            sign_in: false,
            users: UsersSide::default(),
        }
    }
}

/// What an agent signs users on with.
pub(crate) struct Means<'a> {
    pub(crate) view: &'a View,
    pub(crate) account: &'a Account,
    pub(crate) allow: &'a AllowList,
    /// Opens credentials.
    pub(crate) keyring: Option<&'a Arc<Keyring>>,
    /// Which of them rest.
    pub(crate) sign_ins: &'a SignIns,
    pub(crate) clock: &'a Clock,
    /// Nobody waits for what is found later.
    pub(crate) end: Instant,
}

impl Means<'_> {
    /// Waits as long as a request would, and no longer than until there is `spare` time left.
    pub(super) async fn wait_for<T>(
        &self,
        app: &App,
        spare: Duration,
        answer: impl Future<Output = Result<T, LookError>>,
    ) -> Result<T, NotTaken> {
        let timeouts = app.timeouts();
        let limit = timeouts.connect + timeouts.response;
        let patient = self.clock.now() + limit;
        let end = self.end.checked_sub(spare).unwrap_or(self.end);
        match timeout_at(patient.min(end), answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) if patient <= end => Err(LookError::TimedOut(limit).into()),
            Err(_) => Err(NotTaken {
                fault: Fault::SignOnTime,
                why: format!(
                    "no answer while a test waits for one: requests of users wait for up to {limit:?}"
                ),
            }),
        }
    }
}

/// Looks whether an agent with this configuration can sign a user on to an app.
pub async fn examine_sso(config: &Config, attempt: &Attempt, report: &mut Report<'_>) {
    tls::install_provider();
    let wrong = |found: &str| wrong(&attempt.app, found);
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
    let clock = Clock::system();
    let means = Means {
        view: &view,
        account: &super::account(config),
        allow: &config.serving.allow,
        keyring: config.serving.keyring.as_ref(),
        sign_ins: &SignIns::default(),
        end: clock.now() + WALK_MAX,
        clock: &clock,
    };
    walk(attempt, &means, report).await;
}

/// Goes through the stages as a request of the user's would.
pub(crate) async fn walk(attempt: &Attempt, means: &Means<'_>, report: &mut Report<'_>) {
    let app = &attempt.app;
    let Some(published) = means.view.app(app.as_str()) else {
        return report.add(wrong(
            app,
            "no such app is published for this agent's group, as far as the agent was told",
        ));
    };
    match published.sso() {
        None => report.add(wrong(app, "the app has no single sign-on")),
        Some(Sso::Form(_) | Sso::Basic(_)) => kept::walk(published, attempt, means, report).await,
        Some(Sso::Kerberos(settings)) => {
            if let Some(finding) = keys_of_provider(settings, means.view) {
                report.add(finding);
            }
            let Some(kerberos) = account::opened(means.account, app, report).await else {
                return;
            };
            let walk = Walk {
                kerberos: &kerberos,
                settings,
                means,
                attempt,
                app: published,
            };
            walk.all(report).await;
        }
    }
}

/// Said of a path that users cannot ask for.
pub(super) const NOT_PUBLISHED: &str =
    "no part of the app that has origins has this path inside: users cannot ask for it";

/// There is nothing to look at.
pub(super) fn wrong(app: &AppId, found: &str) -> Finding {
    Finding::failed(Check::SignOn, Fault::NoSignOn, app.as_str(), found)
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

/// Which page of a part an origin is asked for: the operator's, or that of the health check, or else where the part begins. `None`: it is in
/// no request of a user's for this part.
pub(super) fn page_of<'p>(
    attempt: &'p Attempt,
    site: &'p Site,
    origin: &'p Origin,
) -> Option<&'p str> {
    let names = site.names();
    let is_published = |path: &&str| {
        let bare = path.split('?').next().unwrap_or_default();
        names.is_published(bare)
    };
    if let Some(path) = &attempt.path {
        return Some(&**path).filter(is_published);
    }
    let checked = origin.check().map(|check| &*check.terms.path);
    let checked = checked.filter(is_published);
    Some(checked.unwrap_or_else(|| names.inner_path().as_str()))
}

/// What every step needs.
struct Walk<'a> {
    kerberos: &'a Kerberos,
    settings: &'a KerberosSso,
    means: &'a Means<'a>,
    attempt: &'a Attempt,
    app: &'a App,
}

/// Where the app is asked.
pub(super) struct At<'a> {
    /// Id of the segment; empty: the main part.
    pub(super) part: &'a str,
    pub(super) site: &'a Site,
    pub(super) origin: &'a Origin,
    /// What is asked for there, if it is not the form.
    pub(super) path: &'a str,
}

/// What an app says to a user's sign-on.
pub(super) enum Taken {
    /// It takes the user.
    Surely(String),
    /// It answers, and does not say that.
    Perhaps(String),
}

/// Why an app does not take the user.
pub(super) struct NotTaken {
    pub(super) fault: Fault,
    pub(super) why: String,
}

/// How it stands with a user at an origin.
pub(super) fn finding(outcome: Result<Taken, NotTaken>, url: String) -> Finding {
    match outcome {
        Ok(Taken::Surely(found)) => Finding::ok(Check::SignOn, url, found),
        Ok(Taken::Perhaps(found)) => {
            Finding::warning(Check::SignOn, Fault::OriginAnswer, url, found)
        }
        Err(NotTaken { fault, why }) => Finding::failed(Check::SignOn, fault, url, why),
    }
}

/// Whether a status says that the user was let in.
pub(super) fn weighed(status: StatusCode, said: String) -> Taken {
    let but = if status.is_success() {
        return Taken::Surely(said);
    } else if status.is_redirection() {
        "where that leads was not looked at, and may be a sign-in of the app's own: try a page for users by --path"
    } else if status.is_server_error() {
        "the app fails, and nothing is known of the sign-on"
    } else {
        "that page may not be this user's, and nothing is known of the sign-on: try another one by --path"
    };
    Taken::Perhaps(format!("{said}: {but}"))
}

impl Walk<'_> {
    /// Every origin, as each may be a service of its own.
    async fn all(&self, report: &mut Report<'_>) {
        let name = &*self.attempt.name;
        let user = match asked::user(self.settings, name, self.kerberos.realm()) {
            Ok(user) => user,
            Err(error) => {
                let found = format!("is no name of a user: {error}");
                let fault = Fault::SignOnUser;
                return report.add(Finding::failed(Check::SignOn, fault, name, found));
            }
        };
        let mut is_asked = false;
        for (part, site) in self.app.parts() {
            for origin in site.origins() {
                if let Some(path) = page_of(self.attempt, site, origin) {
                    is_asked = true;
                    let at = At {
                        part,
                        site,
                        origin,
                        path,
                    };
                    self.one(&at, &user, report).await;
                }
            }
        }
        if !is_asked {
            report.add(wrong(self.app.id(), NOT_PUBLISHED));
        }
    }

    async fn one(&self, at: &At<'_>, user: &UserName, report: &mut Report<'_>) {
        let url = at.origin.published().url.to_string();
        let spn = match asked::service(self.settings, at.origin) {
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
        report.add(finding(self.at_app(at, user, &spn).await, url));
    }

    /// A GET with a token, as a request of the user's would be.
    async fn at_app(
        &self,
        &At {
            part,
            site,
            origin,
            path,
        }: &At<'_>,
        user: &UserName,
        spn: &Spn,
    ) -> Result<Taken, NotTaken> {
        let (means, users) = (self.means, &self.attempt.users);
        // As of any look, whatever requests wait for: another origin may be behind a silent one.
        let limit = origins::LOOK_TIMEOUT;
        let opened = open(origin, means.allow, Versions::Http1, limit).await?;
        let ask = asked::ask(self.settings, user, spn, opened.certificate());
        let token = self.kerberos.token(ask).await?;
        let mut authorization = HeaderValue::try_from(token.header).map_err(|_| NotTaken {
            fault: Fault::SignOnSetup,
            why: "the token is no value of a field".to_owned(),
        })?;
        authorization.set_sensitive(true);
        // What the token is for does not follow from the host, so that the origin's own will do where users' is not known.
        let host = users.host_sent(part, site, origin);
        let host = host.unwrap_or_else(|| origin.published().url.authority());
        let mut question = Question::get(&host, path, origins::ASKER);
        question.fields = users.fields(part);
        question.fields.insert(header::AUTHORIZATION, authorization);
        let answer = timeout(limit, opened.ask(&question)).await;
        let answer = answer.unwrap_or(Err(LookError::TimedOut(limit)))?;
        read(answer, token.pending, path)
    }
}

/// What an app says of a token.
fn read(mut answer: Answer, pending: Pending, path: &str) -> Result<Taken, NotTaken> {
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
    let status = answer.status;
    let shown = match mutual {
        Mutual::Verified => "it has the service's key",
        Mutual::Absent => "it has not shown that it has the service's key",
    };
    let said = format!("answers {}, {shown}, to GET {path}", status.as_u16());
    Ok(match mutual {
        // It has read the token, wherever it leads from there.
        Mutual::Verified if status.is_redirection() => Taken::Surely(said),
        Mutual::Verified | Mutual::Absent => weighed(status, said),
    })
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

impl From<BadStep> for NotTaken {
    fn from(error: BadStep) -> Self {
        Self {
            fault: Fault::NoSignOn,
            why: error.to_string(),
        }
    }
}
