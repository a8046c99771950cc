//! Sign-ins that belong to a connection instead of a request.

/// Whether a value of `Authorization` or `WWW-Authenticate` names a scheme by which a whole connection signs on: NTLM, and
/// Negotiate as many servers do it (RFC 4559, section 6).
pub fn is_of_connection(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| {
        let part = part.trim_ascii_start();
        let end = part.iter().position(u8::is_ascii_whitespace);
        let scheme = &part[..end.unwrap_or(part.len())];
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
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
}
