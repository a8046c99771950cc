//! What control says of second factors, and what edges have to bring back with it.

use edge::SecondFactorQuestion;
use proto::fabric::{
    AccountPasskey, EnrolAuthenticatorResponse, HalfProven, RecoveryCodes, ShowAccountResponse,
    Shown, ShownBefore,
};

use super::*;

/// The code that is right; each of them lets in, as control's own tests see to the rest.
pub(in crate::sign_in) const CODE: &str = "123456";
/// Of a passkey that control knows.
pub(super) const CREDENTIAL: &[u8] = b"a credential";

/// Control's word for what was shown, which has to come back with it.
pub(in crate::sign_in) fn proof(user: &str, as_of_ms: i64, methods: &[String]) -> Bytes {
    format!("{user} by {} at {as_of_ms}", methods.join("+")).into()
}

/// What was shown, which nobody but control has said.
fn proven(shown: Option<Shown>) -> Shown {
    let shown = shown.unwrap();
    let own = proof(&shown.user, shown.as_of_ms, &shown.methods);
    assert_eq!(shown.proof, own, "{shown:?}");
    shown
}

/// Otto has an app; Nora has nothing yet, and has to.
pub(in crate::sign_in) fn half(user: &str, as_of_ms: i64, before: Option<&ShownBefore>) -> Outcome {
    if let Some(before) = before {
        let own = proof(user, before.as_of_ms, &before.methods);
        assert_eq!(before.proof, own, "{before:?}");
        let shown = Shown {
            user: user.to_owned(),
            methods: before.methods.clone(),
            ..Shown::default()
        };
        return granted(&shown, &[], as_of_ms);
    }
    Outcome::Half(HalfProven {
        proof: proof(user, as_of_ms, &["pwd".to_owned()]),
        user: user.to_owned(),
        as_of_ms,
        authenticator: user == "otto",
        passkeys: Vec::new(),
        must_enrol: user == "nora",
    })
}

fn account(shown: &Shown, more: &[&str], clock: &Clock) -> Outcome {
    granted(shown, more, milliseconds(clock) + 20_000)
}

fn granted(shown: &Shown, more: &[&str], as_of_ms: i64) -> Outcome {
    let mut methods = shown.methods.clone();
    methods.extend(more.iter().map(|method| (*method).to_owned()));
    Outcome::Account(Account {
        user: shown.user.clone(),
        display_name: format!("{} by {}", shown.user, methods.join("+")),
        user_groups: vec!["staff".to_owned()],
        as_of_ms,
        proof: proof(&shown.user, as_of_ms, &methods),
        methods,
        ..Account::default()
    })
}

fn wrong() -> Outcome {
    Outcome::Refusal(PasswordRefusal {
        kind: PasswordRefusalKind::Wrong.into(),
        retry_after_ms: 0,
    })
}

fn said(outcome: Outcome) -> CheckPasswordResponse {
    CheckPasswordResponse {
        outcome: Some(outcome),
    }
}

fn shown_account(user: &str) -> ShowAccountResponse {
    let passkey = AccountPasskey {
        id: "one".to_owned(),
        display_name: "Otto's <key>".to_owned(),
        credential_id: CREDENTIAL.into(),
        ..AccountPasskey::default()
    };
    let has_app = matches!(user, "otto" | "olga");
    ShowAccountResponse {
        second_factors: true,
        second_factor_required: true,
        authenticator_ms: i64::from(has_app),
        recovery_codes: 7,
        passkeys: if has_app { vec![passkey] } else { Vec::new() },
        user_handle: vec![1; 32].into(),
        ..ShowAccountResponse::default()
    }
}

/// What control says.
pub(in crate::sign_in) fn answer(question: SecondFactorQuestion, clock: &Clock) {
    match question {
        SecondFactorQuestion::CheckCode(request, answer) => {
            let shown = proven(request.shown);
            let outcome = match &*request.code {
                CODE => account(&shown, &["otp", "mfa"], clock),
                _ => wrong(),
            };
            let _ = answer.send(Ok(said(outcome)));
        }
        SecondFactorQuestion::EnrolAuthenticator(request, answer) => {
            let shown = proven(request.shown);
            assert_eq!(request.key.len(), 20);
            let (outcome, codes) = match &*request.code {
                CODE => (
                    account(&shown, &["otp", "mfa"], clock),
                    vec!["abcd-efgh-jkmn-pqrs".to_owned()],
                ),
                _ => (wrong(), Vec::new()),
            };
            let _ = answer.send(Ok(EnrolAuthenticatorResponse {
                outcome: Some(said(outcome)),
                recovery_codes: Some(RecoveryCodes { codes }),
            }));
        }
        SecondFactorQuestion::CheckPasskey(request, answer) => {
            let ceremony = request.ceremony.unwrap();
            let alone = || Shown {
                user: "otto".to_owned(),
                ..Shown::default()
            };
            let shown = request.shown.map(|shown| proven(Some(shown)));
            let shown = shown.unwrap_or_else(alone);
            assert_eq!(ceremony.origin, format!("https://{AUTH}"));
            assert_eq!(ceremony.challenge.len(), 32);
            let outcome = if ceremony.credential_id == CREDENTIAL {
                account(&shown, &["hwk", "user", "mfa"], clock)
            } else {
                wrong()
            };
            let _ = answer.send(Ok(said(outcome)));
        }
        SecondFactorQuestion::ShowAccount(request, answer) => {
            let _ = answer.send(Ok(shown_account(&proven(request.shown).user)));
        }
        SecondFactorQuestion::RegisterPasskey(request, answer) => {
            let shown = proven(request.shown);
            assert_eq!((request.algorithm, &*request.display_name), (-7, "Laptop"));
            let _ = answer.send(Ok(said(account(&shown, &["hwk", "mfa"], clock))));
        }
        SecondFactorQuestion::RemoveAuthenticator(request, answer) => {
            let outcome = account(&proven(request.shown), &["removed"], clock);
            let _ = answer.send(Ok(said(outcome)));
        }
        SecondFactorQuestion::RemovePasskey(request, answer) => {
            let outcome = match &*request.id {
                "one" => account(&proven(request.shown), &["removed"], clock),
                _ => wrong(),
            };
            let _ = answer.send(Ok(said(outcome)));
        }
        SecondFactorQuestion::EndUserSessions(request, answer) => {
            let outcome = account(&proven(request.shown), &[], clock);
            let _ = answer.send(Ok(said(outcome)));
        }
    }
}
