//! The contract, and what else is relied on, with real servers of etcd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::cluster::etcd::{Etcd, EtcdConfig};
use mimecast_collector::cluster::memory::Memory;
use mimecast_collector::cluster::registry::{
    Change, Compare, LeaseId, Registry, RegistryError, Revision,
};
use mimecast_collector::http::{Connection, Proxy, Purpose, client_as};
use mimecast_collector::model::Timestamp;
use mimecast_collector::secret::{Secret, SecretSource};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::servers::{Servers, config};
use super::{absent, entry, keeps_the_contract, put};
use crate::program::harness::{folder, within};

/// Longer than a busy machine needs for an answer.
const LONG: Duration = Duration::from_secs(20);

async fn until_gone(registry: &Etcd, key: &str) {
    let gone = async { while registry.get(key).await.unwrap().is_some() {} };
    within("the end of a lease", gone).await;
}

#[tokio::test]
async fn three_servers_of_etcd_keep_the_contract() {
    let servers = Servers::start(3, folder()).await;
    let etcd = Etcd::new(&config(&servers.urls()), LONG).unwrap();
    keeps_the_contract(&etcd, until_gone).await;
}

/// A generator of numbers below a bound; equal seeds give equal numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's, of which the upper half is good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn key(&mut self) -> String {
        ["a", "b", "ab", "é", "a/1"][usize::try_from(self.below(5)).unwrap()].to_owned()
    }

    fn revision(&mut self, last: Revision) -> Revision {
        Revision(last.0.saturating_sub(self.below(4)))
    }
}

/// The names that two registries have for the same leases.
type Leases = Vec<(LeaseId, LeaseId)>;

#[tokio::test]
async fn the_registry_in_memory_answers_as_etcd_does() {
    let servers = Servers::start(1, folder()).await;
    let etcd = Etcd::new(&config(&servers.urls()), LONG).unwrap();
    let memory = Memory::new(Clock::manual(Timestamp::from_millis(0)));
    let seed = 20_261_130;
    let mut numbers = Numbers(seed);
    let mut leases = Leases::new();
    let mut last = Revision(1);
    for step in 0..5_000 {
        let at = format!("seed {seed}, step {step}");
        match numbers.below(10) {
            0 => {
                let ttl = Duration::from_secs(600);
                let pair = (
                    etcd.grant(ttl).await.unwrap(),
                    memory.grant(ttl).await.unwrap(),
                );
                leases.push(pair);
            }
            1 => {
                let n = numbers.below(leases.len().max(1) as u64);
                if let Some((one, other)) = leases.get(usize::try_from(n).unwrap()) {
                    let ended = (etcd.revoke(*one).await, memory.revoke(*other).await);
                    assert_eq!(ended, (Ok(()), Ok(())), "{at}");
                }
            }
            2 => {
                let n = numbers.below(leases.len().max(1) as u64);
                if let Some((one, other)) = leases.get(usize::try_from(n).unwrap()) {
                    let renewed = (etcd.keep_alive(*one).await, memory.keep_alive(*other).await);
                    assert_eq!(renewed.0, renewed.1, "{at}");
                }
            }
            3 => {
                let key = numbers.key();
                let found = (
                    etcd.get(&key).await.unwrap(),
                    memory.get(&key).await.unwrap(),
                );
                let (found, other) = (found.0.into_iter(), found.1.into_iter());
                assert!(same(found.collect(), other.collect(), &leases), "{at}");
            }
            4 => {
                let prefix = ["", "a", "é"][usize::try_from(numbers.below(3)).unwrap()];
                let found = etcd.range(prefix).await.unwrap();
                let other = memory.range(prefix).await.unwrap();
                assert_eq!(found.revision, other.revision, "{at}");
                last = found.revision;
                assert!(same(found.entries, other.entries, &leases), "{at}");
            }
            _ => {
                let when: Vec<_> = (0..numbers.below(3))
                    .map(|_| compare(&mut numbers, last))
                    .collect();
                let (mut then, mut other) = (Vec::new(), Vec::new());
                for _ in 0..numbers.below(4) {
                    let (one, two) = change(&mut numbers, &leases);
                    then.push(one);
                    other.push(two);
                }
                let done = etcd.txn(&when, &then).await;
                let other = memory.txn(&when, &other).await;
                // Of a refusal the kind counts, not its words.
                let kind = |done: &Result<_, _>| match done {
                    Ok(done) => format!("{done:?}"),
                    Err(RegistryError::LeaseOver(_)) => "lease".to_owned(),
                    Err(RegistryError::Refused(_)) => "refused".to_owned(),
                    Err(other) => panic!("{at}: {other}"),
                };
                assert_eq!(kind(&done), kind(&other), "{at}: {when:?} {then:?}");
            }
        }
    }
    assert!(last > Revision(300), "too little happened: {last}");
}

