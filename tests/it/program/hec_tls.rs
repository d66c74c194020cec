//! Deliveries over TLS with an authority of one's own.

use std::net::SocketAddr;
use std::sync::Arc;

use mimecast_collector::simulator::{Account, Options};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::harness::{Bench, look_until};
use super::http::Receiver;

/// An authority of one's own, and whom it vouches for.
struct Authority {
    /// Its certificate as PEM.
    pem: String,
    /// A server at 127.0.0.1.
    acceptor: TlsAcceptor,
    /// The same server, which lets in none but the client.
    strict: TlsAcceptor,
    /// A client's certificate and key as PEM.
    client: (String, String),
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let server = || {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        (
            builder.with_safe_default_protocol_versions().unwrap(),
            provider,
        )
    };
    let chain = || vec![certificate.der().clone()];
    let own_key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let (builder, _) = server();
    let open = builder
        .with_no_client_auth()
        .with_single_cert(chain(), own_key());
    let mut roots = RootCertStore::empty();
    roots.add(own.der().clone()).unwrap();
    let (builder, provider) = server();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let strict = builder
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain(), own_key());
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["collector".to_owned()]).unwrap();
    let client = client.signed_by(&client_key, &issuer).unwrap();
    Authority {
        pem: own.pem(),
        acceptor: TlsAcceptor::from(Arc::new(open.unwrap())),
        strict: TlsAcceptor::from(Arc::new(strict.unwrap())),
        client: (client.pem(), client_key.serialize_pem()),
    }
}

/// Takes TLS off and passes on to the event collector, as a load balancer does.
async fn terminate(listener: TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            // A client that does not trust us ends the handshake.
            let Ok(mut outer) = acceptor.accept(socket).await else {
                return;
            };
            let mut inner = TcpStream::connect(behind).await.unwrap();
            // Either side may close without a word, which is no matter of this test.
            drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
        });
    }
}

#[tokio::test]
async fn a_receiver_with_an_authority_of_its_own_is_trusted_by_ca_file_and_not_otherwise() {
    let bench = Bench::with(Options::default()).await;
    let Authority { pem, acceptor, .. } = authority();
    bench.write("ca.pem", &pem);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let behind = bench.simulator.hec_url();
    let address = behind.strip_prefix("http://").unwrap().parse().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(terminate(listener, acceptor, address));
    let configure = |output: &str| {
        let integration = bench.integration(&Account::v2("two"), "[\"audit\"]");
        bench.configure(&[integration], output);
        let text = std::fs::read_to_string(bench.path("config.toml")).unwrap();
        bench.write("config.toml", &text.replace(&behind, &url));
    };
    bench.handle.publish("two", "audit", "", 20).unwrap();
    configure("");
    let collector = bench.run(600);
    collector.logged(&["transport/tls"]).await;
    assert_eq!(bench.handle.hec().total(), 0);
    configure("ca_file = \"ca.pem\"");
    collector.signal("HUP");
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_receiver_over_http_that_wants_a_certificate_gets_it_and_no_event_before() {
    let bench = Bench::with(Options::default()).await;
    let Authority {
        pem,
        strict,
        client,
        ..
    } = authority();
    bench.write("ca.pem", &pem);
    bench.write("client.pem", &client.0);
    bench.write("secrets/client.key", &client.1);
    let receiver = Receiver::start(std::time::Duration::ZERO).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/in", listener.local_addr().unwrap());
    let behind = receiver.address().parse().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(terminate(listener, strict, behind));
    let configure = |output: &str| {
        let mut text = format!("state_dir = {:?}\n", bench.state_dir());
        text.push_str(&bench.integration(&Account::v2("two"), "[\"audit\"]"));
        text.push_str(&format!(
            "\n[[output]]\nname = \"lake\"\ntype = \"http\"\nurl = \"{url}\"\nca_file = \"ca.pem\"\ncarry = [\"events\"]\n{output}\n"
        ));
        bench.write("config.toml", &text);
    };
    bench.handle.publish("two", "audit", "", 20).unwrap();
    configure("");
    let collector = bench.run(600);
    collector.logged(&["transport/", "lake"]).await;
    assert_eq!(receiver.distinct(), 0);
    configure("client_cert = \"client.pem\"\nclient_key = { file = \"secrets/client.key\" }");
    collector.signal("HUP");
    look_until("all events", || (receiver.distinct() == 20).then_some(())).await;
    collector.stop().await;
    bench.assert_no_violations();
}
