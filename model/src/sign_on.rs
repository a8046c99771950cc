//! Sign-ins that belong to a connection instead of a request.

/// Whether a value of `Authorization` or `WWW-Authenticate` names a scheme by which a whole connection signs on: NTLM, and
/// Negotiate as many servers do it (RFC 4559, section 6).
pub fn is_of_connection(value: &[u8]) -> bool {
    tokens(value).next().is_some()
}

/// Whether a value of `WWW-Authenticate` brings what the next request must answer.
pub fn is_challenge(value: &[u8]) -> bool {
    tokens(value).any(|token| !token.is_empty())
}

/// Which request of a sign-in this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// It begins one, on whatever connection.
    First,
    /// It answers a challenge, on the connection where that came; or nobody can tell.
    Later,
}

impl Leg {
    /// What a value of `Authorization` says, if it is of a scheme by which a whole connection signs on.
    pub fn of(value: &[u8]) -> Option<Self> {
        tokens(value).next().map(|token| {
            if begins(token) {
                Self::First
            } else {
                Self::Later
            }
        })
    }
}

/// Signature and number of NTLM's first message (MS-NLMP, section 2.2.1.1), in base64.
const NTLM_BEGINS: &[u8] = b"TlRMTVNTUAAB";

fn begins(token: &[u8]) -> bool {
    // 0x60, the tag by which a first token of GSS-API begins (RFC 2743, section 3.1), and four bits of the length behind it.
    let is_gss = matches!(token, [b'Y', b'A'..=b'P', ..]);
    is_gss || token.starts_with(NTLM_BEGINS)
}

/// What follows the names of such schemes in a value.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').filter_map(|part| {
        let part = part.trim_ascii();
        let end = part.iter().position(u8::is_ascii_whitespace);
        let (scheme, token) = part.split_at(end.unwrap_or(part.len()));
        let is_of_connection =
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate");
        is_of_connection.then(|| token.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_of_connections_are_told_from_those_of_requests() {
        for (value, want) in [
            ("NTLM", true),
            ("negotiate YII=", true),
            ("Basic realm=\"x\", NTLM", true),
            ("Basic realm=\"ntlm\"", false),
            ("Bearer ntlm", false),
            ("Negotiated", false),
        ] {
            assert_eq!(is_of_connection(value.as_bytes()), want, "{value:?}");
        }
    }

    #[test]
    fn the_first_leg_of_a_sign_in_is_told_from_later_ones() {
        for (value, want) in [
            (
                "NTLM TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA=",
                Some(Leg::First),
            ),
            ("NTLM TlRMTVNTUAADAAAAGAAYAEAAAAA", Some(Leg::Later)),
            ("Negotiate TlRMTVNTUAABAAAA", Some(Leg::First)),
            ("negotiate YIIFOAYGKwYBBQUCoIIFLDCCBSg=", Some(Leg::First)),
            ("Negotiate oYIBrDCCAaigAwoBAQ==", Some(Leg::Later)),
            ("Negotiate", Some(Leg::Later)),
            ("NTLM zzz", Some(Leg::Later)),
            ("Basic TlRMTVNTUAAB", None),
        ] {
            assert_eq!(Leg::of(value.as_bytes()), want, "{value:?}");
        }
    }

    #[test]
    fn a_challenge_is_told_from_the_wish_for_a_sign_in() {
        for (value, want) in [
            ("NTLM", false),
            ("Negotiate, NTLM", false),
            ("NTLM TlRMTVNTUAACAAAA", true),
            ("Negotiate, NTLM TlRMTVNTUAACAAAA==", true),
            ("Basic realm=\"x\"", false),
        ] {
            assert_eq!(is_challenge(value.as_bytes()), want, "{value:?}");
        }
    }
}
