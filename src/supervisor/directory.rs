//! Who the tenants are whose events an output gets.

use crate::alert::ACCOUNT_CODE;
use crate::output::directory::{Directory, Tenant};
use crate::poll::config::IntegrationConfig;

/// What outputs are told of the integrations: their accounts and tags.
pub(super) fn of(integrations: &[IntegrationConfig]) -> Directory {
    let tenants = integrations.iter().map(|integration| {
        let tags = integration.tags.clone();
        let account = tags.get(ACCOUNT_CODE).cloned();
        (integration.id.clone(), Tenant { account, tags })
    });
    tenants.collect()
}
