//! Real receivers: rsyslog and syslog-ng, as Debian packages them, on loopback. What they write to files is compared by event id.
//!
//! Needs `rsyslogd` (with its `ossl` driver), `openssl` and `syslog-ng`. Debian's packages of the two exclude each other, so that
//! syslog-ng may also lie unpacked in `target/syslog-ng`, as `.ci/run` puts it there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which Clippy's exemption for tests does not reach"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::model::{EventId, Form, LaneId, Record, Timestamp};
use mimecast_collector::output::batching::Then;
use mimecast_collector::output::format::Format;
use mimecast_collector::output::syslog::{Framing, Rfc, Syslog, SyslogConfig, Transport};
use mimecast_collector::output::{Batch, Output, Verdict};
use mimecast_collector::secret::SecretSource;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// A receiver that ends with the test.
struct Receiver {
    child: Child,
    folder: TempDir,
    /// TCP, TLS, UDP.
    ports: [u16; 3],
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ports that nothing listens on.
fn free_ports() -> [u16; 3] {
    let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn openssl(folder: &Path, arguments: &str) {
    let command = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output();
    let output = command.unwrap_or_else(|e| panic!("openssl is not installed: {e}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An authority, and certificates of a server and a client of its.
fn make_certificates(folder: &Path) {
    fs::write(
        folder.join("ext"),
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=Authority",
    );
    for name in ["server", "client"] {
        openssl(
            folder,
            &format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
            ),
        );
    }
}

impl Receiver {
    async fn start(name: &str, config: impl FnOnce(&str, [u16; 3]) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path());
        let ports = free_ports();
        let path = folder.path().to_str().unwrap();
        fs::write(folder.path().join("conf"), config(path, ports)).unwrap();
        let mut command = match name {
            "rsyslog" => rsyslog(folder.path()),
            _ => syslog_ng(folder.path()),
        };
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{name} is not installed: {e}"));
        let receiver = Self {
            child,
            folder,
            ports,
        };
        for port in [ports[0], ports[1]] {
            receiver
                .wait(&format!("listens on {port}"), || {
                    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
                })
                .await;
        }
        receiver
    }

    async fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let all = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, all).await.is_err() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("in vain: {what}\n{log}");
        }
    }

    fn config(&self, transport: Transport, framing: Framing, mutual: bool) -> SyslogConfig {
        let [tcp, tls, udp] = self.ports;
        let file = |name: &str| self.folder.path().join(name);
        let (server, is_tls) = match transport {
            Transport::Tls => (format!("localhost:{tls}"), true),
            Transport::Udp => (format!("127.0.0.1:{udp}"), false),
            Transport::Tcp | Transport::Unix => (format!("127.0.0.1:{tcp}"), false),
        };
        SyslogConfig {
            servers: vec![server],
            transport,
            rfc: Rfc::Rfc5424,
            framing,
            format: Format::Json,
            facility: 16,
            app_name: "mimecast-collector".to_owned(),
            hostname: Some("collector-1".to_owned()),
            oversized: Then::Truncate,
            max_bytes: if transport == Transport::Udp {
                2_048
            } else {
                8_192
            },
            ca_file: is_tls.then(|| file("ca.pem")),
            client_cert: mutual.then(|| file("client.pem")),
            client_key: mutual.then(|| SecretSource::File(file("client.key"))),
        }
    }

