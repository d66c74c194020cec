//! Asks Mimecast in time, never too early, and commits what came.
//!
//! It must not know outputs or wire formats.

pub mod config;
mod gate;
mod heartbeat;
mod poller;
mod purse;
pub mod replay;
mod retention;
mod room;
mod schedule;
mod stream;
mod turns;
mod urgency;

pub use poller::Poller;
pub use purse::Budgets;
pub use room::Room;
pub use schedule::assume_asked;
pub use turns::Turns;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::pause::Pause;
use crate::subject::Context;

/// From one heartbeat of an integration to the next, and from one look at what is left of Mimecast's retention to the next.
pub const BEAT: Duration = Duration::from_mins(5);

/// What a poller is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A person says that what was wrong has been mended: try again now.
    Resume,
    /// A replay has begun or is cancelled; it is durable already.
    Replays,
    /// A person wants no polls for a while; it is durable already.
    Pause(Pause),
}

/// What pollers share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Store, clock and status.
    pub context: Context,
    /// Bounds the requests that are out.
    pub requests: Arc<Semaphore>,
    /// The calls that Mimecast takes.
    pub budgets: Budgets,
    /// Whose turn it is to begin.
    pub turns: Turns,
    /// [`BEAT`], or what a story of years can afford.
    pub beat: Duration,
}
