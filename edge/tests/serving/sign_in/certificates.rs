//! Certificates that users' devices show: where they are asked for, when they count, and when no more.

use std::sync::Mutex;

use proto::{
    access::{Grant, GrantKind, People, Policy, Requirement, RuleState, Which, Who},
    access_rule,
    fabric::{ClientCa, ClientCaHolders},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::fabric::within;

/// A CA of somebody's devices.
pub(super) struct DeviceCa {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// What a device shows, and what it was asked for.
#[derive(Debug, Default)]
pub(super) struct Device {
    certified: Option<Arc<CertifiedKey>>,
    /// Names of CAs in each request for a certificate.
    asked: Mutex<Vec<usize>>,
}

impl ResolvesClientCert for Device {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.lock().unwrap().push(hints.len());
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl DeviceCa {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// A device with a certificate of this serial number, changed at will.
    pub(super) fn device(
        &self,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<Device> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(vec![leaf], key, &provider).unwrap();
        Arc::new(Device {
            certified: Some(Arc::new(certified)),
            ..Device::default()
        })
    }

    pub(super) fn told(&self, holders: ClientCaHolders) -> ClientCa {
        ClientCa {
            id: "laptops".to_owned(),
            holders: holders.into(),
            certificates: vec![self.root.to_vec().into()],
            ..ClientCa::default()
        }
    }

    fn crl(&self, revoked: &[u64]) -> Bytes {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let crl = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 1, 2),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        crl.signed_by(&self.issuer).unwrap().der().to_vec().into()
    }
}

/// What a user's browser has: trust in the edge, the device's certificate, and the versions that it speaks.
pub(super) fn settings(
    fabric: &Fabric,
    device: &Arc<Device>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[u8],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(fabric.ca.root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(device) as Arc<dyn ResolvesClientCert>);
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// One connection with a GET, and how its handshake went.
pub(super) async fn get(
    fabric: &Fabric,
    config: &Arc<ClientConfig>,
    (name, host): (&'static str, &str),
    fields: &str,
) -> (Reply, HandshakeKind) {
    within(async {
        let stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        (Reply::read(&text), kind)
    })
    .await
}

/// A GET over HTTP/2 or HTTP/3, on a connection for `name`.
pub(super) async fn get_by(
    fabric: &Fabric,
    device: &Arc<Device>,
    version: u8,
    fields: &[(&str, String)],
) -> u16 {
    let mut request = Request::get(format!("https://{HOST}/"));
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    if version == 3 {
        let config = settings(fabric, device, &[&TLS13], b"h3");
        let mut user = crate::http3::User::connect_as(fabric, config).await;
        return user
            .ask(request.body(()).unwrap())
            .await
            .0
            .status()
            .as_u16();
    }
    let config = settings(fabric, device, &[&TLS13], b"h2");
    let mut sender = http2(fabric, config, HOST).await;
    let answer = sender.send_request(request.body(empty()).unwrap());
    within(answer).await.unwrap().status().as_u16()
}

async fn http2(
    fabric: &Fabric,
    config: ClientConfig,
    name: &'static str,
) -> hyper::client::conn::http2::SendRequest<crate::user::UserBody> {
    let stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = within(connector.connect(name, stream)).await.unwrap();
    let (executor, stream) = (
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    );
    let shaken = hyper::client::conn::http2::handshake(executor, stream);
    let (sender, connection) = within(shaken).await.unwrap();
    fabric.scope.spawn("connection of a user", async move {
        let _ = connection.await;
    });
    sender
}

/// About everyone and every app: a certificate of a device.
fn devices_only() -> proto::fabric::AccessRule {
    let policy = Policy {
        state: RuleState::On.into(),
        who: Some(Who {
            include: Some(People {
                everyone: true,
                ..People::default()
            }),
            exclude: None,
        }),
        which: Some(Which {
            all_apps: true,
            ..Which::default()
        }),
        grant: Some(Grant {
            kind: GrantKind::Require.into(),
            requirements: vec![Requirement::DeviceCertificate.into()],
            ..Grant::default()
        }),
        ..Policy::default()
    };
    access_rule::told("devices", Some(policy))
}

/// Answers everything, and goes on answering what is asked of `/endless`.
fn serve_without_end(fabric: &Fabric, agent: &Agent) {
    let connection = agent.connection.clone();
    fabric.scope.spawn("origin", async move {
        let mut endless = Vec::new();
        loop {
            let mut asked = crate::fabric::next_request(&connection).await;
            if asked.head.path_and_query != "/endless" {
                asked.answer(200, "from the origin").await;
                continue;
            }
            asked.send.queue(crate::fabric::streamed(200)).unwrap();
            asked.send.queue(Frame::Data("so far".into())).unwrap();
            asked.send.flush().await.unwrap();
            endless.push(asked);
        }
    });
}

/// Alice, who has signed in; the app takes devices of a CA, and nothing else does.
pub(super) async fn alice() -> (Fabric, Agent, DeviceCa, String) {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve_without_end(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, page) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!(page.status, 200, "{page:?}");
    let crumbs = browser.jar[HOST].iter();
    let crumbs: Vec<_> = crumbs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let ca = DeviceCa::new("laptops");
    fabric.change_app(|app| app.client_cas = vec!["laptops".to_owned(), "gone".to_owned()]);
    set_ca(&mut fabric, ca.told(ClientCaHolders::Devices));
    fabric.set("accessRules/devices", Kind::AccessRule(devices_only()));
    fabric.publish(3);
    (fabric, agent, ca, crumbs.join("; "))
}

pub(super) fn set_ca(fabric: &mut Fabric, ca: ClientCa) {
    fabric.set("clientCas/laptops", Kind::ClientCa(ca));
}

#[tokio::test]
async fn a_device_is_known_by_its_certificate_over_every_version() {
    let (fabric, _agent, ca, cookies) = alice().await;
    let good = ca.device(7, |_| {});
    let fields = format!("cookie: {cookies}\r\n");
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let config = Arc::new(settings(&fabric, &good, versions, b"http/1.1"));
        let (reply, _) = get(&fabric, &config, (HOST, HOST), &fields).await;
        assert_eq!(reply.status, 200, "{versions:?} {reply:?}");
        // A certificate of a device signs nobody in.
        let (reply, _) = get(&fabric, &config, (HOST, HOST), "").await;
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    let cookie = [("cookie", cookies)];
    for version in [2, 3] {
        assert_eq!(
            get_by(&fabric, &good, version, &cookie).await,
            200,
            "{version}"
        );
        let without = Arc::new(Device::default());
        assert_eq!(
            get_by(&fabric, &without, version, &cookie).await,
            403,
            "{version}"
        );
        assert_eq!(*without.asked.lock().unwrap(), [1], "by the name of the CA");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_none() {
    let (fabric, _agent, ca, cookies) = alice().await;
    let fields = format!("cookie: {cookies}\r\n");
    let other = DeviceCa::new("laptops");
    let between = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let long = ca.device(4, |_| {});
    let long = {
        let certified = long.certified.as_ref().unwrap();
        let chain = certified.cert.iter().cycle().take(30).cloned().collect();
        let certified = CertifiedKey::new(chain, Arc::clone(&certified.key));
        Arc::new(Device {
            certified: Some(Arc::new(certified)),
            ..Device::default()
        })
    };
    for (what, device) in [
        ("none", Arc::new(Device::default())),
        ("of another CA of the same name", other.device(7, |_| {})),
        (
            "expired",
            ca.device(1, |params| params.not_after = date_time_ymd(2020, 1, 1)),
        ),
        (
            "not yet valid",
            ca.device(2, |params| params.not_before = date_time_ymd(2090, 1, 1)),
        ),
        (
            "of a server",
            ca.device(3, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        ("of a CA", ca.device(5, between)),
        ("a chain without end", long),
    ] {
        let config = Arc::new(settings(&fabric, &device, &[&TLS13], b"http/1.1"));
        let (reply, _) = get(&fabric, &config, (HOST, HOST), &fields).await;
        assert_eq!(reply.status, 403, "{what} {reply:?}");
        assert!(reply.body.contains("device_required"), "{what} {reply:?}");
        assert_eq!(device.asked.lock().unwrap().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_revoked_cuts_what_is_open_and_so_does_a_ca_that_goes() {
    for change in [
        "serial",
        "list",
        "no list of it",
        "deleted",
        "not named",
        "other holders",
    ] {
        let (mut fabric, _agent, ca, cookies) = alice().await;
        let device = ca.device(7, |_| {});
        let config = Arc::new(settings(&fabric, &device, &[&TLS13], b"http/1.1"));
        let fields = format!("cookie: {cookies}\r\n");
        // A list that names somebody else's changes nothing, though it is an old one.
        let mut told = ca.told(ClientCaHolders::Devices);
        told.crls = vec![ca.crl(&[8])];
        told.revoked_serials = vec![vec![9].into()];
        set_ca(&mut fabric, told.clone());
        fabric.publish(4);
        let stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&config));
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = within(connector.connect(name, stream)).await.unwrap();
        let head = format!("GET /endless HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        within(stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200", "{change}");

        match change {
            "serial" => told.revoked_serials.push(vec![7].into()),
            "list" => told.crls = vec![ca.crl(&[7])],
            "no list of it" => told.crls = vec![DeviceCa::new("others").crl(&[])],
            "other holders" => told.holders = ClientCaHolders::Programs.into(),
            _ => {}
        }
        set_ca(&mut fabric, told);
        match change {
            "deleted" => drop(fabric.resources.remove("clientCas/laptops")),
            "not named" => fabric.change_app(|app| app.client_cas.clear()),
            _ => {}
        }
        fabric.publish(5);
        let mut rest = Vec::new();
        // However it ends.
        let _ = within(stream.read_to_end(&mut rest)).await;
        let (reply, _) = get(&fabric, &config, (HOST, HOST), &fields).await;
        assert_eq!(reply.status, 403, "{change} {reply:?}");
    }
}

#[tokio::test]
async fn only_hosts_whose_apps_want_certificates_ask_and_their_sessions_are_not_resumed() {
    let (mut fabric, _agent, ca, cookies) = alice().await;
    fabric.set_ticket_keys(&[1]);
    fabric.publish(4);
    let fields = format!("cookie: {cookies}\r\n");
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let device = ca.device(7, |_| {});
        let config = Arc::new(settings(&fabric, &device, versions, b"http/1.1"));
        let mut kinds = Vec::new();
        for host in [HOST, HOST, HOST, CRM, CRM, AUTH, AUTH] {
            kinds.push(get(&fabric, &config, (host, host), &fields).await.1);
        }
        let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
        let want = [full, full, full, full, resumed, full, resumed];
        assert_eq!(kinds, want, "{versions:?}");
        assert_eq!(device.asked.lock().unwrap().len(), 3, "{versions:?}");
    }
    // A session from before the app wanted certificates is not gone on with.
    fabric.change_app(|app| app.client_cas.clear());
    fabric.publish(5);
    let device = ca.device(7, |_| {});
    let config = Arc::new(settings(&fabric, &device, &[&TLS13], b"http/1.1"));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (reply, seen) = get(&fabric, &config, (HOST, HOST), &fields).await;
        assert_eq!((reply.status, seen), (403, kind));
    }
    fabric.change_app(|app| app.client_cas = vec!["laptops".to_owned()]);
    fabric.publish(6);
    let (reply, seen) = get(&fabric, &config, (HOST, HOST), &fields).await;
    assert_eq!((reply.status, seen), (200, HandshakeKind::Full));
}

#[tokio::test]
async fn a_connection_for_another_host_is_sent_away_and_its_certificate_is_not_taken() {
    let (mut fabric, _agent, ca, cookies) = alice().await;
    let device = ca.device(7, |_| {});
    let config = Arc::new(settings(&fabric, &device, &[&TLS13], b"http/1.1"));
    let fields = format!("cookie: {cookies}\r\n");
    // The other host asks for none.
    let (reply, _) = get(&fabric, &config, (CRM, HOST), &fields).await;
    assert_eq!(reply.status, 421, "{reply:?}");
    assert!(reply.body.contains("misdirected"), "{reply:?}");
    let (reply, _) = get(&fabric, &config, (HOST, CRM), &fields).await;
    assert_ne!(reply.status, 421, "{reply:?}");
    // It asks for one, too, and has got it.
    let Some(Kind::EdgeApp(mut crm)) = fabric.resources["apps/crm"].kind.clone() else {
        panic!("apps/crm is there from the start");
    };
    crm.client_cas = vec!["laptops".to_owned()];
    fabric.set("apps/crm", Kind::EdgeApp(crm));
    fabric.publish(4);
    let (reply, _) = get(&fabric, &config, (CRM, HOST), &fields).await;
    assert_eq!(reply.status, 421, "{reply:?}");
    // The same over HTTP/2, whose requests may be for any host of the certificate.
    let mut sender = http2(&fabric, settings(&fabric, &device, &[&TLS13], b"h2"), CRM).await;
    let request = Request::get(format!("https://{HOST}/")).header("cookie", &cookies);
    let answer = sender.send_request(request.body(empty()).unwrap());
    assert_eq!(within(answer).await.unwrap().status(), 421);
    // It goes on for its own host.
    let request = Request::get(format!("https://{CRM}/"));
    let answer = sender.send_request(request.body(empty()).unwrap());
    assert_ne!(within(answer).await.unwrap().status(), 421);
}

#[tokio::test]
async fn a_connection_from_before_the_app_wanted_certificates_is_sent_away() {
    let (mut fabric, _agent, ca, cookies) = alice().await;
    fabric.change_app(|app| app.client_cas.clear());
    fabric.publish(4);
    let device = ca.device(7, |_| {});
    let mut sender = http2(&fabric, settings(&fabric, &device, &[&TLS13], b"h2"), HOST).await;
    let mut ask = async || {
        let request = Request::get(format!("https://{HOST}/")).header("cookie", &cookies);
        let answer = sender.send_request(request.body(empty()).unwrap());
        within(answer).await.unwrap().status().as_u16()
    };
    let config = settings(&fabric, &device, &[&TLS13], b"h3");
    let mut over_quic = crate::http3::User::connect_as(&fabric, config).await;
    assert_eq!(ask().await, 403);
    fabric.change_app(|app| app.client_cas = vec!["laptops".to_owned()]);
    fabric.publish(5);
    assert_eq!(ask().await, 421);
    let request = Request::get(format!("https://{HOST}/"));
    let (answer, _) = over_quic.ask(request.body(()).unwrap()).await;
    assert_eq!(answer.status(), 421);
    over_quic.sent_away().await;
    // GOAWAY: a client that keeps the connection would be told so on and on.
    let gone = async {
        while !sender.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    within(gone).await;
    let cookie = [("cookie", cookies)];
    assert_eq!(get_by(&fabric, &device, 2, &cookie).await, 200);
}
