//! What an answer's `WWW-Authenticate` asks for (RFC 9110, section 11.6.1), and what of it is for the agent.

use http::{HeaderMap, HeaderValue, header};

/// Challenges of one answer that are read; more are nobody's intention.
const CHALLENGES_MAX: usize = 16;

/// By what means a user could sign on to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// By Kerberos, as far as the app says.
    Kerberos,
    /// By other means that are the agent's to use and that it does not have here: NTLM, a password.
    OthersOnly,
    /// It asks for nothing that concerns the agent.
    Nothing,
}

/// Takes the challenges that are for the agent out of an answer: Negotiate and NTLM, which end here.
pub(crate) fn take(answer: &mut HeaderMap) -> Taken {
    let mut taken = Taken {
        offer: Offer::Nothing,
        token: None,
    };
    if !answer.contains_key(header::WWW_AUTHENTICATE) {
        return taken;
    }
    let values: Vec<HeaderValue> = answer
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .cloned()
        .collect();
    answer.remove(header::WWW_AUTHENTICATE);
    for value in values {
        if let Some(rest) = taken.look(&value) {
            answer.append(header::WWW_AUTHENTICATE, rest);
        }
    }
    taken
}

/// What was taken out of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) offer: Offer,
    /// The value with the token that the app sent for Negotiate.
    pub(crate) token: Option<Vec<u8>>,
}

impl Taken {
    /// Reads one value, and gives what of it goes on to the user: nothing of one that has more challenges than are read.
    fn look(&mut self, value: &HeaderValue) -> Option<HeaderValue> {
        let mut rest: Vec<&[u8]> = Vec::new();
        let mut is_touched = false;
        for challenge in challenges(value.as_bytes()).take(CHALLENGES_MAX) {
            match scheme(challenge) {
                Scheme::Negotiate => {
                    is_touched = true;
                    self.offer = Offer::Kerberos;
                    let has_token = challenge.len() > NEGOTIATE.len();
                    if has_token && self.token.is_none() {
                        self.token = Some(challenge.to_vec());
                    }
                }
                Scheme::Ntlm => {
                    is_touched = true;
                    self.note_other();
                }
                Scheme::Password => {
                    self.note_other();
                    rest.push(challenge);
                }
                Scheme::Foreign => rest.push(challenge),
            }
        }
        if challenges(value.as_bytes()).nth(CHALLENGES_MAX).is_some() {
            return None;
        }
        if !is_touched {
            return Some(value.clone());
        }
        // Pieces of a valid value, with a comma and a space between them.
        let rest = rest.join(&b", "[..]);
        HeaderValue::from_bytes(&rest)
            .ok()
            .filter(|value| !value.is_empty())
    }

    fn note_other(&mut self) {
        if self.offer == Offer::Nothing {
            self.offer = Offer::OthersOnly;
        }
    }
}

const NEGOTIATE: &[u8] = b"negotiate";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Negotiate,
    Ntlm,
    /// Basic and Digest: the user would be asked for a password of the app's domain.
    Password,
    Foreign,
}

fn scheme(challenge: &[u8]) -> Scheme {
    let end = challenge.iter().position(u8::is_ascii_whitespace);
    let (name, _) = challenge.split_at(end.unwrap_or(challenge.len()));
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if is(NEGOTIATE) {
        Scheme::Negotiate
    } else if is(b"ntlm") {
        Scheme::Ntlm
    } else if is(b"basic") || is(b"digest") {
        Scheme::Password
    } else {
        Scheme::Foreign
    }
}

/// The challenges in one value, without the commas between them.
fn challenges(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let begin = rest
            .iter()
            .position(|byte| !is_blank(*byte))
            .unwrap_or(rest.len());
        rest = &rest[begin..];
        if rest.is_empty() {
            return None;
        }
        // A comma ends a challenge if no parameter follows it.
        let mut end = comma(rest, 0);
        while end < rest.len() && begins_with_parameter(&rest[end + 1..]) {
            end = comma(rest, end + 1);
        }
        let challenge = &rest[..end];
        rest = &rest[end..];
        Some(challenge.trim_ascii_end())
    })
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

