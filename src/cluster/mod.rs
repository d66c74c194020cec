//! Several collectors that share the integrations: which of them asks for and delivers which, agreed on over a registry.

pub mod etcd;
pub mod memory;
pub mod registry;
