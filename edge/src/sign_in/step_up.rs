//! What becomes of a request that access rules refuse, and of a user who has to show more than a session.
//!
//! People are led to the sign-in host, with an errand that says what is wanted; programs are told in the manner of RFC 9470.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use model::{
    access::{
        Denial, RuleDenial,
        needs::{Needs, has_factors},
    },
    app::App,
    name::TermsId,
    terms::{self, TERMS_MAX, TermsInForce},
    user::User,
};

use super::{
    Arrival,
    credential::Credential,
    navigates, not_assigned,
    session::{Errand, Session, milliseconds},
    target_of,
    token::TokenError,
};
use crate::{failure::RequestError, user_body::UserBody};

/// What a user is told who has signed in and is asked to do it again.
pub(super) const AGAIN: &str = "This app asks you to sign in again.";
/// What a user is told whom this fabric cannot ask for more.
pub(super) const MORE: &str = "This app asks for more than your sign-in has shown, such as a second factor. Sign out and sign in with it, or ask your administrator how.";

/// What the sign-in host has to do for an errand of a user who has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing: the session is enough.
    Nothing,
    /// Signing in once more.
    FreshSignIn,
    /// A second factor of an account of the fabric's own.
    SecondFactor,
    /// A second factor, or a class of sign-in, that the session does not have.
    More,
    /// To accept these terms.
    Terms(TermsId),
}

/// What an errand asks for that the session has not shown. Terms come last: only who has shown who they are accepts anything.
pub(super) fn wanted(
    session: &Session,
    errand: Option<&Errand>,
    in_force: &TermsInForce,
    now: SystemTime,
) -> Wanted {
    let Some(Errand(errand)) = errand else {
        return Wanted::Nothing;
    };
    let shown = &session.user.authentication;
    let lacks_class = !errand.classes.is_empty() && !errand.classes.contains(&shown.class);
    let lacks_factor = errand.mfa && !has_factors(&shown.methods);
    if lacks_class || (lacks_factor && shown.provider.is_some()) {
        return Wanted::More;
    }
    // As rules at the app count, of both times: by the later alone who came back would be led here again.
    let at_ms = shown.at_ms.min(session.life_began_ms);
    let age = milliseconds(now).saturating_sub(at_ms);
    let age = u64::try_from(age).unwrap_or(0);
    if errand.sign_in_within_ms > 0 && age > errand.sign_in_within_ms {
        // Before the second factor, which is asked for with it or after it.
        return Wanted::FreshSignIn;
    }
    if lacks_factor {
        return Wanted::SecondFactor;
    }
    let asked = errand.terms.iter().filter_map(|id| id.parse().ok());
    let asked: Vec<TermsId> = asked.take(TERMS_MAX).collect();
    let accepted = &session.user.accepted;
    let lacking = terms::missing(&asked, in_force, accepted, milliseconds(now));
    match lacking.into_iter().next() {
        Some(terms) => Wanted::Terms(terms),
        None => Wanted::Nothing,
    }
}

impl Arrival<'_> {
    /// The answer to a request that is refused, by what it has shown.
    pub(crate) async fn deny(
        &self,
        app: &App,
        (denial, credential): (Denial, Option<&Credential>),
        request: Request<UserBody>,
    ) -> Result<Response<Bytes>, RequestError> {
        if let (Denial::OtherProvider, Some(Credential::Bearer(session))) = (&denial, credential) {
            // The token is good, and another one of the same terminal would be as good.
            return Err(other_provider(&session.user));
        }
        if let (Denial::OtherProvider, Some(Credential::ByProvider(_))) = (&denial, credential) {
            return Err(self.refused(TokenError::Refused));
        }
        match denial {
            Denial::NotSignedIn | Denial::OtherProvider => self.challenge(app, request).await,
            Denial::NotAssigned(user) => Err(not_assigned(&user)),
            Denial::ServiceNotAssigned(service) => {
                Err(RequestError::ServiceNotAssigned(service.id.clone()))
            }
            Denial::ProgramNotAssigned(program) => {
                Err(RequestError::ProgramNotAssigned(program.to_string()))
            }
            Denial::Blocked(RuleDenial { rule, message }) => Err(RequestError::Blocked {
                rule,
                words: message,
            }),
            Denial::Lacking { denial, needs } if needs.device_certificate => {
                let RuleDenial { rule, message } = denial;
                Err(RequestError::DeviceRequired {
                    rule,
                    words: message,
                })
            }
            Denial::Lacking { needs, .. } if navigates(&request) => self.lead_away(
                request.headers(),
                target_of(&request),
                &needs,
                Some(app),
                None,
            ),
            Denial::Lacking { denial, needs } if needs.are_terms_alone() => {
                Err(RequestError::TermsRequired {
                    rule: denial.rule,
                    words: terms_words(&denial.message, credential),
                })
            }
            Denial::Lacking { denial, needs } => Err(RequestError::StepUp {
                challenge: challenge(&needs, &self.sign_in_authority()?),
                rule: denial.rule,
                words: denial.message,
            }),
            Denial::UnreadableRule => Err(RequestError::Unusable),
        }
    }
}

