//! What the receivers may be told of the integrations that events come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::IntegrationId;

/// What is known of one integration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// The code of its Mimecast account.
    pub account: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// All integrations of a configuration; a clone is the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory(Arc<BTreeMap<String, Tenant>>);

impl Directory {
    /// What is known of the integration of this name.
    #[must_use]
    pub fn get(&self, integration: &str) -> Option<&Tenant> {
        self.0.get(integration)
    }
}

impl FromIterator<(IntegrationId, Tenant)> for Directory {
    fn from_iter<I: IntoIterator<Item = (IntegrationId, Tenant)>>(tenants: I) -> Self {
        let tenants = tenants.into_iter();
        let named = tenants.map(|(id, tenant)| (id.as_str().to_owned(), tenant));
        Self(Arc::new(named.collect()))
    }
}
