//! The scheduler's clock in fast motion, for trials against a simulator.
//!
//! The scaled time is anchored in a file of the state directory, so that it goes on, as a daemon's time does, over restarts.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config::Config;
use crate::http::is_loopback;
use crate::model::Timestamp;

/// Why a clock cannot be scaled.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// A real Mimecast would be asked too often.
    #[error(
        "--time-scale is for simulators: integration '{0}' has a base_url that is not on this machine"
    )]
    NotLoopback(String),
    /// The anchor cannot be kept.
    #[error("cannot keep the scaled time in {path}: {source}")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Anchor {
    /// The wall clock when the state directory was first used so.
    wall: Timestamp,
}

/// The scheduler's clock: the system's for a scale of 1, else one that runs so much faster from the moment that the state directory was
/// first used so.
///
/// # Errors
/// See [`ScaleError`].
pub fn clock(config: &Config, scale: u32) -> Result<Clock, ScaleError> {
    let system = Clock::system();
    if scale <= 1 {
        return Ok(system);
    }
    let far = config
        .integrations
        .iter()
        .find(|i| !is_loopback(&i.base_url));
    if let Some(integration) = far {
        return Err(ScaleError::NotLoopback(integration.id.to_string()));
    }
    let path = config.state_dir.join("time-scale.json");
    let failed = |source| ScaleError::Anchor {
        path: path.clone(),
        source,
    };
    let wall = system.wall();
    let kept = std::fs::read(&path).ok();
    let anchor = match kept.and_then(|bytes| serde_json::from_slice::<Anchor>(&bytes).ok()) {
        Some(anchor) => anchor,
        None => {
            let mut folder = std::fs::DirBuilder::new();
            // As the store makes it, which comes later.
            let made = folder.recursive(true).mode(0o750).create(&config.state_dir);
            made.map_err(failed)?;
            let anchor = Anchor { wall };
            let text = serde_json::to_vec(&anchor).map_err(|e| failed(e.into()))?;
            std::fs::write(&path, text).map_err(failed)?;
            anchor
        }
    };
    let origin = anchor.wall + wall.since(anchor.wall).saturating_mul(scale);
    Ok(Clock::scaled(origin, scale))
}
