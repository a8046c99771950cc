//! Single sign-on tried out for one user, by the agents of the app: whom it is tried for, who is asked, and what they say.

use std::collections::HashMap;

use futures_util::future::join_all;
use model::{
    app::{SSO_NAME_BYTES_MAX, UPN_CLAIM},
    host::{HostPattern, Hostname},
    identity_provider::LOCAL,
    name::{AgentId, AppId, IdentityProviderId, UserId},
};
use proto::{
    admin::{
        App, KerberosSignOn, SignOnFinding, SignOnIdentity, SignOnReport, SignOnVerdict,
        TestSingleSignOnRequest, TestSingleSignOnResponse, User, single_sign_on::Kind,
    },
    control::{AgentRecord, UserRecord},
    fabric::SignOnQuestion,
    violation::Violation,
};

use super::{Apps, app_id, read};
use crate::{
    admin::{
        operator::Operator,
        record,
        refusal::{Refusal, violation},
        stored_settings,
    },
    audit,
    questions::{AskError, Claim},
    store::{Store, TxnError},
};

/// Agents that are asked, at the same time.
const AGENTS_MAX: usize = 8;
/// Agents that are told of, with those that are not asked.
const REPORTS_MAX: usize = 64;
/// Bytes of the path that the app is asked for.
const PATH_BYTES_MAX: usize = 2_048;
/// Agents that are read at once.
const READ_MAX: usize = 1_000;
/// What is looked at where it is about an agent itself.
const AGENT_CHECK: &str = "agent";
/// The same about an account of the fabric's own.
const ACCOUNT_CHECK: &str = "account";

/// What an operator wants to know.
struct Wanted<'r> {
    app: AppId,
    user: UserId,
    /// `None`: it was not said.
    provider: Option<IdentityProviderId>,
    agent: Option<AgentId>,
    request: &'r TestSingleSignOnRequest,
}

/// The app's agents.
#[derive(Default)]
struct Team {
    /// Whose turn it is.
    asked: Vec<(AgentId, Claim)>,
    /// Why the others are not asked.
    left_out: Vec<(AgentId, String)>,
}

impl Apps {
    /// Has agents go through the stages of single sign-on.
    pub(super) async fn test_sign_on(
        &self,
        request: &TestSingleSignOnRequest,
        operator: &Operator,
    ) -> Result<TestSingleSignOnResponse, Refusal> {
        let wanted = Wanted::read(request)?;
        let store = &*self.context.store;
        let entry = record::existing(store, &wanted.app.resource_name()).await?;
        let app = read(&entry, &stored_settings(store).await?)?;
        let sso = app.single_sign_on.as_ref();
        let Some(kind) = sso.and_then(|sso| sso.kind.as_ref()) else {
            return Err(without(&app));
        };
        let provider = wanted.provider(&app, kind)?;
        let account = wanted.account(store, provider.as_ref()).await?;
        let question = wanted.question((&app, kind), provider, account.as_ref())?;
        let team = self.team(&app, &wanted).await?;
        // Before anything is done in the user's name.
        self.note_test(&wanted, &question, operator).await?;
        let asked = team.asked.into_iter().enumerate();
        let reports = join_all(asked.map(|(place, (agent, claim))| {
            // A credential that is wrong must not be sent by each of them.
            let sign_in = question.sign_in && place == 0;
            let question = SignOnQuestion {
                sign_in,
                ..question.clone()
            };
            ask(agent, claim, question)
        }));
        let mut reports = reports.await;
        let left_out = team.left_out.iter();
        reports.extend(
            left_out.map(|(agent, why)| {
                report(agent, vec![finding(SignOnVerdict::Skipped, why.clone())])
            }),
        );
        Ok(TestSingleSignOnResponse {
            reports,
            findings: account.iter().flat_map(|it| kept_out(it, &app)).collect(),
        })
    }

