//! The account as its user sees it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use proto::fabric::{
    AccountPasskey, EndUserSessionsRequest, ShowAccountRequest, ShowAccountResponse, Shown,
};

use super::{Call, keep, redirect, second_factor::said_of};
use crate::{
    answer,
    failure::RequestError,
    page::{self, Page},
    sign_in::{
        accounts::{AccountsError, SecondFactorQuestion},
        second_factor_pages as pages,
        session::{Browser, Session},
    },
};

const NOT_EVERYWHERE: &str =
    "Signing out everywhere is not possible right now. Please try again in a moment.";

impl Call<'_> {
    /// The account's page; without control only what the session knows.
    pub(super) async fn home(&self) -> Result<Response<Bytes>, RequestError> {
        let Some(session) = self.session() else {
            return redirect("/sign-in");
        };
        let account = match session.user.authentication.provider {
            Some(_) => None,
            None => self.account(self.shown(&session)).await.ok(),
        };
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let token = page::escape(&self.token(&browser)?);
        let user = &session.user;
        let (name, id) = (page::escape(user.name()), page::escape(user.id.as_str()));
        let details = match (&account, &user.authentication.provider) {
            (Some(account), _) => self.details(account),
            (None, Some(_)) => String::new(),
            (None, None) => {
                "<p class=\"aside\">Your account cannot be shown right now.</p>\n".to_owned()
            }
        };
        let everywhere = match user.authentication.provider {
            Some(_) => String::new(),
            None => format!(
                r#"<form method="post" action="/sign-out-everywhere">
<input type="hidden" name="token" value="{token}">
<button>Sign out everywhere else</button>
</form>
"#
            ),
        };
        let main = format!(
            r#"<h1>You are signed in</h1>
<p><b>{name}</b> ({id})</p>
{details}<form method="post" action="/sign-out">
<input type="hidden" name="token" value="{token}">
<button>Sign out</button>
</form>
{everywhere}"#
        );
        let page = Page {
            title: "You are signed in",
            nonce: self.id,
            main: &main,
            script: "",
            form_action: "'self'",
        };
        keep(page.respond(StatusCode::OK), is_new.then_some(&browser))
    }

    /// What there is to know of it, and to change.
    fn details(&self, account: &ShowAccountResponse) -> String {
        let mut rows = vec![(
            "Password",
            format!(
                "{} <a href=\"/change-password\">Change password</a>",
                self.since("chosen", account.password_ms)
            ),
        )];
        if account.second_factors {
            rows.push(("Authenticator app", self.authenticator(account)));
            rows.push(("Passkeys", self.passkeys(account)));
        }
        let rows = rows.into_iter();
        let rows: String = rows
            .map(|(what, words)| format!("<dt>{what}</dt><dd>{words}</dd>\n"))
            .collect();
        format!("<dl>\n{rows}</dl>\n")
    }

    fn passkeys(&self, account: &ShowAccountResponse) -> String {
        let line = |passkey: &AccountPasskey| {
            let used = match passkey.used_ms {
                0 => "not used yet".to_owned(),
                used_ms => self.since("used", used_ms),
            };
            let [name, id] = [&passkey.display_name, &passkey.id].map(|text| page::escape(text));
            let synced = if passkey.synced { ", synced" } else { "" };
            format!("{name}, {used}{synced} <a href=\"/passkeys/remove?id={id}\">Remove</a><br>\n")
        };
        let lines: String = account.passkeys.iter().map(line).collect();
        format!("{lines}<a href=\"/passkeys/add\">Add a passkey</a>")
    }

    fn authenticator(&self, account: &ShowAccountResponse) -> String {
        if account.authenticator_ms == 0 {
            return "none <a href=\"/authenticator\">Set up</a>".to_owned();
        }
        let since = self.since("set up", account.authenticator_ms);
        let codes = account.recovery_codes;
        let plural = if codes == 1 { "" } else { "s" };
        let is_last = account.second_factor_required && account.passkeys.is_empty();
        let remove = if is_last {
            ""
        } else {
            " <a href=\"/authenticator/remove\">Remove</a>"
        };
        format!(
            "{since}, {codes} recovery code{plural} left <a href=\"/authenticator\">Replace</a>{remove}"
        )
    }

    /// How long ago something happened.
    pub(super) fn since(&self, what: &str, ms: i64) -> String {
        let then = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
        let age = self.now.duration_since(SystemTime::UNIX_EPOCH + then);
        match age.ok().and_then(answer::in_words) {
            Some(age) => format!("{what} {age} ago"),
            None => format!("{what} just now"),
        }
    }

    /// Ends every session of the user but this one, which begins anew and lives no longer.
    pub(super) async fn sign_out_everywhere(&self) -> Result<Response<Bytes>, RequestError> {
        let Some(session) = self.own_session() else {
            return redirect("/sign-in");
        };
        let request = EndUserSessionsRequest {
            shown: Some(self.shown(&session)),
        };
        let asked = |answer| SecondFactorQuestion::EndUserSessions(request, answer);
        let said = self.edge.accounts.of_second_factors(asked).await;
        let mut page = redirect("/")?;
        match said_of(said, NOT_EVERYWHERE) {
            Ok(granted) => {
                let session = session.anew(granted.as_of_ms, granted.proof);
                self.give(&mut page, &session)?;
                Ok(page)
            }
            Err((status, fault)) => Ok(pages::refused(status, self.id, &fault)),
        }
    }

    /// What a session shows.
    pub(super) fn shown(&self, session: &Session) -> Shown {
        Shown {
            user: session.user.id.to_string(),
            as_of_ms: session.began_ms,
            methods: session.user.authentication.methods.clone(),
            client: self.client.clone(),
            request_id: self.id.to_string(),
            proof: session.proof.clone(),
        }
    }

    pub(super) async fn account(&self, shown: Shown) -> Result<ShowAccountResponse, AccountsError> {
        let request = ShowAccountRequest { shown: Some(shown) };
        let asked = |answer| SecondFactorQuestion::ShowAccount(request, answer);
        self.edge.accounts.of_second_factors(asked).await
    }
}
