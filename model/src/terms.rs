//! Terms of use: texts that users accept before an access rule lets them in.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use crate::name::TermsId;

/// Terms that a fabric may have.
pub const TERMS_MAX: usize = 16;
/// Terms that a rule may ask for; what a session keeps of them goes into a cookie.
pub const RULE_TERMS_MAX: usize = 4;
/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 120;
/// Longest text: some forty pages.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Shortest and longest time after which users are asked again.
pub const AGAIN_AFTER: (Duration, Duration) = (
    Duration::from_secs(3_600),
    Duration::from_secs(3_650 * 86_400),
);

/// SHA-256 of a text: another text is another version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TermsVersion(pub [u8; 32]);

/// Why a text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct TermsVersionError;

impl TermsVersion {
    /// Of its 32 bytes, if they are as many.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for TermsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TermsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for TermsVersion {
    type Err = TermsVersionError;

    fn from_str(text: &str) -> Result<Self, TermsVersionError> {
        let mut bytes = [0; 32];
        let is_plain = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).filter(|_| is_plain);
            let digits = digits.ok_or(TermsVersionError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| TermsVersionError)?;
        }
        Ok(Self(bytes))
    }
}

/// What of terms decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The text that counts now.
    pub version: TermsVersion,
    /// After which who has accepted it is asked again; `None`: never.
    pub again_after: Option<Duration>,
}

/// That a user has accepted a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// Of these terms,
    pub terms: TermsId,
    /// this text,
    pub version: TermsVersion,
    /// then, in Unix milliseconds.
    pub at_ms: i64,
}

/// The terms of a fabric.
pub type TermsInForce = HashMap<TermsId, Terms>;

impl Terms {
    /// Whether an acceptance still counts.
    pub fn holds(&self, acceptance: &Acceptance, now_ms: i64) -> bool {
        let age = now_ms.saturating_sub(acceptance.at_ms);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        acceptance.version == self.version && self.again_after.is_none_or(|span| age <= span)
    }
}

/// Which of the `wanted` are not accepted. Terms that are not known cannot be, so whoever they are asked of does not get in.
pub fn missing(
    wanted: &[TermsId],
    in_force: &TermsInForce,
    accepted: &[Acceptance],
    now_ms: i64,
) -> Vec<TermsId> {
    let lacks = |id: &&TermsId| {
        let mut of_these = accepted.iter().filter(|one| one.terms == **id);
        let terms = in_force.get(*id);
        !terms.is_some_and(|terms| of_these.any(|one| terms.holds(one, now_ms)))
    };
    wanted.iter().filter(lacks).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_as_it_is_read() {
        let text = "0123456789abcdef".repeat(4);
        let version: TermsVersion = text.parse().unwrap();
        assert_eq!(version.to_string(), text);
        assert_eq!(TermsVersion::of_bytes(&version.0), Some(version));
        assert_eq!(TermsVersion::of_bytes(&[1; 31]), None);
        let longer = format!("{text}0");
        for bad in [
            "",
            "0",
            &text[1..],
            &longer,
            &"+1".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(bad.parse::<TermsVersion>(), Err(TermsVersionError), "{bad}");
        }
    }

    #[test]
    fn only_this_text_counts_and_only_for_so_long() {
        let id: TermsId = "aup".parse().unwrap();
        let (now, other) = (TermsVersion([1; 32]), TermsVersion([2; 32]));
        for (version, age_ms, again_after, counts) in [
            (now, 0, None, true),
            (now, i64::MAX / 2, None, true),
            (other, 0, None, false),
            (now, 1_000, Some(1), true),
            (now, 1_001, Some(1), false),
            (now, -5_000, Some(1), true),
        ] {
            let terms = Terms {
                version: now,
                again_after: again_after.map(Duration::from_secs),
            };
            let in_force = TermsInForce::from([(id.clone(), terms)]);
            let accepted = Acceptance {
                terms: id.clone(),
                version,
                at_ms: 10_000,
            };
            let wanted = [id.clone()];
            let lacks = missing(&wanted, &in_force, &[accepted], 10_000 + age_ms);
            assert_eq!(lacks.is_empty(), counts, "{version} {age_ms}");
        }
    }

    #[test]
    fn terms_that_are_not_known_are_accepted_by_nobody() {
        let id: TermsId = "aup".parse().unwrap();
        let accepted = Acceptance {
            terms: id.clone(),
            version: TermsVersion([1; 32]),
            at_ms: 0,
        };
        let wanted = [id];
        let lacks = missing(&wanted, &TermsInForce::new(), &[accepted], 0);
        assert_eq!(lacks, wanted);
    }
}