    /// Who is asked, and who is not.
    async fn team(&self, app: &App, wanted: &Wanted<'_>) -> Result<Team, Refusal> {
        let (store, only) = (&*self.context.store, wanted.agent.as_ref());
        let members = match only {
            Some(agent) => vec![member(store, agent, &app.group).await?],
            None => members(store, &app.group).await?,
        };
        let mut team = Team::default();
        let mut busy = None;
        for agent in members {
            let is_full = team.asked.len() >= AGENTS_MAX;
            if is_full && self.context.questions.reach(&agent) {
                if self.context.questions.is_busy(&agent) {
                    busy.get_or_insert_with(|| agent.clone());
                }
                let why =
                    format!("was not asked, as {AGENTS_MAX} others were: name it to have it asked");
                team.left_out.push((agent, why));
                continue;
            }
            match self.context.questions.claim(&agent) {
                Ok(claim) => team.asked.push((agent, claim)),
                Err(error) => {
                    if error == AskError::Busy {
                        busy.get_or_insert_with(|| agent.clone());
                    }
                    team.left_out.push((agent, error.to_string()));
                }
            }
        }
        team.left_out
            .truncate(REPORTS_MAX.saturating_sub(team.asked.len()));
        // The one that is busy may be sending the same credential.
        let is_to_wait = wanted.request.sign_in && busy.is_some();
        if team.asked.is_empty() || is_to_wait {
            let about = |agent: &AgentId, why: AskError| {
                let name = agent.resource_name();
                let what = format!("{name} {why}");
                (name, what)
            };
            let (resource, what) = match (&busy, only) {
                (Some(agent), _) => about(agent, AskError::Busy),
                (None, Some(agent)) => about(agent, AskError::NotConnected),
                (None, None) => (
                    app.group.clone(),
                    format!(
                        "no agent of {} is connected to control, and {} is served by these alone",
                        app.group, app.name
                    ),
                ),
            };
            return Err(Refusal::Precondition { resource, what });
        }
        Ok(team)
    }

    /// Says in the audit log for whom it is done.
    async fn note_test(
        &self,
        wanted: &Wanted<'_>,
        question: &SignOnQuestion,
        operator: &Operator,
    ) -> Result<(), Refusal> {
        let user = wanted.user.resource_name();
        let named = match &*question.name {
            "" => String::new(),
            name => format!(" as {name}"),
        };
        let of = match &*question.provider {
            "" => String::new(),
            provider => format!(" of {}{provider}", IdentityProviderId::COLLECTION),
        };
        let asked = match &*question.path {
            "" => String::new(),
            path => format!(", GET {path}"),
        };
        let by = if question.sign_in {
            ", by the credential"
        } else {
            ""
        };
        let event = audit::Event {
            actor: operator.name.clone(),
            method: "TestSingleSignOn",
            resource: wanted.app.resource_name(),
            peer: operator.peer.clone(),
            subject: format!("{user}{of}{named}{by}{asked}"),
            ..audit::Event::default()
        };
        let row = audit::op(event, &self.context.clock);
        match self.context.store.txn(Vec::new(), vec![row]).await {
            // Without checks there is no conflict.
            Ok(_) | Err(TxnError::Conflict(_)) => Ok(()),
            Err(TxnError::Store(error)) => Err(error.into()),
        }
    }
}

impl<'r> Wanted<'r> {
    /// Every violation at once.
    fn read(request: &'r TestSingleSignOnRequest) -> Result<Self, Refusal> {
        let mut found = Vec::new();
        let app = take(app_id("name", &request.name), &mut found);
        let user = UserId::from_resource_name;
        let user = record::id("user", &request.user, UserId::COLLECTION, user);
        let user = take(user, &mut found);
        let provider = optional(&request.identity_provider, |name| {
            let read = IdentityProviderId::from_resource_name;
            record::id(
                "identity_provider",
                name,
                IdentityProviderId::COLLECTION,
                read,
            )
        });
        let provider = take(provider, &mut found);
        let agent = optional(&request.agent, |name| {
            record::id(
                "agent",
                name,
                AgentId::COLLECTION,
                AgentId::from_resource_name,
            )
        });
        let agent = take(agent, &mut found);
        let value = &request.identity_value;
        if value.len() > SSO_NAME_BYTES_MAX || value.chars().any(char::is_control) {
            let fault =
                format!("must have at most {SSO_NAME_BYTES_MAX} bytes, and no control characters");
            found.push(violation("identity_value", fault));
        }
        let path = &request.path;
        let is_path = path.starts_with('/')
            && path.len() <= PATH_BYTES_MAX
            && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.is_empty() && !is_path {
            let fault = format!(
                "must begin with /, and have at most {PATH_BYTES_MAX} visible characters of ASCII"
            );
            found.push(violation("path", fault));
        }
        match (app, user, provider, agent) {
            (Some(app), Some(user), Some(provider), Some(agent)) if found.is_empty() => Ok(Self {
                app,
                user,
                provider,
                agent,
                request,
            }),
            _ => Err(Refusal::Invalid(found)),
        }
    }

    /// The fabric's own account, if it is one. There must be such a user, or such a provider.
    async fn account(
        &self,
        store: &dyn Store,
        provider: Option<&IdentityProviderId>,
    ) -> Result<Option<User>, Refusal> {
        if let Some(provider) = provider {
            record::existing(store, &provider.resource_name()).await?;
            return Ok(None);
        }
        let entry = record::existing(store, &self.user.resource_name()).await?;
        let stored: UserRecord = record::decode(&entry)?;
        record::inner(&entry, stored.user).map(Some)
    }