fn compare(numbers: &mut Numbers, last: Revision) -> Compare {
    let key = numbers.key();
    match numbers.below(4) {
        0 => Compare::Absent(key),
        1 => Compare::Created(key, numbers.revision(last)),
        2 => Compare::Modified(key, numbers.revision(last)),
        _ => Compare::Value(key, vec![u8::try_from(numbers.below(3)).unwrap()]),
    }
}

/// The same change, with the lease as each of the two registries calls it.
fn change(numbers: &mut Numbers, leases: &Leases) -> (Change, Change) {
    let key = numbers.key();
    if numbers.below(4) == 0 {
        return (Change::Delete(key.clone()), Change::Delete(key));
    }
    let value = [u8::try_from(numbers.below(3)).unwrap()];
    let n = usize::try_from(numbers.below(leases.len() as u64 * 2 + 1)).unwrap();
    let (one, other) = leases.get(n).copied().unzip();
    (put(&key, &value, one), put(&key, &value, other))
}

fn same(
    found: Vec<mimecast_collector::cluster::registry::Entry>,
    mut other: Vec<mimecast_collector::cluster::registry::Entry>,
    leases: &Leases,
) -> bool {
    for entry in &mut other {
        let lease = leases.iter().find(|(_, other)| Some(*other) == entry.lease);
        entry.lease = lease.map(|(one, _)| *one);
    }
    found == other
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_when_the_leader_and_then_the_majority_dies() {
    let mut servers = Servers::start(3, folder()).await;
    let etcd = Etcd::new(&config(&servers.urls()), LONG).unwrap();
    let lease = etcd.grant(Duration::from_secs(600)).await.unwrap();
    let owner = [put("owner/acme", b"a", Some(lease))];
    let fence = etcd.txn(&[absent("owner/acme")], &owner).await;
    let fence = fence.unwrap().unwrap();

    // The leader dies: two go on under another one, with the lease and the fence.
    let leader = servers.until_led().await;
    servers.kill_9(leader);
    servers.until_led().await;
    assert_eq!(etcd.keep_alive(lease).await, Ok(true));
    assert_eq!(entry(&etcd, "owner/acme").await.created, fence);
    let own = [Compare::Created("owner/acme".to_owned(), fence)];
    let written = etcd.txn(&own, &[put("shared/acme", b"1", None)]).await;
    written.unwrap().unwrap();

    // One of three is left: it answers nothing, and says so in time. It may have taken the transaction nevertheless.
    let second = servers.until_led().await;
    servers.kill_9(second);
    let impatient = Etcd::new(&config(&servers.urls()), Duration::from_secs(2)).unwrap();
    let error = impatient.get("owner/acme").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    let error = impatient.keep_alive(lease).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    let maybe = [put("shared/acme", b"2", None)];
    let error = impatient.txn(&own, &maybe).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");

    // They come back, with everything that was answered.
    servers.restart(leader);
    servers.restart(second);
    servers.until_led().await;
    assert_eq!(etcd.keep_alive(lease).await, Ok(true));
    let owner = entry(&etcd, "owner/acme").await;
    assert_eq!((owner.created, owner.lease), (fence, Some(lease)));
    let value = entry(&etcd, "shared/acme").await.value;
    assert!(value == b"1" || value == b"2", "{value:?}");
}

/// An authority's certificate, and those of a server and a client with their keys, as files.
fn certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    save("ca.pem", authority.pem());
    for (name, host) in [
        ("server", "127.0.0.1"),
        ("client", "collector"),
        ("named", "collector"),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if name != "named" {
            params.distinguished_name = DistinguishedName::new();
        }
        // The gateway of a server is a client of the server itself, and shows it the server's certificate.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        save(&format!("{name}.pem"), certificate.pem());
        save(&format!("{name}.key"), key.serialize_pem());
    }
}

/// A server that lets in none but the client, over TLS.
async fn strict() -> Servers {
    let folder: TempDir = folder();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let more = [
        ("ETCD_CERT_FILE", file("server.pem")),
        ("ETCD_KEY_FILE", file("server.key")),
        ("ETCD_TRUSTED_CA_FILE", file("ca.pem")),
        ("ETCD_CLIENT_CERT_AUTH", "true".to_owned()),
    ];
    let more = more.map(|(name, value)| (name.to_owned(), value)).into();
    let path = folder.path().to_owned();
    Servers::start_with(1, "https", &more, folder, |urls| known(urls, &path)).await
}

/// As the client that the authority vouches for.
fn known(urls: &[String], folder: &Path) -> EtcdConfig {
    EtcdConfig {
        client_cert: Some(folder.join("client.pem")),
        client_key: Some(SecretSource::File(folder.join("client.key"))),
        ca_file: Some(folder.join("ca.pem")),
        ..config(urls)
    }
}

