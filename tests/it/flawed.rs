//! Servers with which TLS cannot be, each with one flaw. None of them ever hears a word that is not of a handshake.

#![expect(clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server that listens.
#[derive(Clone, Debug)]
pub(crate) struct Flawed {
    /// Its address and port.
    pub(crate) address: String,
    /// What a client is told to trust.
    pub(crate) ca_file: PathBuf,
    heard: Heard,
}

/// What a server has heard that it never should.
type Heard = Arc<Mutex<Vec<String>>>;

impl Flawed {
    pub(crate) fn assert_nothing_heard(&self) {
        assert_eq!(*self.heard.lock().unwrap(), Vec::<String>::new());
    }
}

/// What a server does with a connection.
#[derive(Clone)]
enum Way {
    /// It shows a certificate.
    Shows(TlsAcceptor),
    /// It answers the first words with these bytes.
    Says(Vec<u8>),
}

/// An alert that ends a handshake.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

/// A server's first message in TLS 1.1, the newest that it knows.
fn hello_of_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, AES128-SHA, no compression.
    hello.extend([0, 0, 47, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 2, 0, length + 4, 2, 0, 0, length];
    record.extend(hello);
    record
}

/// A certificate for `name`, valid until the year `until`, of the authority.
fn server(authority: &Issuer<'_, KeyPair>, name: &str, until: i32) -> Way {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    Way::Shows(TlsAcceptor::from(Arc::new(config.unwrap())))
}

/// An authority, and the file of its certificate.
fn authority(folder: &Path, name: &str) -> (Issuer<'static, KeyPair>, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let of = name.split(' ').next().unwrap();
    params.distinguished_name.push(DnType::CommonName, of);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let path = folder.join(format!("{name}.pem"));
    fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
    (Issuer::new(params, key), path)
}

/// Starts them all, by the codes that clients have for their flaws, until the tasks are dropped.
pub(crate) async fn all(folder: &Path, tasks: &mut JoinSet<()>) -> BTreeMap<&'static str, Flawed> {
    let (ours, trusted) = authority(folder, "trusted");
    let (_, other) = authority(folder, "other");
    let (_, renewed) = authority(folder, "trusted with another key");
    let here = "127.0.0.1";
    let page = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let ways = [
        ("tls_name", server(&ours, "other.example", 2099), &trusted),
        ("tls_expired", server(&ours, here, 2020), &trusted),
        ("tls_authority", server(&ours, here, 2099), &other),
        (
            "tls_authority by its key",
            server(&ours, here, 2099),
            &renewed,
        ),
        ("tls_version", Way::Says(hello_of_1_1()), &trusted),
        ("tls_version by alert", Way::Says(alert(70)), &trusted),
        ("tls_refused", Way::Says(alert(40)), &trusted),
        ("tls", Way::Says(page.to_vec()), &trusted),
    ];
    let mut all = BTreeMap::new();
    for (flaw, way, ca_file) in ways {
        let listener = TcpListener::bind((here, 0)).await.unwrap();
        let server = Flawed {
            address: listener.local_addr().unwrap().to_string(),
            ca_file: ca_file.clone(),
            heard: Heard::default(),
        };
        tasks.spawn(serve(listener, way, Arc::clone(&server.heard)));
        all.insert(flaw, server);
    }
    all
}

async fn serve(listener: TcpListener, way: Way, heard: Heard) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (way, heard) = (way.clone(), Arc::clone(&heard));
        connections.spawn(async move {
            if let Err(what) = meet(socket, way).await {
                heard.lock().unwrap().push(what);
            }
        });
    }
}

/// Whether the bytes begin with a record of a handshake, or an alert.
fn is_handshake(bytes: &[u8]) -> bool {
    matches!(bytes.first(), None | Some(21 | 22))
}

/// Whatever is heard that is of no handshake is an error.
async fn meet(mut socket: TcpStream, way: Way) -> Result<(), String> {
    let mut heard = [0; 4_096];
    let first = socket.peek(&mut heard).await.unwrap_or(0);
    let mut read = &heard[..first];
    let told = |bytes: &[u8]| format!("heard {:?}", String::from_utf8_lossy(bytes));
    if !is_handshake(read) {
        return Err(told(read));
    }
    match way {
        Way::Shows(acceptor) => match acceptor.accept(socket).await {
            Ok(_) => Err("the client took the certificate".to_owned()),
            Err(_) => Ok(()),
        },
        Way::Says(bytes) => {
            let mut answer = Some(bytes);
            while !read.is_empty() {
                let length = socket.read(&mut heard).await.unwrap_or(0);
                read = &heard[..length];
                if !is_handshake(read) {
                    return Err(told(read));
                }
                if let Some(answer) = answer.take() {
                    // It may have gone already.
                    socket.write_all(&answer).await.ok();
                }
            }
            Ok(())
        }
    }
}
