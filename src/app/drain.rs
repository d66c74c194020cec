//! The end: batches that are out are waited for, and it is told how many of their events are left.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

use crate::signals::Signal;
use crate::subject::Context;
use crate::systemd::Manager;

/// For the batches that are out when the program is asked to stop; an output's own time-outs are longer.
const GRACE: Duration = Duration::from_secs(20);
/// From one look at what is left to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Events that were out when the program was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draining {
    /// How many of them are not answered yet.
    pub left: u64,
    /// How many they were.
    pub of: u64,
    /// Those that are left, by output.
    pub outputs: Vec<(String, u64)>,
    /// Whether they are waited for no more.
    pub is_over: bool,
}

/// Waits until `stopping` is done, its time is over, or a second signal says that it is to be now; answers whether it was done. While
/// something is out, `told` hears of it twice a second, and once of the end.
pub(super) async fn drain(
    context: &Context,
    manager: &Manager,
    stopping: impl Future<Output = ()>,
    signals: &mut mpsc::Receiver<Signal>,
    mut told: impl FnMut(&Draining),
) -> bool {
    let mut looks = interval(LOOK_AGAIN);
    let (mut of, grace) = (0, sleep(GRACE));
    tokio::pin!(stopping, grace);
    let done = loop {
        tokio::select! {
            biased;
            () = &mut stopping => break true,
            () = &mut grace => break false,
            Some(Signal::StopNow) = signals.recv() => break false,
            _ = looks.tick() => {
                let left = left(context, of, false);
                of = left.of;
                if of > 0 {
                    manager.status(&format!("stopping: {} events are out", left.left));
                    told(&left);
                }
            }
        }
    };
    if of > 0 {
        told(&left(context, of, true));
    }
    done
}

fn left(context: &Context, of: u64, is_over: bool) -> Draining {
    let outputs = context.status.outputs();
    let out = outputs.iter().filter(|output| output.in_flight > 0);
    let outputs: Vec<_> = out
        .map(|output| (output.name.to_string(), output.in_flight))
        .collect();
    let left = outputs.iter().map(|(_, events)| events).sum();
    Draining {
        left,
        of: of.max(left),
        outputs,
        is_over,
    }
}