/// That the app does not take the word of who has said who a terminal's user is.
fn other_provider(user: &User) -> RequestError {
    let by = match &user.authentication.provider {
        Some(provider) => format!("by the identity provider {provider}"),
        None => "with an account of the fabric's own".to_owned(),
    };
    RequestError::NotAssigned {
        user: user.id.clone(),
        words: format!(
            "The terminal is signed in {by}, which this app does not take. Sign in to the app in a browser, and then sign in the terminal again."
        ),
    }
}

/// What is told of terms to whoever cannot be shown them.
fn terms_words(message: &str, credential: Option<&Credential>) -> String {
    let way = match credential {
        Some(Credential::Bearer(_)) => {
            "Open the app in a browser and accept its terms of use there. Then sign in the terminal again."
        }
        Some(Credential::ByProvider(_)) => {
            "Access tokens of identity providers do not say that terms are accepted. Open the app in a browser and accept its terms of use there, or sign in a terminal after that."
        }
        Some(Credential::Session(_) | Credential::Service(_) | Credential::Program(_)) | None => {
            "Open the app in a browser and accept its terms of use there."
        }
    };
    format!("{message}\n{way}").trim_start().to_owned()
}

/// For programs (RFC 9470, section 3). `amr_values` is our own: the RFC speaks of classes alone.
fn challenge(needs: &Needs, host: &str) -> String {
    let mut challenge = format!(
        "Adit error=\"insufficient_user_authentication\", error_description=\"an access rule asks for more than the session has shown\", sign_in=\"https://{host}/sign-in\""
    );
    if !needs.classes.is_empty() {
        challenge += &format!(", acr_values=\"{}\"", needs.classes.join(" "));
    }
    if needs.mfa {
        challenge += ", amr_values=\"mfa\"";
    }
    if !needs.terms.is_empty() {
        let terms: Vec<_> = needs.terms.iter().map(TermsId::as_str).collect();
        challenge += &format!(", terms=\"{}\"", terms.join(" "));
    }
    if let Some(span) = needs.sign_in_within {
        challenge += &format!(", max_age=\"{}\"", span.as_secs());
    }
    challenge
}

