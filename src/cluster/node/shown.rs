//! What people are shown of the cluster, as this node sees it.

use std::sync::PoisonError;

use super::{Holdings, Host, Node, View};
use crate::cluster::registry::Registry;
use crate::status::{ClusterReport, NodeReport, OwnerReport};

impl<R: Registry, H: Host> Node<R, H> {
    pub(super) fn show(&self, holdings: &Holdings, view: &View) {
        let wanted = self.wanted.borrow();
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = view.nodes.iter().map(|(name, member)| {
            let its = view.owners.values().filter(|owner| owner.node == *name);
            NodeReport {
                name: name.clone(),
                version: member.version.clone(),
                since: member.since,
                draining: member.draining,
                config: member.config.clone(),
                drifts: member.config != wanted.config,
                integrations: its.count() as u64,
            }
        });
        let integrations = wanted.integrations.iter().map(|id| {
            let ours = holdings.owned.get(id);
            let fence = ours.and_then(|owned| owned.fence);
            let owner = view.owners.get(id);
            let node = fence.map(|_| self.settings.node.to_string());
            OwnerReport {
                integration: id.clone(),
                owner: node.or_else(|| owner.map(|owner| owner.node.clone())),
                fence: fence.or(owner.map(|owner| owner.fence)).map(|at| at.0),
                leaving: ours.is_some_and(|owned| owned.leaving.is_some()),
                held_back: ours.and_then(|owned| owned.held_back.clone()),
            }
        });
        let left = self.tenure.left().min(self.settings.lease / 2);
        self.status.cluster(ClusterReport {
            node: self.settings.node.to_string(),
            joined: holdings.joined.is_some(),
            draining: *self.drain.borrow(),
            lease_left_s: left.as_secs(),
            keeps_assignment: self.settings.keep_last_assignment && trouble.is_some(),
            trouble: trouble.clone(),
            config: wanted.config.clone(),
            nodes: nodes.collect(),
            integrations: integrations.collect(),
            taken: holdings.counts.taken,
            released: holdings.counts.released,
            lost: holdings.counts.lost,
            held_lanes: holdings.held.lanes(),
            passed_over_lanes: holdings.held.passed_over(),
        });
    }
}
