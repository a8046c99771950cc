//! What an app asks of the access tokens of identity providers.

use model::app::{Access, TOKEN_WORDS_MAX};

use super::Violations;
use crate::{
    admin,
    rules::{self, Fault},
};

const AUDIENCES: &str = "app.token_audiences";
const SCOPES: &str = "app.token_scopes";

/// Audiences and scopes.
pub(super) fn read(
    app: &admin::App,
    access: Option<&Access>,
    found: &mut Violations,
) -> (Vec<String>, Vec<String>) {
    let (audiences, scopes) = (&app.token_audiences, &app.token_scopes);
    if !audiences.is_empty() && access == Some(&Access::Passthrough) {
        found.add(AUDIENCES, "must be empty unless users sign in");
    }
    if !scopes.is_empty() && audiences.is_empty() {
        found.add(SCOPES, "must be empty unless there are token_audiences");
    }
    (
        words(
            AUDIENCES,
            "audiences",
            audiences,
            rules::token_audience,
            found,
        ),
        words(SCOPES, "scopes", scopes, rules::token_scope, found),
    )
}

fn words(
    field: &str,
    what: &str,
    wire: &[String],
    check: impl Fn(&str) -> Result<(), Fault>,
    found: &mut Violations,
) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (field, word) in found.at_most(TOKEN_WORDS_MAX, field, what, wire) {
        if words.contains(word) {
            found.add(&field, format_args!("repeats {word}"));
        }
        if found.take(&field, check(word)).is_some() {
            words.push(word.clone());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use model::app::{Assignment, TOKEN_WORD_BYTES_MAX};

    use super::*;

    fn faults(audiences: &[&str], scopes: &[&str], access: &Access) -> Vec<String> {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let app = admin::App {
            token_audiences: texts(audiences),
            token_scopes: texts(scopes),
            ..Default::default()
        };
        let mut found = Violations::default();
        read(&app, Some(access), &mut found);
        let found = found.into_vec();
        found.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn audiences_and_scopes_are_few_plain_words() {
        let closed = Access::SignIn(Assignment::default());
        let long = "x".repeat(TOKEN_WORD_BYTES_MAX + 1);
        let nine = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let api = "https://api.example.com/?a=\"b\"";
        for (audiences, scopes, want) in [
            (&[][..], &[][..], &[][..]),
            (&[api, "urn:x"], &["wiki:read", "a/b"], &[]),
            (&[], &["a"], &[SCOPES]),
            (&["a"], &["a b"], &["app.token_scopes[0]"]),
            (&["a"], &["a\"b"], &["app.token_scopes[0]"]),
            (
                &["a", "a"],
                &["x", "x"],
                &["app.token_audiences[1]", "app.token_scopes[1]"],
            ),
            (&[""], &[], &["app.token_audiences[0]"]),
            (&["a b"], &[], &["app.token_audiences[0]"]),
            (&["a\u{e9}"], &[], &["app.token_audiences[0]"]),
            (&[&long], &[], &["app.token_audiences[0]"]),
            (&nine, &nine, &[AUDIENCES, SCOPES]),
        ] {
            assert_eq!(
                faults(audiences, scopes, &closed),
                want,
                "{audiences:?} {scopes:?}"
            );
        }
        let open = Access::Passthrough;
        assert_eq!(faults(&["a"], &["b"], &open), [AUDIENCES]);
    }
}