    /// Delivers so many events, the ids of which begin with `series`, and waits until the receiver has written them all.
    async fn take(&self, config: &SyslogConfig, series: u8, events: u32) {
        let key = config.client_key.as_ref().map(|key| key.read().unwrap());
        let output = Syslog::new(config, key).unwrap();
        let clock = Clock::system();
        let batch = Batch::new(
            LaneId::from_text("acme-uk/audit"),
            (0..events).map(|n| event(series, n)).collect(),
        );
        let mut sent = 0;
        while sent < batch.len() {
            let part = batch.slice(sent..batch.len()).first(output.limits());
            let delivery = output.deliver(&part).await;
            assert_eq!((delivery.accepted, &delivery.failure), (part.len(), &None));
            if let Some(receipt) = delivery.pending {
                let verdicts = output.confirmations(&clock).await;
                assert_eq!(verdicts, [(receipt, Verdict::Accepted)]);
            }
            sent += part.len();
        }
        let expected: BTreeSet<_> = batch
            .records()
            .iter()
            .map(|record| record.id.to_string())
            .collect();
        let beginning = format!("{series:02x}");
        let mut written = Vec::new();
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                written = self.ids(&beginning);
                if written.len() >= expected.len() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let complete = found.await.is_ok();
        let distinct: BTreeSet<_> = written.iter().cloned().collect();
        let missing = expected.difference(&distinct).count();
        println!(
            "{:?} {:?}: {events} sent, {} written, {missing} missing",
            config.transport,
            config.framing,
            written.len()
        );
        assert!(
            complete && missing == 0 && distinct == expected,
            "{missing} missing"
        );
        assert_eq!(written.len(), expected.len(), "some were written twice");
    }

    /// The event ids of a series in what the receiver has written.
    fn ids(&self, series: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("out")).unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with(']'));
        let ids = whole.filter_map(|line| line.split_once("eventId=\"")?.1.split_once('"'));
        ids.map(|(id, _)| id.to_owned())
            .filter(|id| id.starts_with(series))
            .collect()
    }
}

fn event(series: u8, n: u32) -> Record {
    let mut id = [0; 16];
    id[0] = series;
    id[12..].copy_from_slice(&n.to_be_bytes());
    Record {
        id: EventId(id),
        time: Timestamp::from_millis(1_767_690_487_000),
        form: Form::Json,
        kind: "audit".into(),
        body: format!(r#"{{"n":{n},"subject":"é 日本 \n <13>1 - forged \u0000"}}"#).into(),
    }
}

fn rsyslog(folder: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command
        .arg("-n")
        .arg("-f")
        .arg(folder.join("conf"))
        .arg("-i")
        .arg(folder.join("pid"));
    command
}

fn syslog_ng(folder: &Path) -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/syslog-ng");
    let root = if unpacked.exists() {
        unpacked
    } else {
        PathBuf::from("/")
    };
    let library = root.join("usr/lib/syslog-ng");
    let modules =
        fs::read_dir(&library).unwrap_or_else(|e| panic!("syslog-ng is not installed: {e}"));
    let modules = modules
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir());
    let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
    command
        .env("LD_LIBRARY_PATH", &library)
        .args(["--foreground", "--no-caps", "--module-path"])
        .arg(modules.unwrap());
    for (option, name) in [
        ("-f", "conf"),
        ("-p", "pid"),
        ("-c", "control"),
        ("-R", "persist"),
    ] {
        command.arg(option).arg(folder.join(name));
    }
    command
}

async fn takes_everything(receiver: &Receiver, mutual: bool, lf: bool) {
    let counted = receiver.config(Transport::Tcp, Framing::OctetCounting, false);
    receiver.take(&counted, 1, 10_000).await;
    if lf {
        receiver
            .take(
                &receiver.config(Transport::Tcp, Framing::Lf, false),
                2,
                10_000,
            )
            .await;
    }
    receiver
        .take(
            &receiver.config(Transport::Tls, Framing::OctetCounting, mutual),
            3,
            10_000,
        )
        .await;
    receiver
        .take(
            &receiver.config(Transport::Udp, Framing::Lf, false),
            4,
            1_000,
        )
        .await;
}

#[tokio::test]
async fn rsyslog_writes_every_event() {
    let receiver = Receiver::start("rsyslog", |folder, [tcp, tls, udp]| {
        format!(
            r#"
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriverCAFile="{folder}/ca.pem"
  defaultNetstreamDriverCertFile="{folder}/server.pem" defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp")
module(load="imudp")
template(name="data" type="string" string="%structured-data%\n")
ruleset(name="all") {{ action(type="omfile" file="{folder}/out" template="data") }}
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="all")
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="all" rcvbufSize="1m")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="all"
  StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
"#
        )
    })
    .await;
    takes_everything(&receiver, false, true).await;
}

