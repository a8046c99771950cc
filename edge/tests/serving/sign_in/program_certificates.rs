//! Programs that are known by certificates in place of tokens.

use proto::fabric::ClientCaHolders;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use rustls::{
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    certificates::{DeviceCa, alice, get, get_by, set_ca, settings},
    *,
};
use crate::fabric::within;

/// A program's certificate has one name.
fn named(name: &str) -> impl FnOnce(&mut CertificateParams) {
    let name = SanType::DnsName(name.try_into().unwrap());
    move |params| params.subject_alt_names = vec![name]
}

/// The app takes programs of a CA: one by its name.
async fn with_programs() -> (Fabric, Agent, DeviceCa) {
    let (mut fabric, agent, ca, _) = alice().await;
    set_ca(&mut fabric, ca.told(ClientCaHolders::Programs));
    fabric.change_app(|app| {
        let assignment = app.assignment.as_mut().unwrap();
        assignment.programs = vec!["laptops/ci.example.com".to_owned()];
        app.identity_fields = vec![IdentityField {
            name: "x-user".to_owned(),
            value: IdentityValue::User.into(),
            ..IdentityField::default()
        }];
    });
    fabric.publish(4);
    (fabric, agent, ca)
}

#[tokio::test]
async fn a_program_gets_in_by_the_name_in_its_certificate_over_every_version() {
    let (fabric, _agent, ca) = with_programs().await;
    let ci = ca.device(7, named("ci.example.com"));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let config = Arc::new(settings(&fabric, &ci, versions, b"http/1.1"));
        let (reply, _) = get(&fabric, &config, (HOST, HOST), "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        // A token that does not hold counts alone, and a certificate counts at the app that names it.
        let bad = "authorization: Bearer adit_st_wrong\r\n";
        let (reply, _) = get(&fabric, &config, (HOST, HOST), bad).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        let (reply, _) = get(&fabric, &config, (CRM, CRM), "").await;
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    for version in [2, 3] {
        assert_eq!(get_by(&fabric, &ci, version, &[]).await, 200, "{version}");
    }
}

#[tokio::test]
async fn a_program_without_a_sure_name_or_of_another_is_not_let_in() {
    let (fabric, _agent, ca) = with_programs().await;
    let names = |names: &[&str]| -> Vec<SanType> {
        let names = names.iter().map(|&name| name.try_into().unwrap());
        names.map(SanType::DnsName).collect()
    };
    let (one, two) = (
        names(&["ci.example.com"]),
        names(&["ci.example.com", "b.example.com"]),
    );
    let uri = SanType::URI("spiffe://example.com/other".try_into().unwrap());
    for (what, subject, names, status) in [
        ("another", "", names(&["cron.example.com"]), 403),
        ("two of a kind", "", two, 401),
        ("a URI counts first", "", vec![one[0].clone(), uri], 403),
        ("the common name", "ci.example.com", Vec::new(), 200),
        (
            "a name, whatever the common name is",
            "ci.example.com",
            names(&["x.example.com"]),
            403,
        ),
        ("none that can be one", " ", Vec::new(), 401),
    ] {
        let device = ca.device(7, |params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, subject);
            params.subject_alt_names = names;
        });
        let config = Arc::new(settings(&fabric, &device, &[&TLS13], b"http/1.1"));
        let (reply, _) = get(&fabric, &config, (HOST, HOST), "").await;
        assert_eq!(reply.status, status, "{what} {reply:?}");
        if status == 403 {
            assert!(reply.body.contains("not_assigned"), "{what} {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_program_that_is_taken_away_is_cut_off() {
    for change in ["revoked", "not assigned", "for devices"] {
        let (mut fabric, _agent, ca) = with_programs().await;
        fabric.change_app(|app| {
            app.assignment.as_mut().unwrap().programs = vec!["laptops/*".to_owned()];
        });
        fabric.publish(5);
        let ci = ca.device(7, named("ci.example.com"));
        let config = settings(&fabric, &ci, &[&TLS13], b"http/1.1");
        let stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = within(connector.connect(name, stream)).await.unwrap();
        let mut told = ca.told(ClientCaHolders::Programs);
        match change {
            "revoked" => told.revoked_serials = vec![vec![7].into()],
            "for devices" => told.holders = ClientCaHolders::Devices.into(),
            _ => fabric.change_app(|app| app.assignment.as_mut().unwrap().programs.clear()),
        }
        let ask = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let mut ask = async || {
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            within(stream.read_exact(&mut head)).await.unwrap();
            let mut rest = Vec::new();
            while !rest.ends_with(b"origin") && head.ends_with(b"200") {
                rest.push(within(stream.read_u8()).await.unwrap());
            }
            String::from_utf8(head.to_vec()).unwrap()
        };
        assert_eq!(ask().await, "HTTP/1.1 200", "{change}");
        set_ca(&mut fabric, told);
        fabric.publish(6);
        let status = ask().await;
        assert!(
            status == "HTTP/1.1 401" || status == "HTTP/1.1 403",
            "{change} {status}"
        );
    }
}
