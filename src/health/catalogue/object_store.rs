//! What the object store answers to the signed links of batch files. A link that expired is listed again with the same token.

use super::Class::Transient;
use super::Scope::Stream;
use super::Status::{Any, Is};
use super::{Impact, Row, Status};
use crate::health::Origin;

const fn row(status: Status, title: &'static str) -> Row {
    Row::new(Origin::ObjectStore, status, "", title, Transient, Stream)
        .source(super::mimecast::SEEN)
        .impact(Impact::Low)
        .support()
}

pub(super) static ROWS: &[Row] = &[
    row(Is(403), "Signed link expired or refused")
        .advice("Nothing, if it passes. If it stays: check this machine's clock, and that no proxy changes the query of a link."),
    row(Is(404), "File gone").advice("Nothing: its page is listed again."),
    row(Any, "Any other answer")
        .advice("Nothing, if it passes. If it stays, check that this machine may reach the hosts of the signed links."),
];
