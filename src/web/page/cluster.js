"use strict";

// The cluster: what this node is in it, and who else is there.

const NODES = ["Node", "State", "Version", "Here for", "Configuration", "Integrations"];

byId("nodes").append(makeTable(NODES, 5, "Nodes of the cluster"));

function standing(cluster) {
  if (cluster.keeps_assignment) return ["bad", "etcd cannot be reached; goes on with what it had"];
  if (cluster.lease_left_s === 0) return ["bad", "has no lease, so it asks for nothing and delivers nothing"];
  if (!cluster.joined) return ["passing", "is about to join"];
  if (cluster.draining) return ["still", "hands over what it has"];
  if (cluster.trouble) return ["passing", `its lease is sure for ${duration(cluster.lease_left_s * 1000)}`];
  return ["good", `its lease is sure for ${duration(cluster.lease_left_s * 1000)}`];
}

function showCluster(cluster) {
  byId("cluster").hidden = !cluster;
  if (!cluster) return;
  const [tone, text] = standing(cluster);
  dress(byId("standing"), `state ${tone}`);
  say(byId("standing"), `${cluster.node}: ${text}`);
  const trouble = cluster.trouble;
  const lines = trouble ? [`etcd, for ${duration(now() - trouble.since)}: ${trouble.error}`] : [];
  const held = cluster.integrations.filter((owned) => owned.held_back);
  for (const output of new Set(held.map((owned) => owned.held_back.output))) {
    const those = held.filter((owned) => owned.held_back.output === output);
    const events = those.reduce((sum, owned) => sum + owned.held_back.events, 0);
    lines.push(`Output ${output} keeps events of ${plural(those.length, "integration")} waiting: about ${count(events)} would come again if another node took over`);
  }
  sync(byId("cluster-lines"), lines, (line) => lines.indexOf(line), () => make("li"), say);
  const facts = {
    "Nobody has": count(cluster.integrations.filter((owned) => !owned.owner).length),
    "Taken by this node": count(cluster.taken),
    "Handed over": count(cluster.released),
    Lost: count(cluster.lost),
    "Logs that wait for their owner": count(cluster.held_lanes),
  };
  sync(byId("cluster-facts"), Object.entries(facts), ([label]) => label, ([label]) => fact(label), (part, [, value]) => tell(part, value));
  sync(byId("nodes").querySelector("tbody"), cluster.nodes, (node) => node.name, makeNode, showNode);
}

function makeNode() {
  const row = makeRow(NODES.length, 5);
  row.children[1].append(make("span", "state"));
  return row;
}

function showNode(row, node) {
  const [name, state, version, since, config, integrations] = row.children;
  say(name, node.name);
  dress(state.firstElementChild, `state ${node.draining ? "still" : "good"}`);
  say(state.firstElementChild, node.draining ? "hands over what it has" : "there");
  say(version, node.version);
  say(since, duration(now() - node.since));
  say(config, node.drifts ? `another one: ${node.config}` : node.config);
  say(integrations, count(node.integrations));
}
