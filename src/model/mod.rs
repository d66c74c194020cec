//! Plain data that every part speaks: names, positions, cursors, events.
//!
//! No IO and no policy. Everything here may be written to disk, so a change of a text form or
//! a byte layout is a change of the format of the state directory.

pub mod cursor;
pub mod event;
pub mod id;
pub mod route;
#[cfg(test)]
pub(crate) mod seeds;
pub mod time;

pub use cursor::Cursor;
pub use event::{Counted, Event, Form, Record, Sink, SinkError, text};
pub use id::{EventId, IntegrationId, LaneId, NodeId, OutputId, Position, StreamId};
pub use route::{Carry, From, Route};
pub use time::Timestamp;