#[tokio::test]
async fn syslog_ng_writes_every_event() {
    let receiver = Receiver::start("syslog-ng", |folder, [tcp, tls, udp]| {
        format!(
            r#"@version: 3.38
options {{ keep-hostname(yes); use-dns(no); dns-cache(no); chain-hostnames(no); log-msg-size(65536); }};
source s {{
  syslog(ip("127.0.0.1") port({tcp}) transport("tcp"));
  syslog(ip("127.0.0.1") port({udp}) transport("udp") so-rcvbuf(1048576));
  syslog(ip("127.0.0.1") port({tls}) transport("tls") tls(key-file("{folder}/server.key")
    cert-file("{folder}/server.pem") ca-file("{folder}/ca.pem") peer-verify(required-trusted)));
}};
destination d {{ file("{folder}/out" template("${{SDATA}}\n") log-fifo-size(100000)); }};
log {{ source(s); destination(d); flags(flow-control); }};
"#
        )
    })
    .await;
    // Its syslog() takes counted messages only.
    takes_everything(&receiver, true, false).await;
    // And the TLS of a client without a certificate is refused, not taken without one.
    let config = receiver.config(Transport::Tls, Framing::OctetCounting, false);
    let refused = Syslog::new(&config, None).unwrap();
    let one = Batch::new(LaneId::from_text("acme-uk/audit"), vec![event(9, 0)]);
    let delivery = refused.deliver(&one).await;
    // In TLS 1.3 the server refuses when the client is done already.
    let failure = match (delivery.failure, delivery.pending) {
        (Some(failure), _) => failure,
        (None, None) => panic!("taken without a certificate"),
        (None, Some(receipt)) => match refused.confirmations(&Clock::system()).await.remove(0) {
            (lost, Verdict::Lost(failure)) if lost == receipt => failure,
            other => panic!("taken without a certificate: {other:?}"),
        },
    };
    assert_eq!(failure.key(), "syslog/tls_refused");
}

#[tokio::test]
async fn syslog_ng_takes_lines_where_it_is_told_to() {
    let receiver = Receiver::start("syslog-ng", |folder, [tcp, other, _]| {
        format!(
            r#"@version: 3.38
options {{ keep-hostname(yes); use-dns(no); dns-cache(no); chain-hostnames(no); log-msg-size(65536); }};
source s {{
  network(ip("127.0.0.1") port({tcp}) transport("tcp") flags(syslog-protocol));
  network(ip("127.0.0.1") port({other}) transport("tcp") flags(syslog-protocol));
}};
destination d {{ file("{folder}/out" template("${{SDATA}}\n") log-fifo-size(100000)); }};
log {{ source(s); destination(d); flags(flow-control); }};
"#
        )
    })
    .await;
    receiver
        .take(
            &receiver.config(Transport::Tcp, Framing::Lf, false),
            2,
            10_000,
        )
        .await;
}

#[tokio::test]
async fn a_receiver_whose_certificate_does_not_fit_gets_no_event() {
    let receiver = Receiver::start("rsyslog", |folder, [tcp, tls, _]| {
        format!(
            r#"
global(workDirectory="{folder}" defaultNetstreamDriverCAFile="{folder}/ca.pem"
  defaultNetstreamDriverCertFile="{folder}/server.pem" defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp")
template(name="data" type="string" string="%structured-data%\n")
ruleset(name="all") {{ action(type="omfile" file="{folder}/out" template="data") }}
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="all"
  StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
"#
        )
    })
    .await;
    let good = receiver.config(Transport::Tls, Framing::OctetCounting, false);
    let tls = receiver.ports[1];
    let other_name = SyslogConfig {
        servers: vec![format!("127.0.0.1:{tls}")],
        ..good.clone()
    };
    let no_authority = SyslogConfig {
        ca_file: None,
        ..good
    };
    for (config, key) in [
        (other_name, "syslog/tls_name"),
        (no_authority, "syslog/tls_authority"),
    ] {
        let one = Batch::new(LaneId::from_text("acme-uk/audit"), vec![event(7, 0)]);
        let delivery = Syslog::new(&config, None).unwrap().deliver(&one).await;
        assert_eq!(
            (delivery.accepted, delivery.failure.unwrap().key()),
            (0, key.to_owned())
        );
    }
    assert_eq!(receiver.ids("07"), Vec::<String>::new());
}
