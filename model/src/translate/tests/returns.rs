//! Where identity providers are told to send users back to.

use super::*;

const INNER: &str = "http%3A%2F%2Fwiki.internal%3A8080%2F";
const PUBLIC: &str = "https%3A%2F%2Fwiki.Example.com%3A8443%2F";

/// `{}` stands for the app's own URL.
fn check(app: &Fixture, location: &str, [inner, public]: [&str; 2]) {
    let (inner, public) = (
        location.replace("{}", inner),
        location.replace("{}", public),
    );
    assert_eq!(app.answer("location", &inner), public);
    assert_eq!(app.answer("location", &public), public, "once and for all");
}

#[test]
fn what_a_provider_goes_to_is_the_public_name() {
    let app = Fixture::default();
    for location in [
        // OpenID Connect, OAuth 2.0.
        "https://idp.example/authorize?client_id=wiki&redirect_uri={}cb%3Fx%3D1&state=s",
        "https://idp.example/logout?post_logout_redirect_uri={}",
        // WS-Federation.
        "https://sts.example/adfs/ls/?wa=wsignin1.0&wtrealm=urn%3Awiki&wreply={}signin#x",
        "https://sts.example/adfs/ls?wa=wsignout1.0&wreply={}a&wreply={}b",
        // SAML's discovery, and Shibboleth.
        "https://ds.example/?entityID=x&return={}Shibboleth.sso%2FLogin",
        "https://idp.example/sso?shire={}Shibboleth.sso%2FSAML%2FPOST&target=cookie",
        "//idp.example/authorize?redirect_uri={}",
    ] {
        check(&app, location, [INNER, PUBLIC]);
    }
}

#[test]
fn a_value_is_written_as_the_app_writes_it() {
    let app = Fixture::default();
    for values in [
        [
            "http://wiki.internal:8080/a",
            "https://wiki.Example.com:8443/a",
        ],
        [
            "http%3a%2f%2fwiki.internal%3a8080%2fa",
            "https%3A%2F%2Fwiki.Example.com%3A8443%2fa",
        ],
        [
            "http:%2F%2Fwiki.internal:8080",
            "https%3A%2F%2Fwiki.Example.com%3A8443",
        ],
        [
            "%68ttp://wiki2.internal",
            "https%3A%2F%2Fwiki.Example.com%3A8443",
        ],
        [
            "https://wiki2.internal?q",
            "https://wiki.Example.com:8443?q",
        ],
    ] {
        check(&app, "https://idp.example/?redirect_uri={}", values);
    }
    let app = Fixture::at("/w&k", "/inner");
    let values = [
        "http://wiki.internal:8080/inner/cb",
        "https://wiki.Example.com:8443/w%26k/cb",
    ];
    check(&app, "https://idp.example/?redirect_uri={}", values);
}

#[test]
fn what_comes_back_to_the_app_or_names_it_stays() {
    let app = Fixture::default();
    for location in [
        "https://idp.example/sso?SAMLRequest=x&RelayState={}",
        "https://sts.example/?wtrealm={}&wctx={}",
        "https://idp.example/authorize?client_id={}&state={}&request={}",
        "https://idp.example/authorize?Redirect_Uri={}",
        "https://idp.example/authorize?x_redirect_uri={}&redirect_uri",
        // Twice escaped, it is another URL's.
        "https://idp.example/go?to=https%3A%2F%2Fx.example%2F%3Fredirect_uri%3D{}",
        "https://idp.example/#redirect_uri={}",
        // Of the app's own site: it reads that itself.
        "/login?redirect_uri={}",
        "https://wiki.example.com:8443/login?redirect_uri={}",
        "login?return={}",
    ] {
        check(&app, location, [INNER, INNER]);
    }
}

#[test]
fn what_is_not_the_apps_own_stays() {
    let app = Fixture::at("/wiki", "/inner");
    for value in [
        "http%3A%2F%2Fother.internal%2Finner",
        "http%3A%2F%2Fwiki.internal%3A8080%2Foutside",
        "http%3A%2F%2Fuser%40wiki.internal%3A8080%2Finner",
        "http%3A%2F%2Fwiki.internal%253A8080%2Finner",
        "%2F%2Fwiki.internal%3A8080%2Finner",
        "%2Finner",
        "ws%3A%2F%2Fwiki.internal%3A8080%2Finner",
        "http%3A%2F%2Fwiki.internal%3A8080%2Finner%",
        "%",
        "",
    ] {
        let location = format!("https://idp.example/?redirect_uri={value}");
        assert_eq!(app.answer("location", &location), location);
    }
}

#[test]
fn a_provider_that_is_published_too_is_led_to_with_the_way_back() {
    let app = Fixture::linked(&[("https://sts.internal", "sts.example.com")]);
    let inner = format!("https://sts.internal/adfs/ls?wreply={INNER}");
    let want = format!("https://sts.example.com:8443/adfs/ls?wreply={PUBLIC}");
    assert_eq!(app.answer("location", &inner), want);
}
