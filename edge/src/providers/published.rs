//! Identity providers as the snapshot has them.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use model::{
    identity_provider::{IdentityProvider, LOCAL},
    name::IdentityProviderId,
};
use proto::{fabric, identity_provider, time::system_time};
use runtime::Secret;

/// One provider, with what the fabric shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Published {
    /// What the operator says of it.
    pub settings: Arc<IdentityProvider>,
    /// The client secret, or the private key in PEM.
    pub credential: Secret<String>,
    /// When it was made, or what says who its users are changed last, in milliseconds since 1970, by whole seconds, as providers' times are.
    /// What began before is over: it may be of another provider that had the id. There is no leeway: where clocks differ, who signs in right
    /// after such a change has to do so again.
    since_ms: i64,
}

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(String);

impl Published {
    /// Reads what control says of `id`.
    pub(crate) fn read(id: &str, wire: &fabric::IdentityProvider) -> Result<Self, ProviderError> {
        let said = wire.published.as_ref();
        let said = said.ok_or_else(|| ProviderError("it says nothing".to_owned()))?;
        let settings = identity_provider::read(id, said).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            ProviderError(faults.join(", "))
        })?;
        let since = said.sessions_since.as_ref().or(said.create_time.as_ref());
        let since = since.and_then(|since| system_time(since).ok());
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        let since_ms = crate::sign_in::session::milliseconds(since);
        Ok(Self {
            settings: Arc::new(settings),
            credential: Secret::new(wire.credential.clone()),
            since_ms: since_ms - since_ms % 1_000,
        })
    }
}

/// All of them, in an order that is the same at every edge.
#[derive(Debug, Default)]
pub(crate) struct Roll(BTreeMap<IdentityProviderId, Arc<Published>>);

impl Roll {
    /// Adds one.
    pub(crate) fn add(&mut self, provider: &Arc<Published>) {
        let id = provider.settings.id.clone();
        self.0.insert(id, Arc::clone(provider));
    }

    /// One by which users sign in now.
    pub(crate) fn get(&self, id: &IdentityProviderId) -> Option<&Arc<Published>> {
        self.0.get(id).filter(|one| !one.settings.disabled)
    }

    /// One by which users sign in now, by its own name for itself.
    pub(crate) fn of_issuer(&self, issuer: &str) -> impl Iterator<Item = &Arc<Published>> {
        self.usable()
            .filter(move |one| one.settings.issuer.as_str() == issuer)
    }

    /// Those by which users sign in now.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Arc<Published>> {
        self.0.values().filter(|one| !one.settings.disabled)
    }

    /// Whether a session that began then by that provider's word goes on; `None` is the fabric itself.
    pub(crate) fn stand_by(&self, provider: Option<&IdentityProviderId>, began_ms: i64) -> bool {
        provider.is_none_or(|id| self.get(id).is_some_and(|one| one.since_ms <= began_ms))
    }
}

/// Those among which a user chooses, where an app takes the word of `named` alone; empty: of all.
#[derive(Debug, PartialEq)]
pub(crate) struct Choices {
    /// Ids and what they are called, in order of that.
    pub providers: Vec<(IdentityProviderId, String)>,
    /// The fabric's own accounts.
    pub local: bool,
}

impl Choices {
    /// Among those of `roll`.
    pub(crate) fn of(roll: &Roll, named: &[IdentityProviderId]) -> Self {
        let is_named = |id: &str| named.is_empty() || named.iter().any(|one| one.as_str() == id);
        let mut providers: Vec<_> = roll
            .usable()
            .filter(|one| is_named(one.settings.id.as_str()))
            .map(|one| (one.settings.id.clone(), one.settings.name().to_owned()))
            .collect();
        providers.sort_unstable_by(|(one, a), (other, b)| (a, one).cmp(&(b, other)));
        Self {
            providers,
            local: is_named(LOCAL),
        }
    }

    /// The only one there is, if there is but one and it is a provider.
    pub(crate) fn only(&self) -> Option<&IdentityProviderId> {
        match &self.providers[..] {
            [(only, _)] if !self.local => Some(only),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use proto::{admin, time::wire_timestamp};

    use super::*;

    pub(crate) fn published(
        id: &str,
        change: impl FnOnce(&mut admin::IdentityProvider),
    ) -> Arc<Published> {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut said = admin::IdentityProvider {
            issuer: format!("https://{id}.example"),
            client_id: "adit".to_owned(),
            create_time: Some(wire_timestamp(made)),
            ..Default::default()
        };
        change(&mut said);
        let wire = fabric::IdentityProvider {
            published: Some(said),
            credential: "s3cret".to_owned(),
        };
        Arc::new(Published::read(id, &wire).unwrap())
    }

    fn roll() -> Roll {
        let mut roll = Roll::default();
        roll.add(&published("a", |one| one.display_name = "Zebra".to_owned()));
        roll.add(&published("b", |one| {
            let changed = SystemTime::UNIX_EPOCH + Duration::from_millis(2_000_900);
            one.sessions_since = Some(wire_timestamp(changed));
        }));
        roll.add(&published("c", |one| one.disabled = true));
        roll
    }

    #[test]
    fn sessions_go_on_as_long_as_their_provider_is_what_it_was() {
        let roll = roll();
        for (provider, began_ms, want) in [
            (None, 0, true),
            (Some("a"), 1_000_000, true),
            (Some("a"), 999_999, false),
            // Changed since.
            (Some("b"), 1_999_999, false),
            (Some("b"), 2_000_000, true),
            (Some("c"), 2_000_000, false),
            (Some("d"), 2_000_000, false),
        ] {
            let id = provider.map(|id| id.parse().unwrap());
            let stands = roll.stand_by(id.as_ref(), began_ms);
            assert_eq!(stands, want, "{provider:?} {began_ms}");
        }
    }

    #[test]
    fn users_choose_among_those_that_the_app_names() {
        let roll = roll();
        let check = |named: &[&str]| {
            let named: Vec<_> = named.iter().map(|id| id.parse().unwrap()).collect();
            let choices = Choices::of(&roll, &named);
            let providers = choices.providers.iter();
            let names: Vec<_> = providers.map(|(_, name)| name.clone()).collect();
            let only = choices.only().map(ToString::to_string);
            (names, choices.local, only)
        };
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(check(&[]), (names(&["Zebra", "b"]), true, None));
        assert_eq!(
            check(&["a"]),
            (names(&["Zebra"]), false, Some("a".to_owned()))
        );
        assert_eq!(check(&["a", "local"]), (names(&["Zebra"]), true, None));
        assert_eq!(check(&["c", "d"]), (Vec::new(), false, None));
    }
}
