//! `adit signins`: who came, from where, to what.

use std::time::{Duration, SystemTime};

use clap::builder::RangedU64ValueParser;
use model::name::{AccessRuleId, AppId, UserId};
use proto::admin::{ListSignInsRequest, SignIn, SignInResult};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    parse,
    screen::Screen,
    table::{self, Row},
};

pub(super) const EXAMPLES: &str = "Examples:
  adit signins --since 24h
  adit signins --user alice --result refused
  adit signins --app wiki --limit 10 --output json
  adit signins --rule office-only --since 7d
  adit signins --follow";

/// Between two looks at what is new.
const LOOK: Duration = Duration::from_secs(1);
/// Sign-ins that are shown when nothing else is said.
const LIMIT_DEFAULT: usize = 1_000;

/// `adit signins`.
#[derive(Debug, clap::Args)]
pub(crate) struct SignIns {
    /// Only what this user did.
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Only what was about this app.
    #[arg(long, value_name = "ID")]
    app: Option<AppId>,
    /// Only what this access rule refused, or asked more for.
    #[arg(long, value_name = "ID")]
    rule: Option<AccessRuleId>,
    /// Only what ended so.
    #[arg(long, value_enum)]
    result: Option<ResultWord>,
    /// Only since a time (2026-01-31T08:00:00Z) or within a span (2h).
    #[arg(long, value_name = "TIME", value_parser = parse::since)]
    since: Option<SystemTime>,
    /// How many at the most, the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = LIMIT_DEFAULT, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    /// Go on with what comes, one line each, until interrupted; in JSON one object a line.
    #[arg(long)]
    follow: bool,
}

/// Words for what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ResultWord {
    /// Somebody signed in.
    SignedIn,
    /// A sign-in was refused.
    Refused,
    /// Somebody signed out.
    SignedOut,
    /// Somebody came to an app for the first time in a session.
    AppOpened,
    /// Somebody may not use an app, or has to show more for it.
    AppDenied,
}

impl ResultWord {
    fn wire(self) -> SignInResult {
        match self {
            Self::SignedIn => SignInResult::SignedIn,
            Self::Refused => SignInResult::Refused,
            Self::SignedOut => SignInResult::SignedOut,
            Self::AppOpened => SignInResult::AppOpened,
            Self::AppDenied => SignInResult::AppDenied,
        }
    }
}

fn word(result: SignInResult) -> &'static str {
    match result {
        SignInResult::Unspecified => "unknown",
        SignInResult::SignedIn => "signed-in",
        SignInResult::Refused => "refused",
        SignInResult::SignedOut => "signed-out",
        SignInResult::AppOpened => "app-opened",
        SignInResult::AppDenied => "app-denied",
    }
}

impl SignIns {
    pub(crate) async fn run(&self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let found = self.fetch(control, "", self.limit).await?;
        if !self.follow {
            let views: Vec<_> = found.into_iter().map(SignInView::from).collect();
            return table::list(screen, &views, "Nobody came.", control.clock.wall());
        }
        let mut last = String::new();
        let mut new = found;
        loop {
            if let Some(newest) = new.first() {
                last.clone_from(&newest.name);
            }
            for sign_in in new.into_iter().rev() {
                let view = SignInView::from(sign_in);
                table::follow(screen, &view, age::to_the_second(view.time.as_deref()))?;
            }
            tokio::time::sleep(LOOK).await;
            new = self.fetch(control, &last, usize::MAX).await?;
        }
    }

    /// The newest that are wanted, of those that control heard of after `after`; newest first.
    async fn fetch(
        &self,
        control: &Control,
        after: &str,
        limit: usize,
    ) -> Result<Vec<SignIn>, Failure> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let left = u32::try_from(limit - found.len()).unwrap_or(u32::MAX);
            let request = ListSignInsRequest {
                page_size: PAGE_SIZE.min(left),
                page_token,
                user: self
                    .user
                    .as_ref()
                    .map(UserId::resource_name)
                    .unwrap_or_default(),
                app: self
                    .app
                    .as_ref()
                    .map(AppId::resource_name)
                    .unwrap_or_default(),
                rule: self
                    .rule
                    .as_ref()
                    .map(AccessRuleId::resource_name)
                    .unwrap_or_default(),
                result: self.result.map_or(0, |result| result.wire().into()),
                since: self.since.map(proto::time::wire_timestamp),
                after: after.to_owned(),
            };
            let mut sign_ins = control.sign_ins();
            let page = sign_ins.list_sign_ins(request);
            let page = control.call("list sign-ins", page).await?;
            found.extend(page.sign_ins);
            page_token = page.next_page_token;
            if page_token.is_empty() || found.len() >= limit {
                return Ok(found);
            }
        }
    }
}

/// Keys of a sign-in in JSON.
#[derive(Debug, Serialize)]
struct SignInView {
    name: String,
    time: Option<String>,
    result: &'static str,
    user: String,
    app: String,
    edge: String,
    client: String,
    user_agent: String,
    request_id: String,
    reason: String,
    methods: Vec<String>,
    provider: String,
    rule: String,
    #[serde(skip)]
    at: Option<prost_types::Timestamp>,
}

impl From<SignIn> for SignInView {
    fn from(sign_in: SignIn) -> Self {
        Self {
            result: word(sign_in.result()),
            name: sign_in.name,
            time: age::rfc3339(sign_in.time),
            user: sign_in.user,
            app: sign_in.app,
            edge: sign_in.edge,
            client: sign_in.client,
            user_agent: sign_in.user_agent,
            request_id: sign_in.request_id,
            reason: sign_in.reason,
            methods: sign_in.methods,
            provider: sign_in.provider,
            rule: sign_in.rule,
            at: sign_in.time,
        }
    }
}

impl Row for SignInView {
    const COLUMNS: &'static [&'static str] = &[
        "WHEN", "USER", "RESULT", "APP", "CLIENT", "REASON", "RULE", "EDGE", "REQUEST",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            age::relative(self.at.as_ref(), now),
            table::or_dash(table::id(&self.user)),
            self.result.to_owned(),
            table::or_dash(table::id(&self.app)),
            table::or_dash(&self.client),
            table::or_dash(&self.reason),
            table::or_dash(table::id(&self.rule)),
            table::or_dash(table::id(&self.edge)),
            table::or_dash(&self.request_id),
        ]
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn results_are_shown_as_they_are_asked_for() {
        for result in ResultWord::value_variants() {
            let asked = result.to_possible_value().unwrap();
            assert_eq!(asked.get_name(), word(result.wire()));
        }
    }
}
