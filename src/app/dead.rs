//! Dead letters, as the control socket shows them and has them dealt with.

use serde_json::{Value, json};

use crate::store::{Aside, AsideRecord, Store, StoreError};
use crate::subject::Context;

/// Records that are shown of one dead letter; the file has all.
const SHOWN: usize = 100;

/// Every dead letter, oldest first.
pub(super) async fn list(store: &Store) -> Result<Value, String> {
    let asides = store.snapshot().await.map_err(said)?.asides;
    let asides = asides.iter();
    Ok(asides
        .map(|(number, record)| one(store, *number, record))
        .collect())
}

/// One dead letter with its records.
pub(super) async fn show(store: &Store, number: u64) -> Result<Value, String> {
    let found = store.dead_letter(number).await.map_err(said)?;
    let (record, records) = found.ok_or_else(|| missing(number))?;
    let mut shown = one(store, number, &record);
    let records: Vec<Value> = records.iter().take(SHOWN).map(entry).collect();
    if let Some(members) = shown.as_object_mut() {
        members.insert("entries".to_owned(), records.into());
    }
    Ok(shown)
}

/// Sends the events of a dead letter again to the output that refused them, which must be configured.
pub(super) async fn send_again(context: &Context, number: u64) -> Result<Value, String> {
    let mut asides = context.store.snapshot().await.map_err(said)?.asides;
    let record = asides.remove(&number).ok_or_else(|| missing(number))?;
    let Some((output, _)) = record.refused_by() else {
        return Err(format!(
            "dead letter {number} was put aside before it became an event: there is nothing to send"
        ));
    };
    let outputs = context.status.outputs();
    if !outputs.iter().any(|one| one.name == output) {
        return Err(format!(
            "dead letter {number} was for {output}, which is not in the configuration"
        ));
    }
    if !context.store.send_again(number).await.map_err(said)? {
        return Err(format!("dead letter {number} was sent again before"));
    }
    tracing::info!(number, output = %output, events = record.records, "a dead letter is sent again, as a person asked");
    let events = record.records;
    Ok(format!("dead letter {number}: {events} events are on their way to {output} again").into())
}

/// Throws a dead letter away.
pub(super) async fn discard(store: &Store, number: u64) -> Result<Value, String> {
    let gone = store.discard(number).await.map_err(said)?;
    let gone = gone.ok_or_else(|| missing(number))?;
    tracing::warn!(
        number,
        owner = gone.owner,
        records = gone.records,
        "a dead letter is thrown away, as a person asked"
    );
    Ok(format!(
        "dead letter {number} is thrown away: {} records",
        gone.records
    )
    .into())
}

fn one(store: &Store, number: u64, record: &AsideRecord) -> Value {
    let (output, lane) = match record.refused_by() {
        Some((output, lane)) => (Some(output.to_string()), lane.as_str().to_owned()),
        None => (None, record.owner.clone()),
    };
    json!({
        "number": number,
        "time": record.at.to_string(),
        "output": output,
        "lane": lane,
        "records": record.records,
        "withheld": record.withheld,
        "reason": record.reason,
        "file": record.file,
        "kept": store.kept(record),
        "sent_again": record.sent_again.map(|at| at.to_string()),
    })
}

fn entry(aside: &Aside) -> Value {
    json!({
        "what": aside.what,
        "reason": aside.reason,
        "time": aside.event.as_ref().map(|event| event.time.to_string()),
        "record": aside.record,
    })
}

fn missing(number: u64) -> String {
    format!(
        "there is no dead letter {number}; to see which there are: mimecast-collector dead-letters list"
    )
}

fn said(error: StoreError) -> String {
    error.to_string()
}
