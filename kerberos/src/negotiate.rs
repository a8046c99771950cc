//! The `Negotiate` scheme of HTTP (RFC 4559): the fields that carry tokens.

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Bytes of an application's answer, in base64; beyond what servers take themselves.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const SCHEME: &str = "Negotiate";

/// What the values of an answer's `WWW-Authenticate` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// Kerberos is asked for, or answered: the value of `Negotiate`, which may be empty.
    Negotiate(&'a [u8]),
    /// Only other sign-ins are offered.
    Others,
    /// Nothing is said.
    Absent,
}

impl<'a> Challenge<'a> {
    /// Looks through the values of all `WWW-Authenticate` fields of one answer.
    pub fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut found = Self::Absent;
        for value in values {
            for part in parts(value) {
                let (scheme, token) = scheme_and_token(part);
                if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
                    return Self::Negotiate(token);
                }
                // An element of a list is a scheme, or a parameter of the one before.
                if !scheme.is_empty() && !scheme.contains(&b'=') {
                    found = Self::Others;
                }
            }
        }
        found
    }
}

/// The value of `Authorization` for a token.
pub(crate) fn header(token: &[u8]) -> String {
    let mut header = format!("{SCHEME} ");
    BASE64_STANDARD.encode_string(token, &mut header);
    header
}

/// The bytes of a token, or none if it is not one.
pub(crate) fn token(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() > ANSWER_BYTES_MAX {
        return None;
    }
    BASE64_STANDARD.decode(value).ok()
}

/// Elements of a list (RFC 9110, section 5.6.1), quoted strings kept whole.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(move |byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        })
        .map(<[u8]>::trim_ascii)
}

fn scheme_and_token(part: &[u8]) -> (&[u8], &[u8]) {
    let end = part.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let (scheme, token) = part.split_at(end.unwrap_or(part.len()));
    (scheme, token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_found_among_others() {
        for (values, expected) in [
            (&[][..], Challenge::Absent),
            (&[""], Challenge::Absent),
            (&["Negotiate"], Challenge::Negotiate(b"")),
            (&["negotiate "], Challenge::Negotiate(b"")),
            (&["Negotiate YWJj"], Challenge::Negotiate(b"YWJj")),
            (&["NEGOTIATE\tYQ=="], Challenge::Negotiate(b"YQ==")),
            (&["NTLM", "Negotiate"], Challenge::Negotiate(b"")),
            (&["NTLM, Negotiate YQ=="], Challenge::Negotiate(b"YQ==")),
            (&["Negotiate YQ==, NTLM"], Challenge::Negotiate(b"YQ==")),
            (&["Basic realm=\"a, Negotiate b\""], Challenge::Others),
            (&["Basic realm=\"a\\\", Negotiate b\""], Challenge::Others),
            (&["Basic realm=\"a\", charset=\"UTF-8\""], Challenge::Others),
            (&["NTLM"], Challenge::Others),
            (&["NegotiateX abc"], Challenge::Others),
        ] {
            let values = values.iter().map(|value: &&str| value.as_bytes());
            assert_eq!(Challenge::of(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn tokens_are_base64_within_bounds() {
        assert_eq!(header(b"abc"), "Negotiate YWJj");
        assert_eq!(token(b"YWJj"), Some(b"abc".to_vec()));
        assert_eq!(token(b"YWJ"), None);
        assert_eq!(token(b"Y WJj"), None);
        assert_eq!(token(&vec![b'A'; ANSWER_BYTES_MAX + 4]), None);
        assert!(token(&vec![b'A'; ANSWER_BYTES_MAX]).is_some());
    }
}