#[tokio::test]
async fn users_and_certificates_of_etcd_are_used_and_a_refusal_says_what_to_do() {
    let servers = strict().await;
    let (urls, folder) = (servers.urls(), servers.folder().to_owned());
    let known = known(&urls, &folder);
    let etcd = |config: &EtcdConfig| Etcd::new(config, LONG).unwrap();
    let told = async |config: &EtcdConfig| {
        let error = etcd(config).try_rights("/mc/").await.unwrap_err();
        let text = error.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("wrong-password"),
            "{text}"
        );
        text
    };
    assert_eq!(etcd(&known).try_rights("/mc/").await, Ok(()));

    // Without the authority, and without a certificate.
    let mut config = EtcdConfig {
        ca_file: None,
        ..known.clone()
    };
    let text = told(&config).await;
    assert!(text.contains("name its PEM file as ca_file"), "{text}");
    config = EtcdConfig {
        ca_file: known.ca_file.clone(),
        ..super::servers::config(&urls)
    };
    let text = told(&config).await;
    assert!(text.contains("https://127.0.0.1:"), "{text}");
    assert!(text.to_lowercase().contains("certificate"), "{text}");

    // With users, whose rights end at a prefix.
    with_users(&urls[0], &folder).await;
    let as_user = |name: &str, password: &str| EtcdConfig {
        login: Some((
            name.to_owned(),
            SecretSource::Literal(Secret::new(password.to_owned())),
        )),
        ..known.clone()
    };
    let text = told(&known).await;
    assert!(
        text.contains("set username and password in [cluster]"),
        "{text}"
    );
    let text = told(&as_user("collector", "wrong-password")).await;
    assert!(text.contains("correct username or password"), "{text}");
    // With a certificate that names a user, which the gateway would not heed.
    let named = EtcdConfig {
        client_cert: Some(folder.join("named.pem")),
        client_key: Some(SecretSource::File(folder.join("named.key"))),
        ..as_user("collector", "hunter2")
    };
    let text = told(&named).await;
    assert!(text.contains("without a CommonName"), "{text}");

    let user = etcd(&as_user("collector", "hunter2"));
    assert_eq!(user.try_rights("/mc/").await, Ok(()));
    assert_eq!(user.range("/mc/").await.unwrap().entries, []);
    let error = user.try_rights("/other/").await.unwrap_err().to_string();
    assert!(error.contains("etcdctl role grant-permission"), "{error}");
    keeps_rights_over_changes(&user, &urls[0], &folder).await;
}

/// Tokens lose their worth when rights change: nobody notices.
async fn keeps_rights_over_changes(user: &Etcd, url: &str, folder: &Path) {
    let lease = user.grant(Duration::from_secs(60)).await.unwrap();
    for round in 0..3 {
        let name = format!("another{round}");
        asked(
            url,
            folder,
            "/v3/auth/user/add",
            &json!({"name": name, "password": "x"}),
            true,
        )
        .await;
        let put = [put("/mc/owner", name.as_bytes(), Some(lease))];
        assert!(user.txn(&[], &put).await.unwrap().is_some());
        assert_eq!(user.keep_alive(lease).await, Ok(true));
    }
    user.revoke(lease).await.unwrap();
    assert_eq!(user.get("/mc/owner").await, Ok(None));
}

/// Makes the user `collector` with a role for `/mc/`, and turns users on.
async fn with_users(url: &str, folder: &Path) {
    use base64::Engine as _;
    let encode = |key: &str| base64::engine::general_purpose::STANDARD.encode(key);
    let permission =
        json!({"permType": "READWRITE", "key": encode("/mc/"), "range_end": encode("/mc0")});
    for (path, body) in [
        (
            "/v3/auth/user/add",
            json!({"name": "root", "password": "root"}),
        ),
        (
            "/v3/auth/user/grant",
            json!({"user": "root", "role": "root"}),
        ),
        ("/v3/auth/role/add", json!({"name": "collector"})),
        (
            "/v3/auth/role/grant",
            json!({"name": "collector", "perm": permission}),
        ),
        (
            "/v3/auth/user/add",
            json!({"name": "collector", "password": "hunter2"}),
        ),
        (
            "/v3/auth/user/grant",
            json!({"user": "collector", "role": "collector"}),
        ),
        ("/v3/auth/enable", json!({})),
    ] {
        asked(url, folder, path, &body, false).await;
    }
}

/// Asks the server for something that an administrator asks for, as root once there are users.
async fn asked(url: &str, folder: &Path, path: &str, body: &Value, as_root: bool) -> Value {
    let connection = Connection {
        ca_file: Some(folder.join("ca.pem")),
        proxy: Proxy::None,
    };
    let key = SecretSource::File(folder.join("client.key"))
        .read()
        .unwrap();
    let certificate = folder.join("client.pem");
    let client = client_as(&connection, Purpose::Api, Some((&certificate, &key))).unwrap();
    let mut request = client.post(format!("{url}{path}")).body(body.to_string());
    if as_root {
        let login = json!({"name": "root", "password": "root"});
        let login = Box::pin(asked(url, folder, "/v3/auth/authenticate", &login, false)).await;
        request = request.header("Authorization", login["token"].as_str().unwrap());
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}
