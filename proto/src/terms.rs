//! Reads and writes terms of use.

use std::time::Duration;

use model::{
    name::{IdError, TermsId},
    terms::{AGAIN_AFTER, Acceptance, TEXT_BYTES_MAX, TITLE_CHARS_MAX, Terms, TermsVersion},
};

use crate::{
    admin, edge, fabric, time,
    violation::{Unit, Violation, Violations},
};

/// Checks terms that shall have the id `id`; on failure says everything that is wrong with them.
///
/// # Errors
/// Every violation.
pub fn check(
    id: &str,
    terms: &admin::Terms,
) -> Result<(TermsId, Option<Duration>), Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("terms_id", id);
    let title = terms.title.trim();
    if title.is_empty() || terms.title.chars().count() > TITLE_CHARS_MAX {
        let what = format_args!("must have 1 to {TITLE_CHARS_MAX} characters");
        found.add("terms.title", what);
    }
    if terms.title.contains(char::is_control) {
        found.add("terms.title", "must not have control characters");
    }
    if terms.text.trim().is_empty() || terms.text.len() > TEXT_BYTES_MAX {
        let what = format_args!("must have 1 to {TEXT_BYTES_MAX} bytes");
        found.add("terms.text", what);
    }
    let is_odd = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t');
    if terms.text.contains(is_odd) {
        let what = "must not have control characters but line breaks and tabs";
        found.add("terms.text", what);
    }
    let span = terms.again_after.as_ref();
    let span = span
        .and_then(|span| found.span("terms.again_after", span, AGAIN_AFTER, Unit::Milliseconds));
    match id {
        Some(id) if found.is_empty() => Ok((id, span)),
        Some(_) | None => Err(found.into_vec()),
    }
}

/// Why an edge cannot use terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Their id is none.
    #[error("reading the id")]
    Id(#[from] IdError),
    /// Their version is none.
    #[error("the version must have 32 bytes")]
    Version,
    /// The time after which users are asked again is none.
    #[error("the time after which users are asked again is none")]
    AgainAfter,
}

/// What decides, as edges are told it.
///
/// # Errors
/// See [`TermsError`].
pub fn read(wire: &fabric::Terms) -> Result<(TermsId, Terms), TermsError> {
    let version = TermsVersion::of_bytes(&wire.version).ok_or(TermsError::Version)?;
    let span = wire.again_after.map(Duration::try_from).transpose();
    let again_after = span.map_err(|_| TermsError::AgainAfter)?;
    let terms = Terms {
        version,
        again_after,
    };
    Ok((wire.id.parse()?, terms))
}

/// The same for edges.
pub fn write(id: &TermsId, terms: &Terms) -> fabric::Terms {
    fabric::Terms {
        id: id.to_string(),
        version: terms.version.0.to_vec().into(),
        again_after: terms.again_after.map(time::wire_duration),
    }
}

/// What a session says of a user; nothing of what cannot be read, so that it counts as not accepted.
pub fn read_accepted(wire: &edge::AcceptedTerms) -> Option<Acceptance> {
    Some(Acceptance {
        terms: wire.terms.parse().ok()?,
        version: TermsVersion::of_bytes(&wire.version)?,
        at_ms: wire.accepted_ms,
    })
}

/// The same for a session.
pub fn write_accepted(acceptance: &Acceptance) -> edge::AcceptedTerms {
    edge::AcceptedTerms {
        terms: acceptance.terms.to_string(),
        version: acceptance.version.0.to_vec().into(),
        accepted_ms: acceptance.at_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(title: &str, text: &str, seconds: Option<i64>) -> admin::Terms {
        admin::Terms {
            title: title.to_owned(),
            text: text.to_owned(),
            again_after: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            ..admin::Terms::default()
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let (long_title, long_text) = ("x".repeat(121), "x".repeat(TEXT_BYTES_MAX + 1));
        for (wanted, fields) in [
            (terms("Rules", "Be kind.\r\n\t- a", None), &[][..]),
            (terms("Rules", "x", Some(3_600)), &[]),
            (
                terms(" ", "", Some(60)),
                &["terms.title", "terms.text", "terms.again_after"],
            ),
            (
                terms(&long_title, &long_text, None),
                &["terms.title", "terms.text"],
            ),
            (
                terms("a\nb", "a\u{1b}[0m", None),
                &["terms.title", "terms.text"],
            ),
        ] {
            let found = check("aup", &wanted).err().unwrap_or_default();
            let found: Vec<_> = found.into_iter().map(|one| one.field).collect();
            assert_eq!(found, fields);
        }
        assert!(check("A", &terms("a", "b", None)).is_err());
    }

    #[test]
    fn what_decides_is_read_as_it_was_written() {
        let id: TermsId = "aup".parse().unwrap();
        let known = Terms {
            version: TermsVersion([7; 32]),
            again_after: Some(Duration::from_secs(86_400)),
        };
        let wire = write(&id, &known);
        assert_eq!(read(&wire), Ok((id.clone(), known)));
        let short = fabric::Terms {
            version: vec![7; 31].into(),
            ..wire
        };
        assert_eq!(read(&short), Err(TermsError::Version));
        let accepted = Acceptance {
            terms: id,
            version: TermsVersion([7; 32]),
            at_ms: 5,
        };
        let wire = write_accepted(&accepted);
        assert_eq!(read_accepted(&wire), Some(accepted));
    }
}