/// Where the next comma outside of quotes is, or the end.
fn comma(value: &[u8], from: usize) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let ends = |byte: &u8| {
        match (is_quoted, is_escaped, *byte) {
            (_, true, _) => is_escaped = false,
            (true, false, b'\\') => is_escaped = true,
            (_, false, b'"') => is_quoted = !is_quoted,
            (false, false, b',') => return true,
            _ => {}
        }
        false
    };
    let rest = value.get(from..).unwrap_or_default();
    rest.iter()
        .position(ends)
        .map_or(value.len(), |at| from + at)
}

/// Whether `name=` is what comes next, or nothing.
fn begins_with_parameter(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    let end = rest
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'=' | b',' | b'"'))
        .unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let after = after.trim_ascii_start();
    // `name=value`; `scheme token68==` has white space and then no `=` at once.
    !name.is_empty() && after.starts_with(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(values: &[&str]) -> (Taken, Vec<String>) {
        let mut fields = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).unwrap();
            fields.append(header::WWW_AUTHENTICATE, value);
        }
        let taken = take(&mut fields);
        let rest = fields.get_all(header::WWW_AUTHENTICATE).iter();
        let rest = rest.map(|value| value.to_str().unwrap().to_owned());
        (taken, rest.collect())
    }

    #[test]
    fn what_is_for_the_agent_is_taken_out_and_the_rest_stays() {
        use Offer::{Kerberos, Nothing, OthersOnly};
        for (values, offer, token, rest) in [
            (&[][..], Nothing, None, &[][..]),
            (&["Negotiate"], Kerberos, None, &[]),
            (&["negotiate oYG2="], Kerberos, Some("negotiate oYG2="), &[]),
            (&["NTLM"], OthersOnly, None, &[]),
            (&["NTLM", "Negotiate"], Kerberos, None, &[]),
            (&["Negotiate, NTLM"], Kerberos, None, &[]),
            (
                &["Basic realm=\"x\""],
                OthersOnly,
                None,
                &["Basic realm=\"x\""],
            ),
            (
                &["Digest realm=\"x\", nonce=\"y\", Negotiate abc=="],
                Kerberos,
                Some("Negotiate abc=="),
                &["Digest realm=\"x\", nonce=\"y\""],
            ),
            (
                &["Negotiate abc==, Basic realm=\"a, Negotiate b\", charset=\"UTF-8\""],
                Kerberos,
                Some("Negotiate abc=="),
                &["Basic realm=\"a, Negotiate b\", charset=\"UTF-8\""],
            ),
            (
                &["Bearer realm=\"api\", error = \"x\""],
                Nothing,
                None,
                &["Bearer realm=\"api\", error = \"x\""],
            ),
            (&[" , Negotiate ,, "], Kerberos, None, &[]),
            (&["Negotiated"], Nothing, None, &["Negotiated"]),
            (
                &["Basic realm=\"a\\\", NTLM \\\\\", NTLM"],
                OthersOnly,
                None,
                &["Basic realm=\"a\\\", NTLM \\\\\""],
            ),
            // The first token counts.
            (
                &["Negotiate one=", "Negotiate two="],
                Kerberos,
                Some("Negotiate one="),
                &[],
            ),
        ] {
            let (found, left) = taken(values);
            assert_eq!(found.offer, offer, "{values:?}");
            let found = found.token.map(|token| String::from_utf8(token).unwrap());
            assert_eq!(found.as_deref(), token, "{values:?}");
            assert_eq!(left, rest, "{values:?}");
        }
    }

    #[test]
    fn of_more_challenges_than_are_read_none_goes_on() {
        let foreign = |count| vec!["Bearer realm=\"x\""; count].join(", ");
        let most = foreign(CHALLENGES_MAX);
        let (_, left) = taken(&[&most]);
        assert_eq!(left, [most.as_str()]);
        for last in ["Negotiate", "NTLM", "Bearer"] {
            let (_, left) = taken(&[&format!("{most}, {last}")]);
            assert!(left.is_empty(), "{left:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_gets_past_with_negotiate_at_its_beginning(value in "[ ,\"=a-zA-Z0-9\\\\]{0,40}") {
            let mut fields = HeaderMap::new();
            fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_str(&value).unwrap());
            take(&mut fields);
            for value in fields.get_all(header::WWW_AUTHENTICATE) {
                let again = challenges(value.as_bytes()).take(CHALLENGES_MAX);
                for challenge in again {
                    let scheme = scheme(challenge);
                    assert!(!matches!(scheme, Scheme::Negotiate | Scheme::Ntlm), "{value:?}");
                }
            }
        }
    }
}
