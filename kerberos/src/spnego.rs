//! SPNEGO (RFC 4178), with Kerberos as the only mechanism that is ever offered: no server can lead this to NTLM.

use thiserror::Error;

use crate::der::{self, Elements, NotDer};

/// 1.3.6.1.5.5.2
const SPNEGO: &[u8] = b"\x2b\x06\x01\x05\x05\x02";
/// 1.2.840.113554.1.2.2
const KERBEROS: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// 1.2.840.48018.1.2.2: Kerberos as Windows 2000 wrote it, and later ones still name it.
const KERBEROS_OF_WINDOWS: &[u8] = b"\x2a\x86\x48\x82\xf7\x12\x01\x02\x02";

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// It is neither an answer of SPNEGO nor a token of Kerberos.
    #[error("the application's answer is not one of SPNEGO")]
    Malformed,
    /// It chose another mechanism, or asks for one.
    #[error("the application chose another mechanism than Kerberos")]
    Mechanism,
}

/// What the application answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its verdict, if it says one.
    pub state: Option<State>,
    /// Kerberos' own answer: a proof, or an error.
    pub token: Option<&'a [u8]>,
}

/// Verdicts of RFC 4178, section 4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Accepted.
    Completed,
    /// More is to come.
    Incomplete,
    /// Refused.
    Rejected,
    /// Accepted, but for a code over the offer, which is asked for where the first mechanism was not taken. One was offered.
    RequestMic,
}

/// The first message: NegTokenInit with Kerberos alone, and its token.
pub fn offer(token: &[u8]) -> Vec<u8> {
    let mechanisms = der::element(der::SEQUENCE, &[&der::element(der::OID, &[KERBEROS])]);
    let mechanisms = der::element(der::context(0), &[&mechanisms]);
    let token = der::element(der::OCTET_STRING, &[token]);
    let token = der::element(der::context(2), &[&token]);
    let offer = der::element(der::SEQUENCE, &[&mechanisms, &token]);
    let offer = der::element(der::context(0), &[&offer]);
    der::element(
        der::APPLICATION,
        &[&der::element(der::OID, &[SPNEGO]), &offer],
    )
}

/// Reads the answer: NegTokenResp, or a bare token of Kerberos, as some servers give even so.
pub fn answer(bytes: &[u8]) -> Result<Answer<'_>, AnswerError> {
    if bytes.first() == Some(&der::APPLICATION) {
        return bare(bytes);
    }
    let fields = Fields::read(bytes).map_err(|NotDer| AnswerError::Malformed)?;
    if let Some(mechanism) = fields.mechanism
        && mechanism != KERBEROS
        && mechanism != KERBEROS_OF_WINDOWS
    {
        return Err(AnswerError::Mechanism);
    }
    let state = match fields.state {
        None => None,
        Some([0]) => Some(State::Completed),
        Some([1]) => Some(State::Incomplete),
        Some([2]) => Some(State::Rejected),
        Some([3]) => Some(State::RequestMic),
        Some(_) => return Err(AnswerError::Malformed),
    };
    Ok(Answer {
        state,
        token: fields.token,
    })
}

fn bare(bytes: &[u8]) -> Result<Answer<'_>, AnswerError> {
    let mechanism = der::only(bytes, der::APPLICATION)
        .and_then(|token| Elements::of(token).one(der::OID))
        .map_err(|NotDer| AnswerError::Malformed)?;
    if mechanism != KERBEROS {
        return Err(AnswerError::Mechanism);
    }
    Ok(Answer {
        state: None,
        token: Some(bytes),
    })
}

