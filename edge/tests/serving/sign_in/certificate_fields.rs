//! What origins are told of the certificate that a user's device has shown.

use proto::fabric::ClientCaHolders;
use rcgen::DnType;
use rustls::version::TLS13;

use super::{
    certificates::{Device, DeviceCa, get, set_ca, settings},
    *,
};

/// The fields of the next request that begin with `x-cert`, once it is answered.
async fn told(fabric: &Fabric, agent: &Agent, device: &Arc<Device>, fields: &str) -> String {
    let config = Arc::new(settings(fabric, device, &[&TLS13], b"http/1.1"));
    let ((reply, _), told) = tokio::join!(get(fabric, &config, (HOST, HOST), fields), async {
        let asked = agent.request().await;
        let told = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
        asked.answer(200, "hello").await;
        told
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    let told = told.iter();
    let told = told.filter(|(name, _)| name.as_str().starts_with("x-cert"));
    let told = told.map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
    told.collect::<Vec<_>>().join("|")
}

#[tokio::test]
async fn origins_hear_of_a_certificate_that_counts_and_of_no_other() {
    let mut fabric = fabric().await;
    let ca = DeviceCa::new("laptops");
    fabric.change_app(|app| {
        let field = |name: &str, value: IdentityValue| IdentityField {
            name: name.to_owned(),
            value: value.into(),
            ..IdentityField::default()
        };
        app.client_cas = vec!["laptops".to_owned()];
        app.identity_fields = vec![
            field("x-cert", IdentityValue::CertificateSubject),
            field("x-cert-by", IdentityValue::CertificateIssuer),
            field("x-cert-number", IdentityValue::CertificateSerial),
            field("x-cert-sha256", IdentityValue::CertificateFingerprint),
        ];
    });
    set_ca(&mut fabric, ca.told(ClientCaHolders::Devices));
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    let crumbs = browser.jar[HOST].iter();
    let crumbs: Vec<_> = crumbs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let forged = format!(
        "cookie: {}\r\nx-cert: CN=admin\r\nX_Cert: CN=admin\r\n",
        crumbs.join("; ")
    );
    let named = |ca: &DeviceCa| {
        ca.device(0x0A_BC, |params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "B\u{fc}ro, 7");
        })
    };
    let told_of = told(&fabric, &agent, &named(&ca), &forged).await;
    let (names, fingerprint) = told_of.rsplit_once('=').unwrap();
    let want = "x-cert=CN=B%C3%BCro\\, 7|x-cert-by=CN=laptops|x-cert-number=0abc|x-cert-sha256";
    assert_eq!(names, want);
    let is_digits = fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(fingerprint.len() == 64 && is_digits, "{fingerprint}");
    // None, and one that anybody can make.
    for device in [Arc::default(), named(&DeviceCa::new("laptops"))] {
        assert_eq!(told(&fabric, &agent, &device, &forged).await, "");
    }
    let mut revoked = ca.told(ClientCaHolders::Devices);
    revoked.revoked_serials = vec![vec![0x0A, 0xBC].into()];
    set_ca(&mut fabric, revoked);
    fabric.publish(4);
    assert_eq!(told(&fabric, &agent, &named(&ca), &forged).await, "");
}
