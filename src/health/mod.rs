//! When may we try again, and what must be done first.
//!
//! Pure: no network, no store, no clock (`now` is an argument), no randomness (a seed is one).
//!
//! There is one machine for every subject, which is a credential, a resource that Mimecast counts calls of, a stream, an
//! output or one lane of an output. A [`Failure`] is judged by its [`Row`] of the [`catalogue`]: the row's scope says which
//! subject it belongs to, its class what [`step`] makes of it. The first line that fits wins:
//!
//! | Outcome | The state becomes | What to do |
//! | ------- | ----------------- | ---------- |
//! | the time to tell people has come (`Tick`) | what it was | nothing |
//! | success | `Healthy`, from any state | proceed |
//! | a person resumes | `Retrying` at once, from `Blocked` and `Retrying`; a server's wish stands | proceed |
//! | `RecordRejected` | `Healthy`: the receiver is well, the record is not | quarantine |
//! | `Transient`, `Throttled`, `CredentialStale` while `Blocked` | `Blocked` for the same cause, until the cause's recheck | wait |
//! | `CredentialStale` | `Renewing`; from there `Retrying`, three times 5 min; then `Blocked` | renew; wait |
//! | `ClockSkewed` | `Renewing`; with a date that was right, or corrected within the hour, `Blocked` | correct; wait |
//! | `LockedOut` | `Blocked` for 30 min, 1 h, 2 h, then 4 h | wait |
//! | `CredentialRejected`, `Forbidden`, `RequestInvalid` | `Blocked` until the row's recheck, if it has one | wait |
//! | `Transient`, `Throttled` while a `Throttled` waits | `Throttled`, never for shorter, and no attempt more | wait |
//! | `Transient` | `Retrying`, by the server's wish or the curve | wait |
//! | `Throttled` | `Throttled`, by the server's wish or the curve | wait |
//! | `CursorInvalid` | `Retrying`, by the curve | reset the cursor |
//!
//! The answer to a request that was out when the block for this very reason began changes nothing.
//! A block of a credential ends at once when the fingerprint becomes another one, save a lock-out, which only time and
//! people end.
//!
//! A step also says what people are to be told ([`Alert`]): a trouble is raised once when it has lasted for its row's `alert_after`,
//! brought to mind daily or when something worse takes its place, and cleared once after 15 min of health. What may be an incident
//! at Mimecast is told with the fifth failure in a row, which the curve brings after 15 to 18 min. What was told is stored with the state. Nothing else in the program repeats a failed attempt: retries within retries multiply.

pub mod alarm;
pub mod answer;
pub mod catalogue;
pub mod delay;
pub mod failure;
pub mod machine;
pub mod policy;
pub mod state;

pub use alarm::{Alert, Raised};
pub use answer::Answered;
pub use catalogue::{Class, Impact, Level, Row, Scope, lookup};
pub use delay::{Curve, Seed};
pub use failure::{Failure, Origin, key};
pub use machine::{Action, Attempt, Outcome, Stepped, step};
pub use policy::Policy;
pub use state::{Cause, Correction, Standing, State};
