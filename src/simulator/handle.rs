//! What tests and operators do to a running simulator, and what they learn from it.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::Answer;
use super::fault::{Action, Fault, FaultId, Target};
use super::hec::Hec;
use super::options::Key;
use super::seen::Request;
use super::shelf::{Form, Publication, PublishError};
use super::world::World;
use crate::mimecast::log_types;

/// A hold on a running simulator; clones hold the same.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<World>);

impl Handle {
    /// Publishes `count` clean records of now.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing is published.
    pub fn publish(
        &self,
        account: &str,
        log: &str,
        event_type: &str,
        count: usize,
    ) -> Result<(), PublishError> {
        self.publish_as(&Publication::new(account, log, event_type, count))
    }

    /// Publishes records. Files of gigabytes are made here and now, so do it on a blocking thread.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing is published.
    pub fn publish_as(&self, publication: &Publication) -> Result<(), PublishError> {
        let world = &self.0;
        let wall = world.wall();
        let options = &world.options;
        let per_file = publication.per_file.unwrap_or(options.records_per_file);
        let mut state = world.state();
        let member = state
            .accounts
            .get_mut(&publication.account)
            .ok_or_else(|| PublishError::Account(publication.account.clone()))?;
        let api = match member.key {
            Key::V1 { .. } => log_types::Api::V1,
            Key::V2 { .. } => log_types::Api::V2,
        };
        if !log_types::find(&publication.log).is_some_and(|log| log.apis.contains(&api)) {
            return Err(PublishError::Log(publication.log.clone()));
        }
        member
            .shelf
            .publish(publication, options.seed, wall, per_file)
    }

    /// Takes the oldest records out of a list of what is there now.
    pub fn withdraw(&self, account: &str, log: &str, count: usize) {
        let mut state = self.0.state();
        let member = state.accounts.get_mut(account);
        if let Some((member, log)) = member.zip(log_types::find(log)) {
            member.shelf.withdraw(log, count);
        }
    }

    /// The records published so far, in order within their type, as a collector is to deliver them: without line
    /// breaks, and with whatever dirt is in them. An empty event type stands for all.
    #[must_use]
    pub fn published(&self, account: &str, log: &str, event_type: &str) -> Vec<Vec<u8>> {
        self.published_in(Form::Json, account, log, event_type)
    }

    /// The same in the form in which API 1.0 is asked for files.
    #[must_use]
    pub fn published_in(
        &self,
        form: Form,
        account: &str,
        log: &str,
        event_type: &str,
    ) -> Vec<Vec<u8>> {
        let state = self.0.state();
        let member = state.accounts.get(account).zip(log_types::find(log));
        member.map_or_else(Vec::new, |(member, log)| {
            member.shelf.published(log, event_type, form)
        })
    }

    /// How many records were published for all accounts.
    #[must_use]
    pub fn published_total(&self) -> u64 {
        let state = self.0.state();
        let members = state.accounts.values();
        members.map(|member| member.shelf.total()).sum()
    }

    /// The files of an account that links lead to, as they are downloaded.
    #[must_use]
    pub fn objects(&self, account: &str) -> Vec<Bytes> {
        let state = self.0.state();
        let member = state.accounts.get(account);
        member.map_or_else(Vec::new, |member| {
            member.shelf.objects.values().cloned().collect()
        })
    }

    /// Adds a row to the script of faults. Of several that meet a request, the first added is played.
    pub fn script(&self, fault: Fault) -> FaultId {
        self.0.state().script.add(fault)
    }

    /// Answers every request to `target` so, until it is cleared.
    pub fn answer(&self, target: Target, answer: Answer) -> FaultId {
        self.script(Fault::new(target, Action::Answer(answer)))
    }

    /// Takes a row out of the script.
    pub fn clear(&self, fault: FaultId) {
        self.0.state().script.clear(fault);
    }

    /// Takes all rows out of the script.
    pub fn clear_faults(&self) {
        self.0.state().script.clear_all();
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.state().requests.clone()
    }

    /// What a right client would not have done: a signature of the wrong form, a credential shown to the object
    /// store, a value out of range. Wrong credentials and old tokens are no violations.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.0.state().violations.clone()
    }

    /// Gives an account a new secret key, or a new client secret; its bearer tokens and lock-out are void.
    pub fn replace_secret(&self, account: &str, secret: &str) {
        let mut state = self.0.state();
        if let Some(member) = state.accounts.get_mut(account) {
            match &mut member.key {
                Key::V1 {
                    secret_key: old, ..
                }
                | Key::V2 {
                    client_secret: old, ..
                } => secret.clone_into(old),
            }
            member.wrong = 0;
            member.locked_until = None;
        }
        drop(state);
        self.revoke_tokens(account);
    }

    /// The bearer tokens that are out, for a test to look for where they do not belong.
    #[must_use]
    pub fn bearer_tokens(&self) -> Vec<String> {
        self.0.state().tokens.keys().cloned().collect()
    }

    /// Makes the bearer tokens of an account unknown.
    pub fn revoke_tokens(&self, account: &str) {
        let tokens = &mut self.0.state().tokens;
        tokens.retain(|_, token| token.account != account);
    }

    /// Makes the links given out so far expire.
    pub fn expire_links(&self) {
        let now = self.0.now();
        self.0.state().links_void_before = Some(now);
    }

    /// What the event collector has taken.
    #[must_use]
    pub fn hec(&self) -> Hec {
        Hec(self.0.clone())
    }

    /// Waits until the condition holds. It is looked at whenever a request comes or is answered; the caller sets the
    /// deadline.
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut happened = self.0.happened.subscribe();
        while !condition(self) {
            // The sender lives in `self`.
            if happened.changed().await.is_err() {
                return;
            }
        }
    }
}
