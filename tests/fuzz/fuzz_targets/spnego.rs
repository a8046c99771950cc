//! Any bytes as an application's answer to a sign-on: reading them never panics, what is read lies within them, and a token comes out as it
//! went in. And as a certificate, of which only the kind of its signature is read.

#![no_main]

use kerberos::{Bindings, Challenge, spnego};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(answer) = spnego::answer(bytes)
        && let Some(token) = answer.token
    {
        let within = bytes.as_ptr_range();
        let token = token.as_ptr_range();
        assert!(within.start <= token.start && token.end <= within.end);
    }
    let offer = spnego::offer(bytes);
    assert!(offer.ends_with(bytes));
    assert_eq!(
        spnego::answer(&offer),
        Err(spnego::AnswerError::Mechanism),
        "an offer is no answer"
    );
    if let Challenge::Negotiate(token) = Challenge::of([bytes]) {
        assert!(token.len() < bytes.len());
    }
    let _ = Bindings::tls_server_end_point(bytes);
});