    /// What agents are asked about this app.
    fn question(
        &self,
        (app, kind): (&App, &Kind),
        provider: Option<IdentityProviderId>,
        account: Option<&User>,
    ) -> Result<SignOnQuestion, Refusal> {
        let name = match kind {
            Kind::Kerberos(kerberos) => self.name(kerberos, account)?,
            Kind::Form(_) | Kind::Basic(_) if self.request.identity_value.is_empty() => {
                String::new()
            }
            Kind::Form(_) | Kind::Basic(_) => {
                let fault = "must be empty: the app is used with a credential, which is kept for the user or for all";
                return Err(Refusal::field("identity_value", fault));
            }
        };
        if self.request.sign_in && matches!(kind, Kind::Kerberos(_)) {
            let fault = "is for apps with credentials: with Kerberos the app is always asked for a page in the user's name";
            return Err(Refusal::field("sign_in", fault));
        }
        let nothing_is_asked_for = match kind {
            Kind::Kerberos(_) => None,
            Kind::Form(_) => Some("the form is sent, and no other page asked for"),
            Kind::Basic(_) if self.request.sign_in => None,
            Kind::Basic(_) => {
                Some("the app is asked for nothing, unless a credential is sent to it (sign_in)")
            }
        };
        if let Some(why) = nothing_is_asked_for.filter(|_| !self.request.path.is_empty()) {
            return Err(Refusal::field("path", format!("must be empty: {why}")));
        }
        Ok(SignOnQuestion {
            id: 0,
            patience_ms: 0,
            hosts: hosts(app),
            hide_forwarded: app.hide_forwarded,
            app: self.app.to_string(),
            name,
            user: self.user.to_string(),
            provider: provider.map(|id| id.to_string()).unwrap_or_default(),
            path: self.request.path.clone(),
            sign_in: self.request.sign_in,
        })
    }

    /// Who says who the user is; `None`: the fabric itself.
    fn provider(&self, app: &App, kind: &Kind) -> Result<Option<IdentityProviderId>, Refusal> {
        let of_names = match kind {
            Kind::Kerberos(kerberos) => &*kerberos.identity_provider,
            Kind::Form(_) | Kind::Basic(_) => "",
        };
        let admitted = match of_names {
            "" => &*app.identity_providers,
            named => &[named.to_owned()],
        };
        let local = || format!("{}{LOCAL}", IdentityProviderId::COLLECTION);
        let meant = match (&self.provider, admitted) {
            (Some(said), _) => said.resource_name(),
            (None, [only]) => only.clone(),
            (None, _) => local(),
        };
        if !admitted.is_empty() && !admitted.contains(&meant) {
            let fault = format!(
                "must be one of those whose users alone can be signed on to {}: {}",
                app.name,
                admitted.join(", ")
            );
            return Err(Refusal::field("identity_provider", fault));
        }
        let read = IdentityProviderId::from_resource_name(&meant);
        let read = read.and_then(Result::ok).ok_or(Refusal::Corrupt(meant))?;
        Ok(Some(read).filter(|provider| provider.as_str() != LOCAL))
    }

    /// What names the user to the app.
    fn name(&self, kerberos: &KerberosSignOn, account: Option<&User>) -> Result<String, Refusal> {
        let said = &self.request.identity_value;
        if !said.is_empty() {
            return Ok(said.clone());
        }
        let unknown = |what: &str| {
            let fault = format!("must be set: {what}");
            Err(Refusal::field("identity_value", fault))
        };
        match kerberos.identity() {
            SignOnIdentity::User => Ok(self.user.to_string()),
            SignOnIdentity::Email => match account.map(|user| &*user.email) {
                Some("") => {
                    unknown("the user has no address of e-mail, which names them to the app")
                }
                Some(email) => Ok(email.to_owned()),
                None => unknown(
                    "the address of e-mail names users to the app, and the identity provider says it when they sign in",
                ),
            },
            SignOnIdentity::Unspecified | SignOnIdentity::Claim => {
                let claim = match &*kerberos.claim {
                    "" => UPN_CLAIM,
                    claim => claim,
                };
                unknown(&format!(
                    "the claim {claim} names users to the app, and the identity provider says it when they sign in"
                ))
            }
        }
    }
}

async fn ask(agent: AgentId, claim: Claim, question: SignOnQuestion) -> SignOnReport {
    let answer = claim.ask(question).await;
    let findings =
        answer.unwrap_or_else(|error| vec![finding(SignOnVerdict::Failed, error.to_string())]);
    report(&agent, findings)
}

