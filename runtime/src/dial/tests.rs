use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::{config::Problems, scope::Scope, tls};

const LIMIT: Duration = Duration::from_secs(10);

/// Something at the other end of one connection: it waits for as many bytes as `script` says and answers them, step by step.
/// Gives what it heard.
struct Double {
    address: String,
    heard: tokio::sync::oneshot::Receiver<Vec<u8>>,
    _scope: Scope,
}

/// Bytes to wait for (0: an end of a head), and the answer.
type Script = [(usize, &'static [u8])];

impl Double {
    async fn start(script: &Script) -> Self {
        let script: Vec<_> = script.to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, heard) = tokio::sync::oneshot::channel();
        let scope = Scope::root();
        scope.spawn("proxy double", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            for (bytes, answer) in script {
                let begin = all.len();
                while !is_enough(&all[begin..], bytes) {
                    all.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer).await.unwrap();
            }
            let _ = tell.send(all);
            // Until the other side has read everything.
            let _ = stream.read_u8().await;
        });
        Self {
            address,
            heard,
            _scope: scope,
        }
    }
}

fn is_enough(heard: &[u8], bytes: usize) -> bool {
    match bytes {
        0 => heard.ends_with(b"\r\n\r\n"),
        bytes => heard.len() >= bytes,
    }
}

fn way(url: &str) -> WayOut {
    let (proxy, password) = Proxy::with_password(url).unwrap();
    let name = password.map(|password| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, password.expose()).unwrap();
        (folder, path)
    });
    let written = proxy.to_string();
    let raw = RawWayOut {
        proxy: Some(&written),
        password_file: name.as_ref().map(|(_, path)| path.as_path()),
        ..RawWayOut::default()
    };
    let settings = WayOutSettings::new(raw, &mut Problems::new()).unwrap();
    settings.way_out().unwrap()
}

async fn through(scheme: &str, script: &Script) -> (Result<Vec<u8>, DialError>, Vec<u8>) {
    let double = Double::start(script).await;
    let url = scheme.replace("PROXY", &double.address);
    let target = "control.example.com:7443".parse().unwrap();
    let connected = way(&url).connect(&target, LIMIT).await;
    let said = match connected {
        Ok(mut stream) => {
            let mut said = vec![0; 5];
            stream.read_exact(&mut said).await.unwrap();
            Ok(said)
        }
        Err(error) => Err(error),
    };
    let heard = timeout(Duration::from_millis(200), double.heard).await;
    let heard = heard.ok().and_then(Result::ok).unwrap_or_default();
    (said, heard)
}

#[tokio::test]
async fn connect_leads_through_an_http_proxy_and_shows_who_asks() {
    let script: &Script = &[
        (0, b"HTTP/1.0 200 Connection established\r\n\r\n"),
        // Only what the caller said first is answered, as TLS has it.
    ];
    let double = Double::start(script).await;
    let target = "control.example.com:7443".parse().unwrap();
    let url = format!("http://ann:p%40ss@{}", double.address);
    let stream = way(&url).connect(&target, LIMIT).await.unwrap();
    drop(stream);
    let heard = String::from_utf8(double.heard.await.unwrap()).unwrap();
    assert!(
        heard.starts_with("CONNECT control.example.com:7443 HTTP/1.1\r\n"),
        "{heard}"
    );
    // "ann:p@ss"
    assert!(heard.contains("Basic YW5uOnBAc3M=\r\n"), "{heard}");
}

#[tokio::test]
async fn an_http_proxy_that_says_no_is_quoted_without_the_password() {
    for (script, want) in [
        (
            &[(0, b"HTTP/1.1 407 P\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n".as_slice())][..],
            "the proxy does not accept the user name and password",
        ),
        (
            &[(0, b"HTTP/1.1 407 P\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM abc\r\nContent-Length: 0\r\n\r\n")],
            "sign-in by Negotiate, NTLM; only basic is spoken",
        ),
        // tinyproxy
        (
            &[(0, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")],
            "the proxy does not accept the user name and password",
        ),
        (
            &[(0, b"HTTP/1.1 403 Filtered\r\nContent-Length: 0\r\n\r\n")],
            "the proxy refused with status 403 Forbidden",
        ),
        (&[(0, b"SSH-2.0-OpenSSH_9.2\r\n")], "speaking http with the proxy"),
        (&[(0, b"HTTP/1.1 200 OK\r\n\r\nhello")], "the proxy spoke in the target's place"),
    ] {
        let (said, _) = through("http://ann:hunter2@PROXY", script).await;
        let text = Whole(&said.unwrap_err()).to_string();
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("http://ann@127.0.0.1:"), "{text}");
    }
    let wanted: &Script = &[(0, b"HTTP/1.1 407 P\r\nContent-Length: 0\r\n\r\n")];
    let (said, _) = through("http://PROXY", wanted).await;
    let text = Whole(&said.unwrap_err()).to_string();
    assert!(
        text.ends_with("the proxy asks for a user name and password"),
        "{text}"
    );
}

#[tokio::test]
async fn the_head_of_a_proxys_answer_is_bounded() {
    static ENDLESS: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let scope = Scope::root();
    scope.spawn("endless", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let begin = b"HTTP/1.1 200 OK\r\nX: ";
        stream.write_all(begin).await.unwrap();
        while stream.write_all(&ENDLESS).await.is_ok() {}
    });
    let target = "control.example.com:7443".parse().unwrap();
    let error = way(&url).connect(&target, LIMIT).await.unwrap_err();
    assert!(
        matches!(
            &error,
            DialError::Proxy {
                source: ProxyError::Http(_),
                ..
            }
        ),
        "{error:?}"
    );
}

