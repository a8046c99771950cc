//! Codes of authenticator apps (RFC 6238, with what all apps have in common: HMAC-SHA-1, six digits, thirty seconds).

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY},
};

/// Bytes of a key: as long as the hash (RFC 4226, section 4, R6).
pub(crate) const KEY_BYTES: usize = 20;
/// Digits of a code.
const DIGITS: u32 = 6;
/// Length of a time step.
const STEP: Duration = Duration::from_secs(30);
/// Steps before and after the one of now whose codes are good: clocks of phones are a little off, and people type slowly (RFC 6238, section 5.2).
const WINDOW: u64 = 1;

/// The step whose code this is, if it is one of about now, and after `last`: each is good once.
pub(crate) fn step_of(key: &[u8], code: &str, now: SystemTime, last: u64) -> Option<u64> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let current = since.as_secs() / STEP.as_secs();
    // All are compared, whichever it is.
    let mut found = None;
    for step in current.saturating_sub(WINDOW)..=current + WINDOW {
        let is_it = verify_slices_are_equal(self::code(key, step).as_bytes(), code.as_bytes());
        if is_it.is_ok() && step > last {
            found = Some(step);
        }
    }
    found
}

/// Whether a text could be a code: six digits.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == DIGITS as usize && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The code of a step (RFC 4226, section 5.3).
pub(crate) fn code(key: &[u8], step: u64) -> String {
    let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0x0f);
    let mut four = [0; 4];
    four.copy_from_slice(&tag[offset..offset + 4]);
    let number = u32::from_be_bytes(four) & 0x7fff_ffff;
    format!("{:06}", number % 10_u32.pow(DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of both RFCs.
    const KEY: &[u8; KEY_BYTES] = b"12345678901234567890";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn codes_are_those_of_rfc_4226() {
        let want = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (step, want) in (0..).zip(want) {
            assert_eq!(code(KEY, step), want);
        }
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B has eight digits, of which apps show the last six.
        for (seconds, want) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let step = step_of(KEY, &want[2..], at(seconds), 0);
            assert_eq!(step, Some(seconds / 30), "{want}");
        }
    }

    #[test]
    fn a_code_is_good_a_step_early_and_a_step_late_and_once() {
        let now = at(1_000_000);
        let current = 1_000_000 / 30;
        for (step, is_good) in [
            (current - 2, false),
            (current - 1, true),
            (current, true),
            (current + 1, true),
            (current + 2, false),
        ] {
            let found = step_of(KEY, &code(KEY, step), now, 0);
            assert_eq!(found, is_good.then_some(step), "{step}");
        }
        let code = code(KEY, current);
        assert_eq!(step_of(KEY, &code, now, current - 1), Some(current));
        assert_eq!(step_of(KEY, &code, now, current), None);
        assert_eq!(step_of(KEY, &code, now, current + 1), None);
    }

    #[test]
    fn what_is_no_code_is_none() {
        for text in ["", "12345", "1234567", "12345a", "１２３４５６", " 12345"] {
            assert!(!is_code(text), "{text}");
            assert_eq!(step_of(KEY, text, at(59), 0), None);
        }
        assert!(is_code("012345"));
    }
}