/// By which hosts users come to the parts of an app, as far as one of each is known: that of its tile, or the first that is no wildcard.
pub(super) fn hosts(app: &App) -> HashMap<String, String> {
    let tile = app.tile.as_ref().and_then(|tile| tile.host.parse().ok());
    let segments = app.segments.iter();
    let segments = segments.map(|segment| (&*segment.id, &segment.hosts));
    let parts = std::iter::once(("", &app.hosts)).chain(segments);
    let known = parts.filter_map(|(part, hosts)| {
        let host = host_of(hosts, tile.as_ref())?;
        Some((part.to_owned(), host.to_string()))
    });
    known.collect()
}

fn host_of(hosts: &[String], tile: Option<&Hostname>) -> Option<Hostname> {
    let patterns = hosts.iter().filter_map(|host| host.parse().ok());
    let patterns: Vec<HostPattern> = patterns.collect();
    let of_tile = tile.filter(|tile| patterns.iter().any(|pattern| pattern.matches(tile)));
    let first = patterns.iter().find_map(|pattern| match pattern {
        HostPattern::Exact(host) => Some(host),
        HostPattern::Wildcard(_) => None,
    });
    of_tile.or(first).cloned()
}

/// An app that agents sign nobody on to.
fn without(app: &App) -> Refusal {
    let told = if app.identity_fields.is_empty() && app.assertion_field.is_empty() {
        ""
    } else {
        ": it is told of users in fields, by edges, which agents have no part in"
    };
    Refusal::Precondition {
        resource: app.name.clone(),
        what: format!("{} has no single sign-on{told}", app.name),
    }
}

/// What keeps an account of the fabric's own from the app before any agent is asked.
fn kept_out(account: &User, app: &App) -> Vec<SignOnFinding> {
    let about = |found: String| SignOnFinding {
        check: ACCOUNT_CHECK.to_owned(),
        subject: account.name.clone(),
        verdict: SignOnVerdict::Warning.into(),
        found,
        ..SignOnFinding::default()
    };
    let is_assigned = app.assignment.as_ref().is_some_and(|assigned| {
        let mut groups = account.user_groups.iter();
        assigned.everyone
            || assigned.users.contains(&account.name)
            || groups.any(|group| assigned.user_groups.contains(group))
    });
    let disabled = account
        .disabled
        .then(|| about("is disabled: nobody signs in by it".to_owned()));
    let apart = (!is_assigned).then(|| {
        about(format!(
            "is not assigned to {}: edges refuse requests of theirs, whatever agents say",
            app.name
        ))
    });
    disabled.into_iter().chain(apart).collect()
}

/// An agent that serves the app.
async fn member(store: &dyn Store, agent: &AgentId, group: &str) -> Result<AgentId, Refusal> {
    let entry = record::existing(store, &agent.resource_name()).await?;
    let record: AgentRecord = record::decode(&entry)?;
    if serves(&record, group) {
        Ok(agent.clone())
    } else {
        let fault = format!("must be of {group}, whose agents serve the app, and not revoked");
        Err(Refusal::field("agent", fault))
    }
}

/// All agents that serve the app, in order.
async fn members(store: &dyn Store, group: &str) -> Result<Vec<AgentId>, Refusal> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.range(AgentId::COLLECTION, after.as_deref(), READ_MAX);
        let page = page.await?;
        for entry in &page.entries {
            let record: AgentRecord = record::decode(entry)?;
            if serves(&record, group)
                && let Some(Ok(id)) = AgentId::from_resource_name(&entry.key)
            {
                found.push(id);
            }
        }
        if !page.more {
            return Ok(found);
        }
        after = page.entries.last().map(|entry| entry.key.clone());
    }
}

fn serves(record: &AgentRecord, group: &str) -> bool {
    let agent = record.agent.as_ref();
    agent.is_some_and(|agent| agent.group == group && !agent.revoked)
}

fn report(agent: &AgentId, findings: Vec<SignOnFinding>) -> SignOnReport {
    SignOnReport {
        agent: agent.resource_name(),
        findings,
    }
}

/// About an agent itself.
fn finding(verdict: SignOnVerdict, found: String) -> SignOnFinding {
    SignOnFinding {
        check: AGENT_CHECK.to_owned(),
        verdict: verdict.into(),
        found,
        ..SignOnFinding::default()
    }
}

fn take<T>(read: Result<T, Violation>, found: &mut Vec<Violation>) -> Option<T> {
    read.map_err(|fault| found.push(fault)).ok()
}

/// What may be left out.
fn optional<T>(
    name: &str,
    read: impl FnOnce(&str) -> Result<T, Violation>,
) -> Result<Option<T>, Violation> {
    if name.is_empty() {
        Ok(None)
    } else {
        read(name).map(Some)
    }
}
