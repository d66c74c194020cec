//! The cluster, as this node sees it.

use serde::{Deserialize, Serialize};

use crate::model::{IntegrationId, Timestamp};

/// Several collectors that share the integrations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// This node's name.
    pub node: String,
    /// Whether it is one of the nodes now: it has a lease, and its name is there.
    pub joined: bool,
    /// It hands over all that it owns, and takes nothing.
    pub draining: bool,
    /// For how long it may act without another renewal, in seconds; 0 when it has stopped.
    pub lease_left_s: u64,
    /// It goes on with what it had, although etcd cannot be reached: `keep_last_assignment`.
    pub keeps_assignment: bool,
    /// What is wrong with etcd; `None` if its last answer was good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<RegistryTrouble>,
    /// A hash of the integrations and outputs in this node's configuration.
    pub config: String,
    /// Each node that is there, by name.
    pub nodes: Vec<NodeReport>,
    /// Each integration of the configuration, by name, and whose it is.
    pub integrations: Vec<OwnerReport>,
    /// Integrations that this node took up since it started.
    pub taken: u64,
    /// Integrations that it handed over in order.
    pub released: u64,
    /// Integrations that it lost: it could not renew its lease.
    pub lost: u64,
    /// Lanes with events of an earlier ownership, which wait until their new owner has delivered as much.
    pub held_lanes: u64,
    /// Lanes whose events were passed over, because their new owner has delivered as much.
    pub passed_over_lanes: u64,
}

/// Why etcd is no help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryTrouble {
    /// Since when.
    pub since: Timestamp,
    /// The error, with the server.
    pub error: String,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it joined.
    pub since: Timestamp,
    /// It hands over all that it owns.
    pub draining: bool,
    /// The hash of its configuration.
    pub config: String,
    /// Its configuration is not the same as this node's.
    pub drifts: bool,
    /// How many integrations it owns.
    pub integrations: u64,
}

/// Whose an integration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerReport {
    /// The integration.
    pub integration: IntegrationId,
    /// The node that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The change of etcd's keys by which it became its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// This node is handing it over.
    pub leaving: bool,
    /// The output for which its shared checkpoint waits, and how many events: what would be delivered again if another node took it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
}

/// Why a shared checkpoint stands behind what is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// The output.
    pub output: String,
    /// Since when something has waited for it without a break.
    pub since: Timestamp,
    /// Events that wait for it.
    pub events: u64,
}
