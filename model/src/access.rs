//! The decision whether a caller may use an app. No stream is opened without the [`Permit`] that only [`authorise`] makes.

use std::sync::Arc;

use crate::{
    app::{Access, App},
    service::Service,
    user::User,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that the fabric knows.
    Anonymous,
    /// Somebody who has signed in, and whose session goes on.
    User(Arc<User>),
    /// A program that has shown a service token which holds.
    Service(Arc<Service>),
}

/// Proof that a caller may use an app.
#[derive(Debug)]
pub struct Permit<'a> {
    app: &'a App,
    caller: Caller,
}

/// Why a caller may not use an app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The app is for users who have signed in.
    #[error("the caller has not signed in")]
    NotSignedIn,
    /// The user has signed in, but by a provider whose word the app does not take.
    #[error("the caller has signed in by another provider")]
    OtherProvider,
    /// The user is not among those whom the app is for.
    #[error("{} is not assigned to the app", .0.id)]
    NotAssigned(Arc<User>),
    /// The program is not among those whom the app is for.
    #[error("{} is not assigned to the app", .0.id)]
    ServiceNotAssigned(Arc<Service>),
}

impl<'a> Permit<'a> {
    /// The app that it is for.
    pub fn app(&self) -> &'a App {
        self.app
    }

    /// Who was admitted.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Decides whether `caller` may use `app`.
///
/// # Errors
/// Why not.
pub fn authorise(app: &App, caller: Caller) -> Result<Permit<'_>, Denial> {
    match (&app.access, &caller) {
        (Access::SignIn(_), Caller::Anonymous) => Err(Denial::NotSignedIn),
        (Access::SignIn(_), Caller::User(user))
            if !app.takes_word_of(user.authentication.provider.as_ref()) =>
        {
            Err(Denial::OtherProvider)
        }
        (Access::SignIn(assignment), Caller::User(user)) if !assignment.holds(user) => {
            Err(Denial::NotAssigned(Arc::clone(user)))
        }
        (Access::SignIn(assignment), Caller::Service(service))
            if !assignment.holds_service(&service.id) =>
        {
            Err(Denial::ServiceNotAssigned(Arc::clone(service)))
        }
        (Access::Passthrough, _) | (Access::SignIn(_), Caller::User(_) | Caller::Service(_)) => {
            Ok(Permit { app, caller })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Assignment;

    #[test]
    fn only_the_assigned_get_a_permit_and_only_when_signed_in() {
        let someone = |id: &str| Arc::new(User::new(id.parse().unwrap()));
        let user = |id| Caller::User(someone(id));
        let program = |id: &str| Arc::new(Service::new(id.parse().unwrap()));
        let service = |id| Caller::Service(program(id));
        let app = |access| App::new("wiki".parse().unwrap(), "office".parse().unwrap(), access);
        let open = app(Access::Passthrough);
        let closed = app(Access::SignIn(Assignment {
            users: ["alice".parse().unwrap()].into(),
            services: ["ci".parse().unwrap()].into(),
            ..Assignment::default()
        }));
        for (app, caller, want) in [
            (&open, Caller::Anonymous, None),
            (&open, user("bob"), None),
            (&closed, Caller::Anonymous, Some(Denial::NotSignedIn)),
            (
                &closed,
                user("bob"),
                Some(Denial::NotAssigned(someone("bob"))),
            ),
            (&closed, user("alice"), None),
            (&open, service("cron"), None),
            (&closed, service("ci"), None),
            (
                &closed,
                service("alice"),
                Some(Denial::ServiceNotAssigned(program("alice"))),
            ),
        ] {
            assert_eq!(authorise(app, caller.clone()).err(), want, "{caller:?}");
        }
    }

    #[test]
    fn an_app_takes_the_word_of_the_providers_that_it_names() {
        let user = |provider: Option<&str>| {
            let mut user = User::new("alice".parse().unwrap());
            user.authentication.provider = provider.map(|id| id.parse().unwrap());
            Caller::User(Arc::new(user))
        };
        let everyone = Access::SignIn(Assignment {
            everyone: true,
            ..Assignment::default()
        });
        let id = "wiki".parse().unwrap();
        let mut app = App::new(id, "office".parse().unwrap(), everyone);
        for (named, provider, is_good) in [
            (&[][..], None, true),
            (&[], Some("entra"), true),
            (&["local"], None, true),
            (&["local"], Some("entra"), false),
            (&["entra"], None, false),
            (&["entra"], Some("entra"), true),
            (&["entra"], Some("keycloak"), false),
            (&["entra", "local"], None, true),
        ] {
            app.identity_providers = named.iter().map(|id| id.parse().unwrap()).collect();
            let denied = authorise(&app, user(provider)).err();
            let want = (!is_good).then_some(Denial::OtherProvider);
            assert_eq!(denied, want, "{named:?} {provider:?}");
        }
    }
}
