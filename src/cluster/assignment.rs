//! Which node should own which integration. Pure: every node computes the same from the same keys.
//!
//! What a node owns it keeps, up to its share, so that a node that is lost moves its own integrations and no other, and one that joins takes
//! over its share and no more. What nobody owns goes to the node that is preferred for it by rendezvous hashing, among those that have
//! less than their share. Hashing alone would leave some nodes with a quarter more than others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use sha2::Digest as _;

use crate::model::IntegrationId;

/// The node that each integration should be owned by; empty if there are no nodes.
///
/// `nodes` are those that take integrations, `owners` says whose the integrations are now. The shares of nodes differ by one at most.
#[must_use]
pub fn assign<'n>(
    integrations: &BTreeSet<IntegrationId>,
    nodes: &'n BTreeSet<String>,
    owners: &BTreeMap<IntegrationId, String>,
) -> BTreeMap<IntegrationId, &'n str> {
    let mut owned: BTreeMap<&'n str, Vec<&IntegrationId>> = BTreeMap::new();
    for node in nodes {
        let is_its = |id: &&IntegrationId| owners.get(*id).is_some_and(|owner| owner == node);
        let mut its: Vec<_> = integrations.iter().filter(is_its).collect();
        // What it keeps first is what it is preferred for most.
        its.sort_by_key(|id| (Reverse(weight(node, id)), *id));
        owned.insert(node, its);
    }
    let mut assigned = BTreeMap::new();
    let mut room = shares(integrations.len(), &owned);
    for (node, its) in &owned {
        let left = room.entry(node).or_default();
        for id in its.iter().take(*left) {
            assigned.insert((*id).clone(), *node);
        }
        *left = left.saturating_sub(its.len());
    }
    for id in integrations {
        if assigned.contains_key(id) {
            continue;
        }
        let free = room.iter().filter(|(_, left)| **left > 0);
        let preferred = free
            .map(|(node, _)| *node)
            .max_by_key(|node| (weight(node, id), *node));
        if let Some(node) = preferred {
            assigned.insert(id.clone(), node);
            room.entry(node).and_modify(|left| *left -= 1);
        }
    }
    assigned
}

/// How many integrations each node should own. If they cannot be even, those that own most have one more.
fn shares<'n>(
    integrations: usize,
    owned: &BTreeMap<&'n str, Vec<&IntegrationId>>,
) -> BTreeMap<&'n str, usize> {
    let nodes = owned.len().max(1);
    let (each, more) = (integrations / nodes, integrations % nodes);
    let mut ranked: Vec<_> = owned.iter().collect();
    ranked.sort_by_key(|(node, its)| (Reverse(its.len()), **node));
    let share =
        |(rank, (node, _)): (usize, (&&'n str, _))| (*node, each + usize::from(rank < more));
    ranked.into_iter().enumerate().map(share).collect()
}

/// How much a node is preferred for an integration: the first 64 bits of SHA-256 over both names.
fn weight(node: &str, integration: &IntegrationId) -> u64 {
    let mut hash = sha2::Sha256::new();
    hash.update(node);
    hash.update([0]);
    hash.update(integration.as_str());
    let bytes = hash.finalize();
    let first = bytes.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integrations(count: usize) -> BTreeSet<IntegrationId> {
        let name = |n| IntegrationId::new(&format!("tenant-{n:03}")).unwrap();
        (0..count).map(name).collect()
    }

    fn nodes(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// What is so once everybody has done what should be.
    fn settled(assigned: &BTreeMap<IntegrationId, &str>) -> BTreeMap<IntegrationId, String> {
        let owner = |(id, node): (&IntegrationId, &&str)| (id.clone(), (*node).to_owned());
        assigned.iter().map(owner).collect()
    }

    fn loads(owners: &BTreeMap<IntegrationId, String>) -> BTreeMap<&str, usize> {
        let mut loads = BTreeMap::new();
        for node in owners.values() {
            *loads.entry(node.as_str()).or_default() += 1;
        }
        loads
    }

    #[test]
    fn five_hundred_integrations_are_even_on_three_nodes_and_the_loss_of_one_moves_only_its_own() {
        let (all, three) = (integrations(500), nodes(&["a", "b", "c"]));
        let before = settled(&assign(&all, &three, &BTreeMap::new()));
        let even = 500.0 / 3.0;
        for (node, load) in loads(&before) {
            let load = f64::from(u32::try_from(load).unwrap());
            assert!((load - even).abs() <= even / 10.0, "{node} has {load}");
        }
        let after = settled(&assign(&all, &nodes(&["a", "c"]), &before));
        let moved = all.iter().filter(|id| before[*id] != after[*id]);
        let moved: BTreeSet<_> = moved.cloned().collect();
        let lost = all.iter().filter(|id| before[*id] == "b");
        assert_eq!(moved, lost.cloned().collect());
        assert_eq!(loads(&after), BTreeMap::from([("a", 250), ("c", 250)]));
        // It comes back, and gets a share again; nothing moves between the others.
        let back = settled(&assign(&all, &three, &after));
        for id in &all {
            assert!(back[id] == after[id] || back[id] == "b", "{id}");
        }
        assert_eq!(loads(&back)["b"], 166);
    }

    #[test]
    fn what_is_free_goes_where_it_is_preferred_whoever_computes_it() {
        let (all, three) = (integrations(30), nodes(&["a", "b", "c"]));
        let first = assign(&all, &three, &BTreeMap::new());
        let most = |id: &IntegrationId| {
            let by = |node: &&String| weight(node, id);
            three.iter().max_by_key(by).unwrap().as_str()
        };
        let preferred = all.iter().filter(|id| first[*id] == most(id)).count();
        assert!(preferred >= 20, "{preferred} of 30");
        assert!(assign(&all, &BTreeSet::new(), &BTreeMap::new()).is_empty());
    }

    proptest! {
        #[test]
        fn shares_differ_by_one_and_nobody_within_its_share_gives_up_anything(
            owners in proptest::collection::vec(0..6_usize, 0..60), up in 1..5_usize,
        ) {
            // The owners 4 and 5 are nodes that have gone, or nobody.
            let names = ["a", "b", "c", "d", "gone", ""];
            let all = integrations(owners.len());
            let up = nodes(&names[..up]);
            let owners: BTreeMap<_, _> = all.iter().cloned().zip(&owners)
                .filter(|(_, owner)| **owner != 5)
                .map(|(id, owner)| (id, names[*owner].to_owned())).collect();
            let assigned = assign(&all, &up, &owners);
            prop_assert_eq!(assigned.len(), all.len());
            let after = settled(&assigned);
            let loads = loads(&after);
            let load = |node: &String| loads.get(node.as_str()).copied().unwrap_or(0);
            let (most, least) = (up.iter().map(load).max().unwrap(), up.iter().map(load).min().unwrap());
            prop_assert!(most - least <= 1);
            for node in &up {
                let had = owners.values().filter(|owner| *owner == node).count();
                let kept = all.iter().filter(|id| owners.get(*id) == Some(node) && after[*id] == *node).count();
                prop_assert_eq!(kept, had.min(load(node)), "{}", node);
            }
            // Once it is so, it stays so.
            prop_assert_eq!(settled(&assign(&all, &up, &after)), after);
        }
    }
}
