//! What operators do about users' second factors.

use std::time::SystemTime;

use model::name::UserId;
use proto::admin::{DeletePasskeyRequest, ListPasskeysRequest, Passkey, ResetSecondFactorsRequest};
use serde::Serialize;

use super::UserView;
use crate::cli::{
    age,
    client::Control,
    failure::Failure,
    screen::{Output, Screen},
    settings,
    table::{self, Row},
};

/// What a user has besides a password, and whether that is less than it has to be.
pub(super) fn words(user: &UserView) -> String {
    let mut all = Vec::new();
    if user.authenticator_time.is_some() {
        all.push("authenticator app".to_owned());
    }
    match user.passkeys {
        0 => {}
        1 => all.push("1 passkey".to_owned()),
        passkeys => all.push(format!("{passkeys} passkeys")),
    }
    if all.is_empty() && user.second_factor_needed == Some(true) {
        all.push("none yet; to be set up at the next sign-in".to_owned());
    }
    all.join(", ")
}

/// Whether the fabric asks the user for one.
pub(super) async fn is_needed(user: &UserView, control: &Control) -> Result<bool, Failure> {
    let settings = settings::get(control).await?;
    // Control has read them before it kept them.
    let settings = proto::settings::settings(&settings).unwrap_or_default();
    Ok(settings.needs_second_factor(&user.user_groups))
}

/// Takes everything away that the user shows besides the password.
pub(super) async fn reset(
    id: &UserId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("reset the second factors of {name}");
    let request = ResetSecondFactorsRequest { name, etag };
    let mut service = control.second_factors();
    let answer = service.reset_second_factors(request);
    let view = UserView::from(control.call(doing, answer).await?);
    match screen.output {
        Output::Json => screen.json(&view),
        Output::Table => table::done(screen, &view.name, "has no second factor any more"),
    }
}

/// Lists a user's passkeys.
pub(super) async fn list(
    id: &UserId,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let parent = id.resource_name();
    let doing = format!("list the passkeys of {parent}");
    let mut service = control.second_factors();
    let answer = service.list_passkeys(ListPasskeysRequest { parent });
    let listed = control.call(doing, answer).await?;
    let views: Vec<_> = listed.passkeys.into_iter().map(PasskeyView::from).collect();
    let empty = "The user has no passkeys. Users add them at the sign-in host.";
    table::list(screen, &views, empty, control.clock.wall())
}

/// Takes one away.
pub(super) async fn delete(
    id: &UserId,
    passkey: &str,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = format!("{}/passkeys/{passkey}", id.resource_name());
    let doing = format!("delete {name}");
    let request = DeletePasskeyRequest { name: name.clone() };
    let mut service = control.second_factors();
    control.call(doing, service.delete_passkey(request)).await?;
    table::done(screen, &name, "deleted")
}

/// Keys of a passkey in JSON.
#[derive(Debug, Serialize)]
struct PasskeyView {
    name: String,
    display_name: String,
    create_time: Option<String>,
    use_time: Option<String>,
    synced: bool,
    #[serde(skip)]
    made: Option<prost_types::Timestamp>,
    #[serde(skip)]
    used: Option<prost_types::Timestamp>,
}

impl From<Passkey> for PasskeyView {
    fn from(passkey: Passkey) -> Self {
        Self {
            name: passkey.name,
            display_name: passkey.display_name,
            create_time: age::rfc3339(passkey.create_time),
            use_time: age::rfc3339(passkey.use_time),
            synced: passkey.synced,
            made: passkey.create_time,
            used: passkey.use_time,
        }
    }
}

impl Row for PasskeyView {
    const COLUMNS: &'static [&'static str] = &["PASSKEY", "NAME", "ADDED", "USED", "SYNCED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        let id = self.name.rsplit('/').next().unwrap_or_default();
        vec![
            id.to_owned(),
            self.display_name.clone(),
            table::or_dash(&age::relative(self.made.as_ref(), now)),
            table::or_dash(&age::relative(self.used.as_ref(), now)),
            if self.synced { "yes" } else { "no" }.to_owned(),
        ]
    }
}
