//! Deliveries over TLS with an authority of one's own.

use std::net::SocketAddr;
use std::sync::Arc;

use mimecast_collector::simulator::{Account, Options};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::harness::Bench;

/// An authority's certificate as PEM, and a server that it vouches for as 127.0.0.1.
fn authority() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
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
    let (pem, acceptor) = authority();
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
