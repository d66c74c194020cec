//! What a registry promises: one contract, for the one in memory and for etcd's servers.

#![expect(
    clippy::indexing_slicing,
    reason = "helpers of tests, which Clippy's exemption for tests does not reach"
)]

#[cfg(feature = "system-tests")]
mod etcd;
#[cfg(feature = "system-tests")]
pub(crate) mod servers;

use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::cluster::memory::Memory;
use mimecast_collector::cluster::registry::{
    Change, Compare, Entry, LeaseId, Registry, RegistryError, Revision,
};
use mimecast_collector::model::Timestamp;

/// The shortest lease that etcd grants as it is set up by default.
const TTL: Duration = Duration::from_secs(2);

fn put(key: &str, value: &[u8], lease: Option<LeaseId>) -> Change {
    Change::Put {
        key: key.to_owned(),
        value: value.to_vec(),
        lease,
    }
}

fn absent(key: &str) -> Compare {
    Compare::Absent(key.to_owned())
}

fn created(key: &str, at: Revision) -> Compare {
    Compare::Created(key.to_owned(), at)
}

async fn entry(registry: &impl Registry, key: &str) -> Entry {
    registry.get(key).await.unwrap().unwrap()
}

/// All that the rules of a cluster rely on. `ends` lets the time of a lease run out, under which the key is.
async fn keeps_the_contract<R: Registry>(registry: &R, ends: impl AsyncFn(&R, &str)) {
    // One of two wins, and its change is the fence.
    let lease = registry.grant(TTL).await.unwrap();
    let take = [put("owner/acme", b"a", Some(lease))];
    let free = [absent("owner/acme")];
    let fence = registry.txn(&free, &take).await.unwrap().unwrap();
    assert_eq!(registry.txn(&free, &take).await, Ok(None));
    let expected = Entry {
        key: "owner/acme".to_owned(),
        value: b"a".to_vec(),
        created: fence,
        modified: fence,
        lease: Some(lease),
    };
    assert_eq!(entry(registry, "owner/acme").await, expected);
    assert_eq!(registry.get("owner/acm").await, Ok(None));

    // The owner's record goes with the fence; putting the key again leaves the fence as it is.
    let record = |text: &[u8]| [put("shared/acme", text, None)];
    let own = [
        created("owner/acme", fence),
        Compare::Value("owner/acme".to_owned(), b"a".to_vec()),
    ];
    let written = registry.txn(&own, &record(b"1")).await.unwrap().unwrap();
    assert!(written > fence);
    let again = registry.txn(&own, &take).await.unwrap().unwrap();
    let now = entry(registry, "owner/acme").await;
    assert_eq!((now.created, now.modified), (fence, again));
    let stale = [Compare::Modified("owner/acme".to_owned(), fence)];
    assert_eq!(registry.txn(&stale, &record(b"x")).await, Ok(None));
    let fresh = [Compare::Modified("owner/acme".to_owned(), again)];
    registry.txn(&fresh, &record(b"2")).await.unwrap().unwrap();

    // A lease that is renewed goes on; one that is not takes its keys along, and only those.
    assert_eq!(registry.keep_alive(lease).await, Ok(true));
    ends(registry, "owner/acme").await;
    assert_eq!(registry.get("owner/acme").await, Ok(None));
    assert_eq!(entry(registry, "shared/acme").await.value, b"2");
    assert_eq!(registry.keep_alive(lease).await, Ok(false));
    assert_eq!(registry.revoke(lease).await, Ok(()));
    let late = registry.txn(&[], &take).await.unwrap_err();
    assert!(matches!(late, RegistryError::LeaseOver(_)), "{late}");

    // Whoever comes next has a later fence, and the former owner can write nothing.
    let lease = registry.grant(TTL * 30).await.unwrap();
    let take = [put("owner/acme", b"a", Some(lease))];
    let next = registry.txn(&free, &take).await.unwrap().unwrap();
    assert!(next > written);
    assert_eq!(registry.txn(&own, &record(b"zombie")).await, Ok(None));
    assert_eq!(entry(registry, "shared/acme").await.value, b"2");

    // A transaction is one change; a listing is of one moment and of one prefix.
    let both = [
        put("node/b", b"", Some(lease)),
        put("node/a", &[0, 255], Some(lease)),
        Change::Delete("shared/acme".to_owned()),
        Change::Delete("shared/nobody".to_owned()),
    ];
    let at = registry.txn(&[], &both).await.unwrap().unwrap();
    let listing = registry.range("node/").await.unwrap();
    assert_eq!(listing.revision, at);
    let keys: Vec<_> = listing.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["node/a", "node/b"]);
    assert!(listing.entries.iter().all(|e| e.created == at));
    assert_eq!(listing.entries[0].value, [0, 255]);
    let owners = registry.range("owner").await.unwrap().entries;
    assert_eq!(owners.len(), 1);

    // A lease that is ended takes all its keys in one change.
    registry.revoke(lease).await.unwrap();
    let listing = registry.range("").await.unwrap();
    assert_eq!(listing.entries, []);
    assert_eq!(listing.revision, Revision(at.0 + 1));

    // A key is changed once in a transaction.
    for twice in [put("x", b"2", None), Change::Delete("x".to_owned())] {
        let twice = [put("x", b"1", None), twice];
        let refused = registry.txn(&[], &twice).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Refused(_)), "{refused}");
        assert!(refused.to_string().contains("duplicate key"), "{refused}");
    }
    let many: Vec<_> = (0..129).map(|n| absent(&format!("many/{n}"))).collect();
    let refused = registry.txn(&many, &[]).await.unwrap_err();
    assert!(
        refused.to_string().contains("too many operations"),
        "{refused}"
    );
    assert_eq!(registry.get("x").await, Ok(None));
}

#[tokio::test]
async fn the_registry_in_memory_keeps_the_contract() {
    let clock = Clock::manual(Timestamp::from_millis(0));
    let memory = Memory::new(clock.clone());
    keeps_the_contract(&memory, async |_, _| clock.advance(TTL)).await;
}