/// A way through an `https://` proxy on loopback that speaks TLS as `name` and is trusted or not, and what it heard inside.
async fn through_tls(name: &str, is_trusted: bool) -> (Result<(), DialError>, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .unwrap();
    let proxy_tls = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = tokio::sync::oneshot::channel();
    let scope = Scope::root();
    scope.spawn("tls proxy double", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(proxy_tls));
        // Who does not trust it breaks off.
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") {
            all.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // What the target is told, and says.
        let said = stream.read_u8().await.unwrap();
        stream.write_all(&[said + 1]).await.unwrap();
        stream.flush().await.unwrap();
        let _ = tell.send(all);
        let _ = stream.read_u8().await;
    });
    let mut roots = rustls::RootCertStore::empty();
    if is_trusted {
        roots.add(certificate.der().clone()).unwrap();
    }
    let url = format!("https://ann:hunter2@localhost:{port}");
    let way = way(&url);
    let through = way.through.as_deref().unwrap();
    let mut trusting = ClientConfig::clone(through.tls.as_deref().unwrap());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        tls::provider(),
    );
    match verifier.build() {
        Ok(verifier) => trusting.dangerous().set_certificate_verifier(verifier),
        Err(error) => assert!(!is_trusted, "{error}"),
    }
    let way = WayOut {
        through: Some(Arc::new(Through {
            proxy: through.proxy.clone(),
            credentials: through.credentials.clone(),
            unproxied: Unproxied::new::<String>(&[]).unwrap(),
            tls: Some(Arc::new(trusting)),
        })),
    };
    let target = "control.example.com:7443".parse().unwrap();
    let connected = match way.connect(&target, LIMIT).await {
        Ok(mut stream) => {
            stream.write_all(&[41]).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 42);
            Ok(())
        }
        Err(error) => Err(error),
    };
    let heard = timeout(LIMIT, heard).await.unwrap().unwrap_or_default();
    (connected, String::from_utf8(heard).unwrap())
}

#[tokio::test]
async fn an_https_proxy_is_asked_inside_tls_and_must_prove_who_it_is() {
    let (connected, heard) = through_tls("localhost", true).await;
    connected.unwrap();
    let first = "CONNECT control.example.com:7443 HTTP/1.1\r\n";
    assert!(heard.starts_with(first), "{heard}");
    assert!(heard.contains("Basic YW5uOmh1bnRlcjI=\r\n"), "{heard}");
    for (name, is_trusted) in [("localhost", false), ("proxy.example.com", true)] {
        let (connected, heard) = through_tls(name, is_trusted).await;
        let text = Whole(&connected.unwrap_err()).to_string();
        assert!(text.contains("tls handshake with the proxy"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(heard, "", "it was told a password");
    }
}

const NAMED: usize = 4 + 1 + "control.example.com".len() + 2;

#[tokio::test]
async fn a_socks_proxy_is_given_the_name() {
    let script: &Script = &[
        (3, &[5, 0]),
        (NAMED, b"\x05\x00\x00\x01\x0a\x00\x00\x01\x04\x38hello"),
    ];
    let (said, heard) = through("socks5://PROXY", script).await;
    assert_eq!(said.unwrap(), b"hello");
    let want = [
        &[5, 1, 0, 5, 1, 0, 3, 19],
        b"control.example.com".as_slice(),
        &7443_u16.to_be_bytes(),
    ];
    assert_eq!(heard, want.concat());
}

#[tokio::test]
async fn a_socks_proxy_is_shown_who_asks() {
    let script: &Script = &[
        (4, &[5, 2]),
        (9, &[1, 0]),
        (NAMED, b"\x05\x00\x00\x03\x04none\x04\x38hello"),
    ];
    let (said, heard) = through("socks5h://ann:pass@PROXY", script).await;
    assert_eq!(said.unwrap(), b"hello");
    assert_eq!(heard[..13], *b"\x05\x02\x00\x02\x01\x03ann\x04pas");
}

#[tokio::test]
async fn a_socks_proxy_that_says_no_is_quoted() {
    for (url, script, want) in [
        (
            "socks5://PROXY",
            &[(3, [5, 0xff].as_slice())][..],
            "the proxy asks for a user name and password",
        ),
        (
            "socks5://ann:hunter2@PROXY",
            &[(4, &[5, 2]), (12, &[1, 1])],
            "the proxy does not accept the user name and password",
        ),
        (
            "socks5://PROXY",
            &[(3, &[5, 0]), (NAMED, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0])],
            "the proxy refused: its rules do not allow the connection",
        ),
        ("socks5://PROXY", &[(3, b"HT")], "speaks no socks5"),
        (
            "socks5://PROXY",
            &[(3, &[5, 0]), (NAMED, &[5, 0, 0, 9])],
            "speaks no socks5",
        ),
    ] {
        let (said, _) = through(url, script).await;
        let text = Whole(&said.unwrap_err()).to_string();
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_away_is_told_from_a_target_that_is() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let target: Target = address.to_string().parse().unwrap();
    let direct = WayOut::default().connect(&target, LIMIT).await;
    assert!(matches!(direct, Err(DialError::Connect(_))));
    let way = way(&format!("http://{address}"));
    let error = way.connect(&target, LIMIT).await.unwrap_err();
    let text = Whole(&error).to_string();
    assert!(text.contains("connecting to the proxy"), "{text}");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = "control.example.com:7443".parse().unwrap();
    let way = way(&format!("http://{}", listener.local_addr().unwrap()));
    let limit = Duration::from_millis(50);
    let error = way.connect(&target, limit).await.unwrap_err();
    assert!(matches!(error, DialError::TimedOut(_)), "{error:?}");
}
