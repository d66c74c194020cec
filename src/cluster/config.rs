//! What the configuration says of the cluster.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::etcd::EtcdConfig;
use crate::model::NodeId;
use crate::settings::Table;
use crate::units::show_duration;

const LEASE: Duration = Duration::from_secs(15);
/// Shorter, and a slow disk of etcd ends it; longer, and nobody takes over while people wait.
const LEASES: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(5);
const PREFIX: &str = "/mimecast-collector";

/// The table `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How etcd is reached.
    pub etcd: EtcdConfig,
    /// The name of this collector among the others.
    pub node: NodeId,
    /// How long a node is taken for alive after its last renewal.
    pub lease: Duration,
    /// What all keys of the cluster begin with; without a slash at its end.
    pub prefix: String,
    /// Whether to go on with what it owned last when etcd cannot be reached.
    pub keep_last_assignment: bool,
}

impl ClusterConfig {
    /// Reads `[cluster]`; `None` if it says nothing, or is of no use. What is wrong with it is noted.
    pub fn read(mut table: Table<'_>) -> Option<Self> {
        if table.is_empty() {
            // One collector by itself: nothing is missing.
            table.ignore_rest();
        }
        let etcd = EtcdConfig::read(&mut table);
        let node = table.required("node");
        let lease = table.optional("lease").unwrap_or(LEASE);
        if !LEASES.contains(&lease) || lease.subsec_nanos() != 0 {
            let (least, most) = (show_duration(*LEASES.start()), show_duration(*LEASES.end()));
            table.reject(
                "lease",
                format!("must be whole seconds, from {least} to {most}"),
            );
        }
        let prefix = table
            .optional::<String>("prefix")
            .unwrap_or_else(|| PREFIX.to_owned());
        let prefix = prefix.trim_end_matches('/').to_owned();
        if !prefix.starts_with('/') {
            let text =
                "must begin with \"/\" and have a name after it, such as \"/mimecast-collector\"";
            table.reject("prefix", text.to_owned());
        }
        let keep_last_assignment = table.optional("keep_last_assignment").unwrap_or(false);
        Some(Self {
            etcd: etcd?,
            node: node?,
            lease,
            prefix,
            keep_last_assignment,
        })
    }
}