/// As errands have it.
pub(super) fn span_ms(span: Option<Duration>) -> u64 {
    span.map_or(0, |span| {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::terms::{Acceptance, TermsVersion};
    use proto::edge;

    use super::{super::bearer::ProviderToken, *};

    #[test]
    fn the_sign_in_host_asks_for_what_the_session_lacks() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let mut user = User::new("alice".parse().unwrap());
        user.authentication.methods = vec!["pwd".to_owned()];
        user.authentication.at_ms = milliseconds(now) - 600_000;
        let session = Session::begin(user, milliseconds(now));
        let in_force = TermsInForce::new();
        let ask = |mfa, classes: &[&str], sign_in_within_ms| {
            let errand = Errand(edge::Errand {
                mfa,
                classes: classes.iter().map(ToString::to_string).collect(),
                sign_in_within_ms,
                ..edge::Errand::default()
            });
            wanted(&session, Some(&errand), &in_force, now)
        };
        assert_eq!(wanted(&session, None, &in_force, now), Wanted::Nothing);
        assert_eq!(ask(false, &[], 0), Wanted::Nothing);
        assert_eq!(ask(false, &[], 600_000), Wanted::Nothing);
        assert_eq!(ask(false, &[], 599_000), Wanted::FreshSignIn);
        assert_eq!(ask(true, &[], 600_000), Wanted::SecondFactor);
        assert_eq!(ask(true, &[], 599_000), Wanted::FreshSignIn);
        assert_eq!(ask(false, &["gold"], 0), Wanted::More);
    }

    #[test]
    fn a_session_is_no_younger_at_the_sign_in_host_than_for_rules() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let mut user = User::new("alice".parse().unwrap());
        // A provider whose clock is ahead says when the user has signed in.
        user.authentication.at_ms = milliseconds(now) - 580_000;
        let session = Session::begin(user, milliseconds(now) - 610_000);
        let errand = Errand(edge::Errand {
            sign_in_within_ms: 600_000,
            ..edge::Errand::default()
        });
        assert_eq!(
            wanted(&session, Some(&errand), &TermsInForce::default(), now),
            Wanted::FreshSignIn
        );
    }

    #[test]
    fn terms_are_asked_for_last_one_after_the_other_until_they_are_accepted() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let user = User::new("alice".parse().unwrap());
        let before = Session::begin(user, milliseconds(now));
        let [aup, guests]: [TermsId; 2] = ["aup", "guests"].map(|id| id.parse().unwrap());
        let version = TermsVersion([7; 32]);
        let terms = || terms::Terms {
            version,
            again_after: None,
        };
        let in_force = TermsInForce::from([(aup.clone(), terms()), (guests.clone(), terms())]);
        let ask = |session: &Session, mfa| {
            let errand = Errand(edge::Errand {
                mfa,
                terms: vec!["aup".to_owned(), "guests".to_owned()],
                ..edge::Errand::default()
            });
            wanted(session, Some(&errand), &in_force, now)
        };
        assert_eq!(ask(&before, true), Wanted::SecondFactor);
        assert_eq!(ask(&before, false), Wanted::Terms(aup.clone()));
        let accepts = |session: &Session, terms: &TermsId| {
            let acceptance = Acceptance {
                terms: terms.clone(),
                version,
                at_ms: 1,
            };
            session.accepting(acceptance, &in_force)
        };
        let one = accepts(&before, &aup);
        assert_eq!(ask(&one, false), Wanted::Terms(guests.clone()));
        let both = accepts(&one, &guests);
        assert_eq!(ask(&both, false), Wanted::Nothing);
        // What counts no more takes no room.
        let other = accepts(&accepts(&both, &aup), &"gone".parse().unwrap());
        assert_eq!(other.user.accepted.len(), 3);
        let again = accepts(&other, &aup);
        assert_eq!(again.user.accepted.len(), 2);
    }

    #[test]
    fn nobody_is_told_to_sign_in_a_terminal_again_who_has_shown_a_token_of_a_provider() {
        let session = || Arc::new(Session::begin(User::new("alice".parse().unwrap()), 0));
        for (credential, want) in [
            (Credential::Session(session()), "terms of use there."),
            (Credential::Bearer(session()), "sign in the terminal again."),
            (
                Credential::ByProvider(ProviderToken::of(session())),
                "sign in a terminal after that.",
            ),
        ] {
            let words = terms_words("Read them.", Some(&credential));
            assert!(words.starts_with("Read them.\n"), "{words}");
            assert!(words.ends_with(want), "{words}");
        }
    }

    #[test]
    fn programs_are_told_all_that_is_asked_for() {
        let needs = Needs {
            mfa: true,
            classes: vec!["gold".to_owned(), "silver".to_owned()],
            sign_in_within: Some(Duration::from_secs(600)),
            device_certificate: false,
            terms: vec!["aup".parse().unwrap()],
        };
        let said = challenge(&needs, "auth.example.com");
        assert!(said.starts_with("Adit error=\"insufficient_user_authentication\", "));
        let end = "acr_values=\"gold silver\", amr_values=\"mfa\", terms=\"aup\", max_age=\"600\"";
        assert!(said.ends_with(end), "{said}");
    }
}
