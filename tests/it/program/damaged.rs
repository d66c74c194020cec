//! A file that cannot be read: its good lines are delivered, it is kept as it came, and the stream goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mimecast_collector::simulator::{Account, Action, Fault, Publication, Target};
use serde_json::Value;

use super::harness::{Bench, Program, within};

const RECORDS: usize = 400;

/// Asks until something was put aside, and gives that.
async fn put_aside(bench: &Bench) -> Value {
    let asked = async {
        loop {
            let listed = bench.ended(&["dead-letters", "list", "--json"]).await;
            let mut letters: Vec<Value> = serde_json::from_str(&listed.out).unwrap_or_default();
            if let Some(letter) = letters.pop() {
                assert!(letters.is_empty(), "{letters:?}");
                return letter;
            }
        }
    };
    within("a dead letter", asked).await
}

async fn saved(bench: &Bench, number: &str, to: &str) -> Option<i32> {
    let to = bench.path(to);
    let arguments = ["dead-letters", "save", number, to.to_str().unwrap()];
    bench.ended(&arguments).await.code
}

async fn running(bench: &Bench) -> Program {
    let collector = bench.run(240);
    collector.logged(&["INFO", "running"]).await;
    collector
}

#[tokio::test]
async fn a_file_that_is_cut_off_delivers_its_good_lines_and_is_kept_byte_by_byte_over_a_kill_9() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\"]");
    let types = "[integration.log.siem-cg]\ntypes = [\"receipt\"]\n";
    bench.configure(&[integration + types], "");
    let publish = || {
        let mut file = Publication::new("two", "siem-cg", "receipt", RECORDS);
        file.per_file = Some(RECORDS);
        bench.handle.publish_as(&file).unwrap();
    };
    publish();
    let cut = bench
        .handle
        .script(Fault::new(Target::Objects, Action::Truncate));
    let collector = running(&bench).await;
    let letter = put_aside(&bench).await;
    // No second too early: what was answered is on the disk.
    collector.kill_9();

    let whole = bench.handle.objects("two");
    let came = &whole[0][..whole[0].len() / 2];
    assert_eq!(letter["records"], 1);
    let reason = letter["reason"].as_str().unwrap();
    assert!(
        reason.contains("5 tries, and is kept as it came"),
        "{reason}"
    );
    let kept = letter["kept"].as_str().unwrap();
    assert!(
        kept.ends_with(".file") && !kept.contains("Signature"),
        "{kept}"
    );
    assert_eq!(fs::read(kept).unwrap(), came);
    let mode = fs::metadata(kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    bench.handle.clear(cut);
    publish();
    let collector = running(&bench).await;
    assert_eq!(put_aside(&bench).await, letter);
    let number = letter["number"].to_string();
    let shown = bench.ended(&["dead-letters", "show", &number]).await;
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let record: Value =
        serde_json::from_str(shown["entries"][0]["record"].as_str().unwrap()).unwrap();
    assert_eq!(record["size"], whole[0].len());
    assert!(
        record["file"].as_str().unwrap().ends_with(".gz"),
        "{record}"
    );
    assert!(record.get("token").is_some(), "{record}");
    assert_eq!(saved(&bench, &number, "damaged.gz").await, Some(0));
    assert_eq!(fs::read(bench.path("damaged.gz")).unwrap(), came);
    assert_eq!(saved(&bench, &number, "damaged.gz").await, Some(74));
    assert_eq!(saved(&bench, "99", "other.gz").await, Some(64));

    // The lines before the cut, once, and the whole of the next file.
    let of_both = |records: &[Vec<u8>]| {
        let arrived = bench.handle.hec().events();
        let has = |record: &Vec<u8>| arrived.iter().any(|e| e.event().as_bytes() == record);
        records.iter().filter(|record| has(record)).count()
    };
    let published = bench.handle.published("two", "siem-cg", "receipt");
    let (first, second) = published.split_at(RECORDS);
    bench
        .until("the next file", |_| of_both(second) == RECORDS)
        .await;
    let good = of_both(first);
    assert!((1..RECORDS).contains(&good), "{good} good lines");
    assert_eq!(
        of_both(&first[..good]),
        good,
        "not the lines before the cut"
    );
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_balanced().await;

    let discard = ["dead-letters", "discard", "--yes", &number];
    assert_eq!(bench.ended(&discard).await.code, Some(0));
    assert!(!fs::exists(kept).unwrap());
    collector.stop().await;
}