struct Fields<'a> {
    state: Option<&'a [u8]>,
    mechanism: Option<&'a [u8]>,
    token: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, NotDer> {
        let answer = der::only(der::only(bytes, der::context(1))?, der::SEQUENCE)?;
        let mut elements = Elements::of(answer);
        let mut field = |number, tag| {
            let field = elements.optional(der::context(number))?;
            field.map(|field| der::only(field, tag)).transpose()
        };
        let fields = Self {
            state: field(0, der::ENUMERATED)?,
            mechanism: field(1, der::OID)?,
            token: field(2, der::OCTET_STRING)?,
        };
        // A code over the offer: with one mechanism there is nothing that it could tell (RFC 4178, section 5).
        field(3, der::OCTET_STRING)?;
        if elements.is_empty() {
            Ok(fields)
        } else {
            Err(NotDer)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(state: Option<u8>, mechanism: Option<&[u8]>, token: Option<&[u8]>) -> Vec<u8> {
        let field = |number, tag, value: &[u8]| {
            der::element(der::context(number), &[&der::element(tag, &[value])])
        };
        let state = state.map(|state| field(0, der::ENUMERATED, &[state]));
        let mechanism = mechanism.map(|mechanism| field(1, der::OID, mechanism));
        let token = token.map(|token| field(2, der::OCTET_STRING, token));
        let fields = [state, mechanism, token].map(Option::unwrap_or_default);
        let fields = der::element(der::SEQUENCE, &[&fields[0], &fields[1], &fields[2]]);
        der::element(der::context(1), &[&fields])
    }

    /// RFC 4178, section 4.2.1, by hand.
    #[test]
    fn the_offer_names_kerberos_alone() {
        let expected = b"\x60\x23\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x19\x30\x17\xa0\x0d\x30\x0b\
            \x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\xa2\x06\x04\x04AREQ";
        assert_eq!(offer(b"AREQ"), expected);
    }

    #[test]
    fn answers_have_state_and_token() {
        let token: &[u8] = b"AREP";
        for (state, mechanism, token, expected) in [
            (Some(0), Some(KERBEROS), Some(token), Some(State::Completed)),
            (
                Some(0),
                Some(KERBEROS_OF_WINDOWS),
                Some(token),
                Some(State::Completed),
            ),
            (Some(1), None, Some(token), Some(State::Incomplete)),
            (Some(2), None, Some(token), Some(State::Rejected)),
            (Some(2), None, None, Some(State::Rejected)),
            (
                Some(3),
                Some(KERBEROS),
                Some(token),
                Some(State::RequestMic),
            ),
            (None, None, Some(token), None),
            (None, None, None, None),
        ] {
            let bytes = response(state, mechanism, token);
            let expected = Answer {
                state: expected,
                token,
            };
            assert_eq!(answer(&bytes), Ok(expected));
        }
    }

    #[test]
    fn other_mechanisms_are_refused() {
        // 1.3.6.1.4.1.311.2.2.10: NTLM.
        let ntlm: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a";
        let chosen = response(Some(1), Some(ntlm), Some(b"NTLMSSP\0"));
        assert_eq!(answer(&chosen), Err(AnswerError::Mechanism));
        let bare = der::element(der::APPLICATION, &[&der::element(der::OID, &[ntlm])]);
        assert_eq!(answer(&bare), Err(AnswerError::Mechanism));
        // A server's own offer, RFC 4178 with Microsoft's NegTokenInit2, is no answer.
        assert_eq!(answer(&offer(b"x")), Err(AnswerError::Mechanism));
    }

    #[test]
    fn a_bare_token_of_kerberos_is_one() {
        let oid = der::element(der::OID, &[KERBEROS]);
        let bytes = der::element(der::APPLICATION, &[&oid, b"\x02\x00AREP"]);
        let expected = Answer {
            state: None,
            token: Some(&bytes[..]),
        };
        assert_eq!(answer(&bytes), Ok(expected));
    }

    #[test]
    fn what_is_not_whole_is_malformed() {
        let whole = response(Some(0), Some(KERBEROS), Some(b"AREP"));
        for cut in 0..whole.len() {
            assert_eq!(answer(&whole[..cut]), Err(AnswerError::Malformed), "{cut}");
        }
        let more = [&whole[..], b"\0"].concat();
        assert_eq!(answer(&more), Err(AnswerError::Malformed));
        let unknown_state = response(Some(4), None, None);
        assert_eq!(answer(&unknown_state), Err(AnswerError::Malformed));
        assert_eq!(answer(b"NTLMSSP\0"), Err(AnswerError::Malformed));
    }

    proptest! {
        #[test]
        fn tokens_come_out_as_they_went_in(token in prop::collection::vec(any::<u8>(), 0..3_000)) {
            let bytes = response(Some(0), None, Some(&token));
            prop_assert_eq!(answer(&bytes).expect("an answer").token, Some(&token[..]));
            prop_assert!(offer(&token).ends_with(&token));
        }

        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Answer { token: Some(token), .. }) = answer(&bytes) {
                prop_assert!(token.len() <= bytes.len());
            }
        }
    }
}
