//! The hot loops, each by itself, on a file of mail events of a simulator.
//!
//! ```text
//! cargo bench --features benches --bench micro                 time
//! cargo bench --features benches --bench micro -- --count wrap one loop once, for a tool that counts instructions
//! .ci/full instructions                                        all of them under callgrind, compared with what they took before
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark, which people start and read"
)]

use std::hint::black_box;
use std::io::Read;
use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::BytesCount;
use mimecast_collector::clock::Clock;
use mimecast_collector::mimecast::auth::Credential;
use mimecast_collector::model::{
    Counted, Cursor, Event, Form, IntegrationId, LaneId, Record, Route, Sink, SinkError, StreamId,
    Timestamp,
};
use mimecast_collector::output::Batch;
use mimecast_collector::output::bench as output;
use mimecast_collector::secret::Secret;
use mimecast_collector::simulator::{Account, Options, Publication, Simulator};
use mimecast_collector::store::Store;
use tokio_util::sync::CancellationToken;

/// About 2 MB.
const EVENTS: usize = 2500;

/// What the loops work on.
struct Material {
    /// As the vendor serves it.
    file: Vec<u8>,
    /// Its events, as an output is offered them.
    batch: Batch,
    /// These as the body of a request.
    body: Vec<u8>,
    credential: Credential,
}

static MATERIAL: LazyLock<Material> = LazyLock::new(|| {
    let file = file();
    let mut sink = Memory {
        gathers: true,
        ..Memory::default()
    };
    mimecast_collector::mimecast::bench::decode(&file, &stream(), &mut sink).unwrap();
    let batch = Batch::new(LaneId::stream(&stream()), sink.records);
    let secret = |text: &str| Secret::new(text.to_owned());
    let id = "application".to_owned();
    let credential = Credential::v1(id, secret("key"), secret("access"), &secret("U2VjcmV0S2V5"));
    Material {
        body: output::wrap(&batch),
        file,
        batch,
        credential: credential.unwrap(),
    }
});

fn stream() -> StreamId {
    StreamId::new(
        &IntegrationId::new("account-0").unwrap(),
        "siem-cg",
        "receipt",
    )
}

/// A file as the object store has it.
fn file() -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = Options {
            accounts: vec![Account::v2("account-0")],
            records_per_file: EVENTS,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let publication = Publication {
            padding: 200,
            ..Publication::new("account-0", "siem-cg", "receipt", EVENTS)
        };
        simulator.handle().publish_as(&publication).unwrap();
        simulator.handle().objects("account-0").remove(0).to_vec()
    })
}

/// A sink that stores nothing; it gathers records or only counts them.
#[derive(Default)]
struct Memory {
    gathers: bool,
    records: Vec<Record>,
    bytes: u64,
}

impl Sink for Memory {
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError> {
        self.bytes += black_box(event).body.len() as u64;
        if self.gathers {
            self.records.push(Record {
                id: event.id,
                time: event.time,
                form,
                kind: kind.into(),
                body: event.body.to_owned().into(),
            });
        }
        Ok(())
    }

    fn quarantine(&mut self, _: &str, _: &[u8], reason: &str) -> Result<(), SinkError> {
        panic!("{reason}");
    }

    fn keep(&mut self, _: &mut dyn Read) -> Result<(), SinkError> {
        Ok(())
    }

    fn count(&mut self, _: Counted) {}

    fn listed(&mut self, _: u64) {}

    fn uncommitted(&self) -> u64 {
        self.bytes
    }

    fn memo(&self) -> Option<Vec<u8>> {
        None
    }

    fn commit_with(&mut self, _: &Cursor, _: Option<&[u8]>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A loop by its name.
type Loop = (&'static str, fn(&Material) -> u64);

/// The loops that need no disk; each gives something that depends on all of its work.
const LOOPS: [Loop; 10] = [
    ("decode", decode),
    ("wrap", |m| output::wrap(&m.batch).len() as u64),
    ("pack", |m| output::pack(&m.body).unwrap().len() as u64),
    ("syslog", |m| output::framed(&m.batch).len() as u64),
    ("json", |m| written(m, 0)),
    ("key-value", |m| written(m, 1)),
    ("cef", |m| written(m, 2)),
    ("leef", |m| written(m, 3)),
    ("leef2", |m| written(m, 4)),
    ("sign", sign),
];

fn decode(material: &Material) -> u64 {
    let mut sink = Memory::default();
    let file = &material.file;
    mimecast_collector::mimecast::bench::decode(file, &stream(), &mut sink).unwrap()
}

fn written(material: &Material, format: usize) -> u64 {
    let (_, format) = output::FORMATS.get(format).unwrap();
    output::written(format, &material.batch).len() as u64
}

/// A request of API 1.0.
fn sign(material: &Material) -> u64 {
    let now = Timestamp::from_millis(1_767_690_487_000);
    let id = "6e3a8c1e-6f0b-4a55-9a3c-0d8c6a2f4b11";
    let path = "/api/audit/get-siem-logs";
    let [date, signature] =
        mimecast_collector::mimecast::bench::sign(&material.credential, now, id, path);
    (date.len() + signature.len()) as u64
}

/// What is counted, and nothing around it.
#[inline(never)]
fn counted(work: fn(&Material) -> u64, material: &Material) -> u64 {
    work(material)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        let name = arguments.get(at + 1).map_or("", String::as_str);
        let Some((_, work)) = LOOPS.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = LOOPS.iter().map(|(name, _)| *name).collect();
            return println!("{}", names.join("\n"));
        };
        black_box(counted(*work, &MATERIAL));
        return;
    }
    divan::main();
}

#[divan::bench(args = LOOPS.map(|(name, _)| name))]
fn hot(bencher: Bencher<'_, '_>, name: &str) {
    let (_, work) = LOOPS.iter().find(|(known, _)| *known == name).unwrap();
    let material = &*MATERIAL;
    let bytes = if name == "sign" {
        0
    } else {
        material.batch.bytes()
    };
    let bencher = bencher.counter(BytesCount::new(bytes));
    bencher.bench(|| counted(*work, black_box(material)));
}

/// A part of so many events from its first push to its commit, on the disk of temporary files.
#[divan::bench(args = [1, 100, EVENTS])]
fn commit(bencher: Bencher<'_, '_>, events: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, task) = Store::open(folder.path(), Clock::system()).unwrap();
    let stop = CancellationToken::new();
    let running = runtime.spawn(task.run(stop.clone()));
    let mut writer = runtime.block_on(async {
        store.route(Vec::<Route>::new()).await.unwrap();
        store.writer(&stream()).await.unwrap()
    });
    let records: Vec<_> = MATERIAL.batch.records().iter().take(events).collect();
    let bytes: usize = records.iter().map(|record| record.body.len()).sum();
    let mut number = 0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        for record in &records {
            let event = Event {
                body: &record.body_str(),
                time: record.time,
                id: record.id,
            };
            writer.push(&record.kind, record.form, event).unwrap();
        }
        number += 1;
        writer
            .commit(&Cursor::new(format!("{number}")).unwrap())
            .unwrap();
    });
    drop(writer);
    stop.cancel();
    runtime.block_on(running).unwrap().unwrap();
}
