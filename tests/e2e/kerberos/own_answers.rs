//! What an app answers by itself: that it wants another sign-in, or that the user, whom it knows, may not come.

use super::*;

/// `lazy` gets a ticket when it asks for one; `proven` with each request, and must prove itself.
pub(super) async fn of_apps(domain: &Domain, alice: &mut Visitor, [lazy, proven]: [&str; 2]) {
    let asked = |path: &str| domain.lab.access_log().matches(path).count();
    for path in ["/ntlm", "/basic"] {
        let before = asked(path);
        refused(&alice.get(lazy, path).await, 502, "sso_failed");
        assert_eq!(asked(path), before + 1, "no loop");
    }
    domain.agent_says(&["does not accept Kerberos"]).await;
    // The ticket is taken, and the user may not come here.
    for (host, requests) in [(lazy, 2), (proven, 1)] {
        let before = asked("/forbidden");
        let answer = alice.get(host, "/forbidden").await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(!answer.text().contains("sso_failed"), "{}", answer.text());
        assert!(!answer.fields.contains_key("www-authenticate"));
        assert_eq!(asked("/forbidden"), before + requests, "no other token");
    }
}
