use super::*;

fn wire() -> admin::IdentityProvider {
    admin::IdentityProvider {
        issuer: "https://login.example.com/tenant".to_owned(),
        client_id: "adit".to_owned(),
        ..Default::default()
    }
}

fn fields(id: &str, wire: &admin::IdentityProvider) -> Vec<String> {
    let found = read(id, wire).err().unwrap_or_default();
    found.into_iter().map(|fault| fault.field).collect()
}

#[test]
fn what_is_unsaid_has_safe_defaults() {
    let provider = read("entra", &wire()).unwrap();
    assert_eq!(provider.scopes, ["profile", "email"]);
    assert_eq!(provider.algorithms, [SigningAlgorithm::Rs256]);
    assert_eq!(provider.claims, ClaimNames::default());
    assert_eq!(
        provider.client_authentication,
        ClientAuthentication::SecretBasic
    );
    assert!(!provider.private_network && !provider.plain_groups);
}

#[test]
fn everything_wrong_with_a_provider_is_said_at_once() {
    let strings = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let bad = admin::IdentityProvider {
        display_name: "x".repeat(121),
        issuer: "http://login.example.com".to_owned(),
        client_id: String::new(),
        key_id: "k".to_owned(),
        client_certificate_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
        scopes: strings(&["profile", "a b", "profile"]),
        algorithms: strings(&["RS256", "HS256", "none"]),
        claims: Some(admin::ClaimNames {
            user: "ä".to_owned(),
            kept: strings(&[""]),
            kept_groups: strings(&["staff", " staff", "staff"]),
            ..Default::default()
        }),
        user_domains: strings(&["example.com", "Example.com", "entra", "a@b"]),
        asks: Some(admin::Asks {
            max_age: Some(prost_types::Duration::default()),
            ..Default::default()
        }),
        endpoints: Some(admin::ProviderEndpoints {
            keys: "ftp://x".to_owned(),
            ..Default::default()
        }),
        refresh_every: Some(prost_types::Duration {
            seconds: 59,
            nanos: 0,
        }),
        ca_pem: "x".repeat(CA_PEM_BYTES_MAX + 1),
        ..Default::default()
    };
    let own = |field: &&str| format!("identity_provider.{field}");
    let want: Vec<_> = [
        "display_name",
        "issuer",
        "client_id",
        "key_id",
        "client_certificate_pem",
        "scopes[1]",
        "scopes[2]",
        "algorithms[1]",
        "algorithms[2]",
        "claims.user",
        "claims.kept[0]",
        "claims.kept_groups[1]",
        "claims.kept_groups[2]",
        "user_domains[1]",
        "user_domains[2]",
        "user_domains[3]",
        "asks.max_age",
        "endpoints.keys",
        "ca_pem",
        "refresh_every",
    ]
    .iter()
    .map(own)
    .collect();
    assert_eq!(fields("a b", &bad)[0], "identity_provider_id");
    assert_eq!(fields("entra", &bad), want);
    assert_eq!(fields(LOCAL, &wire()), ["identity_provider_id"]);
    let issuer = "https://a.example/?tenant=1".to_owned();
    assert_eq!(
        fields("a", &admin::IdentityProvider { issuer, ..wire() }),
        ["identity_provider.issuer"]
    );
}

#[test]
fn a_credential_is_of_the_kind_that_the_client_shows() {
    use ClientAuthentication::{None, PrivateKeyJwt, SecretBasic, SecretPost};
    let pem = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
    for (how, credential, is_good) in [
        (SecretBasic, "s3cret", true),
        (SecretPost, "s3cret", true),
        (SecretBasic, "", false),
        (SecretBasic, "a\nb", false),
        (SecretBasic, &"x".repeat(CREDENTIAL_BYTES_MAX + 1), false),
        (PrivateKeyJwt, pem, true),
        (PrivateKeyJwt, "s3cret", false),
        (None, "", true),
        (None, "s3cret", false),
    ] {
        let fault = credential_fault(how, credential);
        assert_eq!(fault.is_none(), is_good, "{how:?} {credential}: {fault:?}");
    }
}
