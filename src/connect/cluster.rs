//! etcd, as a node of the cluster meets it: each server, and the rights below the prefix. Nothing is written.

use std::collections::BTreeSet;

use super::finding::{Finding, Part, Verdict};
use crate::cluster::config::ClusterConfig;
use crate::cluster::etcd::{Etcd, Member, timeout};
use crate::cluster::registry::RegistryError;
use crate::units::{show_count, show_size};

pub(super) async fn look(config: &ClusterConfig) -> Part {
    let subject = format!("Cluster, as {}", config.node);
    let etcd = match Etcd::new(&config.etcd, timeout(config.lease)) {
        Ok(etcd) => etcd,
        Err(error) => {
            let advice = "Correct ca_file, client_cert, client_key or password of [cluster].";
            let unusable = Finding::new("client", Verdict::Failure, error.to_string(), advice);
            return Part {
                subject,
                findings: vec![unusable],
            };
        }
    };
    let members = etcd.members().await;
    let mut findings: Vec<_> = etcd.endpoints().iter().zip(&members).map(server).collect();
    findings.push(majority(&members));
    findings.push(rights(&etcd, &config.prefix).await);
    Part { subject, findings }
}

fn server((endpoint, member): (&String, &Result<Member, RegistryError>)) -> Finding {
    let what = format!("etcd {endpoint}");
    match member {
        Err(error) => failed(what, error),
        Ok(member) if !member.complaints.is_empty() => {
            let detail = format!("it complains: {}", member.complaints.join(", "));
            let advice = "Mend what it says, then: etcdctl alarm disarm.";
            Finding::new(what, Verdict::Failure, detail, advice)
        }
        Ok(member) if !member.has_leader => {
            let advice = "Start the other servers of etcd, and look at the network between them.";
            let detail = "it knows no leader, so it can answer nothing";
            Finding::new(what, Verdict::Failure, detail, advice)
        }
        Ok(member) => {
            let part = if member.leads { "leads" } else { "follows" };
            let size = show_size(member.db_bytes);
            let version = &member.version;
            Finding::ok(
                what,
                format!("etcd {version}, {part}, its database has {size}"),
            )
        }
    }
}

fn failed(what: impl Into<String>, error: &RegistryError) -> Finding {
    let advice = match error {
        RegistryError::Unavailable(_) => {
            "Look whether etcd runs there (systemctl status etcd) and may be reached, and at ca_file of [cluster]."
        }
        RegistryError::LeaseOver(_) | RegistryError::Refused(_) | RegistryError::Unreadable(_) => {
            "Correct [cluster] as it says."
        }
    };
    Finding::new(what, Verdict::Failure, error.to_string(), advice)
}

/// Whether the servers are one cluster that bears the loss of one.
fn majority(members: &[Result<Member, RegistryError>]) -> Finding {
    const WHAT: &str = "majority";
    let there: Vec<_> = members.iter().flatten().collect();
    let clusters: BTreeSet<_> = there.iter().map(|member| member.cluster).collect();
    let all = members.len();
    let count = |n: usize| show_count(n as u64);
    if clusters.len() > 1 {
        let detail = format!(
            "the endpoints belong to {} clusters of etcd",
            count(clusters.len())
        );
        let advice =
            "Let all endpoints be of one cluster: two would give each integration two owners.";
        return Finding::new(WHAT, Verdict::Failure, detail, advice);
    }
    let detail = format!("{} of {} endpoints answer", count(there.len()), count(all));
    if there.len() * 2 <= all {
        let advice = "Start the others: without a majority no lease can be renewed.";
        return Finding::new(WHAT, Verdict::Failure, detail, advice);
    }
    if all < 3 {
        let advice =
            "Have three servers of etcd, and name them all: fewer do not bear the loss of one.";
        return Finding::new(WHAT, Verdict::Warning, detail, advice);
    }
    Finding::ok(WHAT, detail)
}

async fn rights(etcd: &Etcd, prefix: &str) -> Finding {
    let below = format!("{}/", prefix.trim_end_matches('/'));
    match etcd.try_rights(&below).await {
        Ok(()) => Finding::ok(
            "rights",
            format!("keys below {below} may be read and written"),
        ),
        Err(error) => failed("rights", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(cluster: u64) -> Result<Member, RegistryError> {
        Ok(Member {
            version: "3.5.17".to_owned(),
            cluster,
            leads: false,
            has_leader: true,
            db_bytes: 20_480,
            complaints: Vec::new(),
        })
    }

    #[test]
    fn servers_are_judged_by_whether_they_bear_the_loss_of_one() {
        let down = || Err(RegistryError::Unavailable("no answer".to_owned()));
        for (members, verdict, words) in [
            (vec![member(1), member(1), member(1)], Verdict::Ok, "3 of 3"),
            (vec![member(1), down(), member(1)], Verdict::Ok, "2 of 3"),
            (vec![member(1), down(), down()], Verdict::Failure, "1 of 3"),
            (vec![member(1), member(2)], Verdict::Failure, "2 clusters"),
            (vec![member(1), down()], Verdict::Failure, "1 of 2"),
            (vec![member(1)], Verdict::Warning, "1 of 1"),
        ] {
            let found = majority(&members);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.detail.contains(words), "{found:?}");
        }
    }

    #[test]
    fn a_server_without_a_leader_or_room_is_a_failure() {
        let of = |change: fn(&mut Member)| {
            let mut found = member(1).unwrap();
            change(&mut found);
            server((&"https://etcd1:2379".to_owned(), &Ok(found)))
        };
        let well = of(|member| member.leads = true);
        assert_eq!(well.verdict, Verdict::Ok);
        assert!(
            well.detail.contains("leads, its database has 20 KiB"),
            "{well:?}"
        );
        let alone = of(|member| member.has_leader = false);
        assert_eq!(alone.verdict, Verdict::Failure);
        let full = of(|member| member.complaints = vec!["alarm:NOSPACE".to_owned()]);
        assert!(full.detail.contains("NOSPACE") && full.advice.contains("alarm disarm"));
    }
}
