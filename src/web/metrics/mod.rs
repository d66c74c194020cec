//! Metrics, from one table: what is answered, what `docs/metrics.md` says, and what the dashboard and the alert rules may use.
//!
//! A label has as many values as the configuration has integrations, log types and outputs; codes of failures are bounded where they
//! are counted. So the number of time series is known from the configuration, which `docs/metrics.md` shows how.

mod document;
mod process;
mod table;
mod text;

pub use document::document;
pub use process::Process;
pub use table::{Kind, METRICS, Metric};
pub use text::{Format, write};
