//! The cluster: who is there, who has how much, and what is wrong with what they agree over.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::page::{Page, Tone};
use crate::model::Timestamp;
use crate::status::{ClusterReport, HeldBack, NodeReport};
use crate::units::{show_count, show_duration};

/// Names that are told of a list.
const NAMES: usize = 3;

pub(super) fn show<W: Write>(
    page: &mut Page<'_, W>,
    cluster: &ClusterReport,
    now: Timestamp,
) -> io::Result<()> {
    let (tone, text) = standing(cluster);
    page.text(tone, 0, &text)?;
    if let Some(trouble) = &cluster.trouble {
        let since = show_duration(now.since(trouble.since));
        let text = format!("etcd, for {since}: {}", trouble.error);
        page.text(Tone::Bad, 2, &text)?;
    }
    for node in &cluster.nodes {
        let tone = if node.drifts { Tone::Bad } else { Tone::Plain };
        page.text(tone, 2, &line(node, cluster, now))?;
    }
    let free = cluster.integrations.iter().filter(|i| i.owner.is_none());
    let free: Vec<_> = free.map(|i| i.integration.as_str()).collect();
    if !free.is_empty() && cluster.joined {
        page.text(Tone::Passing, 2, &format!("nobody has {}", names(&free)))?;
    }
    for (output, (held_back, integrations)) in held_back(cluster) {
        let text = format!(
            "output {output} has kept events waiting for {}: what is shared of {} stays before them, and about {} would come again if \
             another node took over",
            show_duration(now.since(held_back.since)),
            names(&integrations),
            show_count(held_back.events)
        );
        page.text(Tone::Passing, 2, &text)?;
    }
    let mut counts = format!(
        "taken {}, handed over {}, lost {}",
        show_count(cluster.taken),
        show_count(cluster.released),
        show_count(cluster.lost)
    );
    if cluster.held_lanes > 0 {
        let logs = counted(cluster.held_lanes, "log");
        counts.push_str(&format!(
            ", {logs} with events of before, which wait until their owner has delivered as much"
        ));
    }
    page.text(Tone::Plain, 2, &counts)
}

/// What this node is in the cluster, in a sentence.
fn standing(cluster: &ClusterReport) -> (Tone, String) {
    let ClusterReport {
        node, lease_left_s, ..
    } = cluster;
    let left = show_duration(Duration::from_secs(*lease_left_s));
    let had = cluster.integrations.iter();
    let had = had.filter(|i| i.owner.as_ref() == Some(node)).count();
    let all = counted(cluster.integrations.len() as u64, "integration");
    let share = format!("{} of {all}", show_count(had as u64));
    if cluster.keeps_assignment {
        let text = format!(
            "Cluster: {node} cannot reach etcd and goes on with what it had (keep_last_assignment)"
        );
        return (Tone::Bad, text);
    }
    if *lease_left_s == 0 {
        let text =
            format!("Cluster: {node} has no lease, so it asks for nothing and delivers nothing");
        return (Tone::Bad, text);
    }
    if !cluster.joined {
        let text = format!("Cluster: {node} is about to join");
        return (Tone::Passing, text);
    }
    let nodes = counted(cluster.nodes.len() as u64, "node");
    let text =
        format!("Cluster: {node} is one of {nodes} and has {share}; its lease is sure for {left}");
    let drained = if cluster.draining {
        ", and it hands them over"
    } else {
        ""
    };
    let tone = if cluster.trouble.is_some() || cluster.draining {
        Tone::Passing
    } else {
        Tone::Good
    };
    (tone, text + drained)
}

fn line(node: &NodeReport, cluster: &ClusterReport, now: Timestamp) -> String {
    let mut text = format!(
        "{}: {}, version {}, here for {}",
        node.name,
        counted(node.integrations, "integration"),
        node.version,
        show_duration(now.since(node.since))
    );
    if node.draining {
        text.push_str(", hands over what it has");
    }
    if node.drifts {
        text.push_str(&format!(
            "; its configuration is another one ({}, here {})",
            node.config, cluster.config
        ));
    }
    text
}

/// By output, how long and for how many events it holds back what is shared, and of which integrations.
fn held_back(cluster: &ClusterReport) -> BTreeMap<&str, (HeldBack, Vec<&str>)> {
    let mut outputs: BTreeMap<&str, (HeldBack, Vec<&str>)> = BTreeMap::new();
    for owned in &cluster.integrations {
        let Some(held_back) = &owned.held_back else {
            continue;
        };
        let first = || (held_back.clone(), Vec::new());
        let (all, integrations) = outputs.entry(&held_back.output).or_insert_with(first);
        all.since = all.since.min(held_back.since);
        if !integrations.is_empty() {
            all.events += held_back.events;
        }
        integrations.push(owned.integration.as_str());
    }
    outputs
}

fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", show_count(n), if n == 1 { "" } else { "s" })
}

fn names(names: &[&str]) -> String {
    let shown = names
        .iter()
        .take(NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
