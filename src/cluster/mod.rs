//! Several collectors that share the integrations: which of them asks for and delivers which, agreed on over a registry.

pub mod assignment;
pub mod config;
pub mod etcd;
pub mod memory;
pub mod node;
pub mod record;
pub mod registry;

#[cfg(test)]
mod simulation;
