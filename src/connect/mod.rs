//! `check --connect`: walks Mimecast's troubleshooting list for everything that the configuration names, and says of each thing
//! whether it is as it should be and what to do if it is not.
//!
//! It asks as little as it can: one record a log type, one event a receiver, each request once. After the first refusal of a
//! credential nothing more is asked with it, and nothing at all while a running collector says that it is locked out or refused:
//! a check cannot prolong a lock.

mod cluster;
mod finding;
mod machine;
mod mimecast;
mod output;
mod page;
mod server;

use std::path::Path;

pub use finding::{Finding, Part, Verdict};
pub use page::{render, render_json};

use crate::clock::Clock;
use crate::config::Config;
use crate::status::Report;

/// Looks at everything that `config`, read from `file`, names. `running` is what a running collector says of itself, if one does.
pub async fn walk(
    config: &Config,
    file: &Path,
    running: Option<&Report>,
    clock: &Clock,
) -> Vec<Part> {
    let mut parts = vec![machine::look(config, file, running)];
    if let Some(cluster) = &config.cluster {
        parts.push(cluster::look(cluster).await);
    }
    for integration in &config.integrations {
        parts.push(mimecast::look(integration, &config.state_dir, running, clock).await);
    }
    for output in &config.outputs {
        parts.push(output::look(output, clock).await);
    }
    parts
}

/// Whether there is nothing that somebody should look at.
#[must_use]
pub fn all_is_well(parts: &[Part]) -> bool {
    let mut findings = parts.iter().flat_map(|part| &part.findings);
    findings.all(|finding| finding.verdict == Verdict::Ok)
}
