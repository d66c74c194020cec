//! Collects the logs of Mimecast's e-mail security and delivers every event to Splunk or syslog.
//!
//! Data flows one way, and what must not be lost is durable before anything follows from it:
//!
//! ```text
//!  Mimecast 1.0, 2.0
//!     ▲ asks  │ pages, files
//!     │       ▼
//!    poll ─ mimecast        one task an integration: its streams, their schedule, its gate
//!             │ events, and the cursor that stands behind them
//!             ▼
//!           STORE           frames appended to the stream's lane and synced, then cursor and length in one transaction
//!             │ committed events
//!             ▼
//!      output::worker       one task an output: batches of one lane, the lanes in turn
//!             │   ▲
//!             ▼   │ accepted, refused, failed
//!        hec, stdout
//!             │
//!             ▼
//!           STORE           position and quarantine in one transaction, then passed segments are deleted
//!
//!  any failure ─► health::step ─► subject: the state is durable, then logged and shown ─► when the task may try again
//!  config ─► supervisor: starts and stops the tasks          control ─► status, resume
//! ```
//!
//! | Modules | What they are |
//! | ------- | ------------- |
//! | [`model`], [`secret`], [`settings`], [`units`], [`clock`] | what every part speaks: names, events, time, values as people write them |
//! | [`redact`] | what is taken out of texts before somebody else sees them |
//! | [`health`] | when may we try again, and what must be done first; pure, with the table of all errors |
//! | [`subject`] | a state of health that is durable, logged and shown |
//! | [`watch`], [`upkeep`] | what people should hear of although no request fails by it |
//! | [`http`], [`mimecast`] | asking: clients; log types, signing, paging, decoding |
//! | [`store`] | what must not be lost: cursors, positions and states in sled, events in lanes of segments |
//! | [`poll`], [`output`], [`measured`] | the two kinds of task: one an integration, one an output, timed |
//! | [`cluster`], [`tenure`] | several collectors that share the integrations, and what this one may do |
//! | [`ledger`] | whether all that came in is accounted for |
//! | [`state`] | what is kept of a collector that does not run: shown, carried, or sent back |
//! | [`status`], [`control`], [`web`] | what is going on, and who may ask: over a Unix socket, over HTTP |
//! | [`config`], [`supervisor`], [`app`], [`cli`] | what a configuration becomes: tasks, reload, shutdown, commands |
//! | [`connect`] | whether everything that the configuration names can be reached and used |
//! | [`logging`], [`signals`], [`scale`] | the program's own log, what the system asks, and time in fast motion |
//! | [`watchdog`], [`systemd`] | whether every loop is alive, and telling the service manager |
//! | [`simulator`] | a Mimecast and a Splunk HEC of our own, for tests and the demo |
//!
//! `ARCHITECTURE.md` says what must not know what, and a test holds the code to it.

pub mod alert;
pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod connect;
pub mod control;
pub mod health;
pub mod http;
pub mod ledger;
pub mod logging;
pub mod measured;
pub mod mimecast;
pub mod model;
pub mod output;
pub mod pause;
pub mod poll;
pub mod redact;
pub mod scale;
pub mod secret;
pub mod secret_watch;
pub mod settings;
pub mod signals;
pub mod simulator;
pub mod state;
pub mod status;
pub mod store;
pub mod subject;
pub mod supervisor;
pub mod systemd;
pub mod tenure;
pub mod units;
pub mod upkeep;
pub mod watch;
pub mod watchdog;
pub mod web;
