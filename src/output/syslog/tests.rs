use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};

use super::super::fixture::{batch, numbered, record};
use super::*;
use crate::model::Form;
use crate::output::format::{Format, escape};

fn config(transport: Transport, servers: &[String]) -> SyslogConfig {
    SyslogConfig {
        servers: servers.to_vec(),
        transport,
        rfc: Rfc::Rfc5424,
        framing: Framing::OctetCounting,
        format: Format::Json,
        facility: 16,
        app_name: "mimecast-collector".to_owned(),
        hostname: Some("collector-1".to_owned()),
        max_bytes: 8 << 10,
        oversized: Then::Truncate,
        ca_file: None,
        client_cert: None,
        client_key: None,
    }
}

fn output(config: &SyslogConfig) -> Syslog {
    Syslog::new(config, None).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_767_690_487_000))
}

/// The verdicts that are there when so much time has passed.
async fn after(output: &Syslog, clock: &Clock, span: Duration) -> Vec<(Receipt, Verdict)> {
    let verdicts = output.confirmations(clock);
    let (verdicts, ()) = tokio::join!(verdicts, async { clock.advance(span) });
    verdicts
}

/// The verdicts that come without any time passing.
async fn at_once(output: &Syslog, clock: &Clock) -> Vec<(Receipt, Verdict)> {
    let verdicts = output.confirmations(clock);
    tokio::time::timeout(Duration::from_secs(30), verdicts)
        .await
        .unwrap()
}

fn receipt(delivery: &Delivery) -> Receipt {
    delivery
        .pending
        .unwrap_or_else(|| panic!("not pending: {delivery:?}"))
}

/// Takes counted messages apart; fails at anything that is not to the letter.
fn counted(bytes: &[u8]) -> Vec<String> {
    let (mut rest, mut messages) = (bytes, Vec::new());
    while !rest.is_empty() {
        let space = rest.iter().position(|b| *b == b' ').unwrap();
        let digits = std::str::from_utf8(&rest[..space]).unwrap();
        assert!(!digits.starts_with('0'));
        let len: usize = digits.parse().unwrap();
        let message = &rest[space + 1..space + 1 + len];
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        rest = &rest[space + 1 + len..];
    }
    messages
}

/// A strict reader of RFC 5424: priority, event id and body.
fn read_5424(message: &str) -> (u8, String, String) {
    let rest = message.strip_prefix('<').unwrap();
    let (priority, rest) = rest.split_once('>').unwrap();
    let mut parts = rest.splitn(7, ' ');
    assert_eq!(parts.next(), Some("1"));
    let time: jiff::Timestamp = parts.next().unwrap().parse().unwrap();
    assert!(time > jiff::Timestamp::UNIX_EPOCH);
    for limit in [255, 48, 128, 32] {
        let part = parts.next().unwrap();
        assert!(
            (1..=limit).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_graphic()),
            "{part}"
        );
    }
    let data = parts
        .next()
        .unwrap()
        .strip_prefix("[mimecast@32473")
        .unwrap();
    let (mut rest, mut id) = (data, String::new());
    while let Some(parameter) = rest.strip_prefix(' ') {
        let (name, quoted) = parameter.split_once("=\"").unwrap();
        assert!(name.len() <= 32);
        let mut escaped = false;
        let end = quoted.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            assert!(escaped || *c != ']');
            escaped = *c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap().0;
        if name == "eventId" {
            id = quoted.get(..end).unwrap().to_owned();
        }
        rest = quoted.get(end + 1..).unwrap();
    }
    let body = rest.strip_prefix("] ").unwrap();
    (priority.parse().unwrap(), id, body.to_owned())
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Reads until so many messages are there.
async fn receive(socket: &mut TcpStream, messages: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    let all = async {
        loop {
            let mut piece = [0; 4096];
            let n = socket.read(&mut piece).await.unwrap();
            assert!(n > 0, "closed after {} bytes", bytes.len());
            bytes.extend_from_slice(&piece[..n]);
            if bytes.ends_with(format!("{{\"n\":{}}}", messages - 1).as_bytes()) {
                return counted(&bytes);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .unwrap()
}

#[tokio::test]
async fn events_are_counted_frames_and_accepted_when_no_reset_came() {
    let (listener, address) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[address])), clock());
    let events = numbered(300);
    let (delivery, (messages, _socket)) = tokio::join!(output.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        (receive(&mut socket, 300).await, socket)
    });
    assert_eq!(delivery, Delivery::pending(300, Receipt(1)));
    for (i, message) in messages.iter().enumerate() {
        let (priority, id, body) = read_5424(message);
        assert_eq!((priority, body), (133, format!("{{\"n\":{i}}}")));
        assert_eq!(id, "ab".repeat(16));
    }
    let early = tokio::time::timeout(
        Duration::from_millis(50),
        after(&output, &clock, ACCEPTED_AFTER - Duration::from_millis(1)),
    );
    assert!(early.await.is_err());
    assert_eq!(
        after(&output, &clock, Duration::from_millis(1)).await,
        [(Receipt(1), Verdict::Accepted)]
    );
}

#[tokio::test]
async fn ten_thousand_events_go_out_before_the_first_of_them_counts() {
    let (listener, address) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[address])), clock());
    let events = numbered(1_000);
    let measure = Clock::system();
    // The clock of the confirmations stands still all the while.
    let (receipts, _socket) = tokio::join!(
        async {
            let mut receipts = Vec::new();
            for _ in 0..10 {
                receipts.push(receipt(&output.deliver(&events).await));
            }
            receipts
        },
        async {
            let mut socket = listener.accept().await.unwrap().0;
            let (mut last, mut seen) = (Vec::new(), 0);
            while seen < 10 {
                let mut piece = vec![0; 64 << 10];
                let n = socket.read(&mut piece).await.unwrap();
                assert!(n > 0);
                last.extend_from_slice(&piece[..n]);
                let text = String::from_utf8_lossy(&last);
                seen = text.matches("{\"n\":999}").count();
            }
            socket
        }
    );
    println!("10 000 events in {:?}", measure.monotonic());
    let mut verdicts = after(&output, &clock, ACCEPTED_AFTER).await;
    verdicts.sort_by_key(|(receipt, _)| *receipt);
    let accepted = receipts.into_iter().map(|r| (r, Verdict::Accepted));
    assert_eq!(verdicts, accepted.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_written_before_a_break_goes_out_again_with_the_same_ids() {
    let (listener, address) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[address])), clock());
    let events = numbered(20);
    let (deliveries, first) = tokio::join!(
        async { [output.deliver(&events).await, output.deliver(&events).await] },
        async {
            let mut socket = listener.accept().await.unwrap().0;
            let mut messages = receive(&mut socket, 20).await;
            while messages.len() < 40 {
                messages.extend(receive(&mut socket, 20).await);
            }
            messages.truncate(20);
            messages
            // Read, and closed before the events count.
        }
    );
    let lost: Vec<_> = at_once(&output, &clock).await;
    let receipts: Vec<_> = lost.iter().map(|(receipt, _)| *receipt).collect();
    assert_eq!(receipts, deliveries.each_ref().map(receipt));
    for (_, verdict) in lost {
        let Verdict::Lost(failure) = verdict else {
            panic!("accepted over a connection that was closed");
        };
        assert_eq!(failure.key(), "syslog/reset");
    }
    let (delivery, again) = tokio::join!(output.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        (receive(&mut socket, 20).await, socket)
    });
    assert_eq!(again.0, first);
    assert_eq!(
        after(&output, &clock, ACCEPTED_AFTER).await,
        [(receipt(&delivery), Verdict::Accepted)]
    );
}

#[tokio::test]
async fn a_reset_wins_against_the_time_that_has_passed_meanwhile() {
    let (listener, address) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[address])), clock());
    let events = numbered(20);
    let (delivery, ()) = tokio::join!(output.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        receive(&mut socket, 20).await;
    });
    // As in a process that was stopped for long just then: the time of counting is known and over before anybody reads.
    output.book().unconfirmed.next(clock.now(), ACCEPTED_AFTER);
    clock.advance(ACCEPTED_AFTER * 2);
    let verdicts = at_once(&output, &clock).await;
    assert_eq!(verdicts[0].0, receipt(&delivery));
    assert!(matches!(verdicts[0].1, Verdict::Lost(_)));
}

/// Listens with a buffer so small that little is taken from a sender before it is read.
fn narrow() -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(8).unwrap()
}

#[tokio::test]
async fn what_a_receiver_that_stands_still_has_not_taken_goes_out_again_when_it_dies() {
    let listener = narrow();
    let address = listener.local_addr().unwrap().to_string();
    let output = output(&config(Transport::Tcp, &[address]));
    let clock = clock();
    // Our own buffer takes all of it.
    let batch = numbered(1_000);
    let (delivery, accepted) = tokio::join!(output.deliver(&batch), listener.accept());
    let (delivery, (socket, _)) = (delivery, accepted.unwrap());
    let sent = receipt(&delivery);
    clock.advance(Duration::from_secs(3_600));
    let (verdicts, ()) = tokio::join!(output.confirmations(&clock), async {
        // Longer than from one look to the next.
        clock.advance(Duration::from_secs(3_600));
        sleep(2 * LOOK_AGAIN).await;
        drop(socket);
    });
    let [(lost, Verdict::Lost(failure))] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!((*lost, failure.key()), (sent, "syslog/reset".to_owned()));
}

#[tokio::test]
async fn a_receiver_that_is_slow_gets_its_time_and_nothing_twice() {
    let listener = narrow();
    let address = listener.local_addr().unwrap().to_string();
    let output = output(&config(Transport::Tcp, &[address]));
    let clock = clock();
    let batch = numbered(1_000);
    let (delivery, accepted) = tokio::join!(output.deliver(&batch), listener.accept());
    let (mut socket, _) = accepted.unwrap();
    let (verdicts, text) = tokio::join!(output.confirmations(&clock), async {
        clock.advance(Duration::from_secs(3_600));
        sleep(LOOK_AGAIN).await;
        let mut text: Vec<u8> = Vec::new();
        while counted_so_far(&text) < 1_000 {
            assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0);
        }
        text
    });
    assert_eq!(verdicts, [(receipt(&delivery), Verdict::Accepted)]);
    assert_eq!(counted(&text).len(), 1_000);
}

/// How many messages begin in what was received.
fn counted_so_far(text: &[u8]) -> usize {
    let ends = memchr::memmem::find_iter(text, b"}").count();
    if text.ends_with(b"}") { ends } else { 0 }
}

#[tokio::test]
async fn a_lane_that_lost_events_sends_nothing_before_them() {
    let (listener, address) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[address])), clock());
    let mut later = record("audit", Form::Json, r#"{"n":1}"#);
    later.id = crate::model::EventId([0xcd; 16]);
    let (events, later) = (numbered(2), batch("acme-uk/audit", vec![later]));
    let (_, ()) = tokio::join!(output.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        receive(&mut socket, 2).await;
    });
    assert_eq!(at_once(&output, &clock).await.len(), 1);
    // It was on its way when the connection broke.
    let refused = output.deliver(&later).await;
    assert_eq!((refused.accepted, refused.pending), (0, None));
    assert_eq!(refused.failure.unwrap().key(), "syslog/reset");
    let (again, _socket) = tokio::join!(
        async { [output.deliver(&events).await, output.deliver(&later).await] },
        async {
            let mut socket = listener.accept().await.unwrap().0;
            receive(&mut socket, 2).await;
            socket
        }
    );
    assert_eq!(again.each_ref().map(receipt), [Receipt(2), Receipt(3)]);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_is_made_anew_without_a_failure() {
    let (listener, address) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[address])), clock());
    let events = numbered(3);
    for _ in 0..2 {
        let (delivery, socket) = tokio::join!(output.deliver(&events), async {
            let mut socket = listener.accept().await.unwrap().0;
            receive(&mut socket, 3).await;
            // A receiver that says something is no receiver that is gone.
            socket.write_all(b"hello\n").await.unwrap();
            socket
        });
        assert_eq!(
            after(&output, &clock, ACCEPTED_AFTER).await,
            [(receipt(&delivery), Verdict::Accepted)]
        );
        drop(socket);
        // The worker listens while there is nothing to deliver.
        let confirmations = output.confirmations(&clock);
        let closed = async {
            while output.book().unconfirmed.broken().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            verdicts = confirmations => panic!("{verdicts:?}"),
            noticed = tokio::time::timeout(Duration::from_secs(30), closed) => noticed.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_stood_in_for_by_the_next() {
    let (gone, first) = listener().await;
    drop(gone);
    let (listener, second) = listener().await;
    let both = output(&config(Transport::Tcp, &[first.clone(), second]));
    let events = numbered(2);
    let (delivery, _) = tokio::join!(both.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        receive(&mut socket, 2).await;
        socket
    });
    assert_eq!(delivery, Delivery::pending(2, Receipt(1)));
    let none = output(&config(Transport::Tcp, &[first]))
        .deliver(&events)
        .await;
    assert_eq!(none.failure.unwrap().key(), "syslog/connect");
}

#[tokio::test]
async fn a_server_that_loses_events_is_stood_in_for_by_the_next() {
    let (one, first) = listener().await;
    let (two, second) = listener().await;
    let (output, clock) = (output(&config(Transport::Tcp, &[first, second])), clock());
    let events = numbered(2);
    let _ = tokio::join!(output.deliver(&events), async {
        let mut socket = one.accept().await.unwrap().0;
        receive(&mut socket, 2).await;
    });
    assert_eq!(at_once(&output, &clock).await.len(), 1);
    let (delivery, _socket) = tokio::join!(output.deliver(&events), async {
        let mut socket = two.accept().await.unwrap().0;
        receive(&mut socket, 2).await;
        socket
    });
    assert_eq!(delivery.accepted, 2);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_gets_no_event() {
    let (listener, address) = listener().await;
    let address = address.replace("127.0.0.1", "localhost");
    let output = output(&config(Transport::Tls, &[address]));
    let events = numbered(1);
    let (delivery, heard) = tokio::join!(output.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        let mut heard = [0; 4096];
        let n = socket.read(&mut heard).await.unwrap();
        socket.write_all(b"<13>1 - - - - - -\n").await.unwrap();
        String::from_utf8_lossy(&heard[..n]).into_owned()
    });
    assert_eq!(delivery.failure.unwrap().key(), "syslog/tls");
    assert!(!heard.contains("mimecast"), "{heard}");
}

#[tokio::test]
async fn a_probe_tells_a_server_that_keeps_a_connection_from_one_that_does_not_and_sends_nothing() {
    let ((keeps, kept), (closes, closed)) = (listener().await, listener().await);
    let gone = listener().await.1;
    let servers = [kept, closed, gone];
    let syslog = output(&config(Transport::Tcp, &servers));
    let kept = async {
        let (mut socket, _) = keeps.accept().await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let closed = async { drop(closes.accept().await.unwrap()) };
    let (probed, heard, ()) = tokio::join!(syslog.probe(), kept, closed);
    let found: Vec<_> = probed
        .iter()
        .map(|probed| probed.as_ref().map_err(|failure| failure.key()))
        .collect();
    let failed = |key: &str| Err(key.to_owned());
    assert_eq!(
        found,
        [Ok(&()), failed("syslog/reset"), failed("syslog/connect")]
    );
    assert_eq!(heard, b"");
}

#[tokio::test]
async fn a_datagram_is_a_message_and_one_too_large_for_the_network_is_put_aside() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let mut config = config(Transport::Udp, &[address]);
    config.format = Format::Leef;
    let delivery = output(&config).deliver(&numbered(5)).await;
    assert_eq!(delivery, Delivery::accepted(5));
    for i in 0..5 {
        let mut datagram = [0; 4096];
        let n = receiver.recv(&mut datagram).await.unwrap();
        let (_, _, body) = read_5424(std::str::from_utf8(&datagram[..n]).unwrap());
        assert!(
            body.starts_with("LEEF:1.0|") && body.ends_with(&format!("\tn={i}")),
            "{body}"
        );
    }
    config.max_bytes = 1 << 20;
    let large = record(
        "audit",
        Form::Json,
        &format!(r#"{{"x":"{}"}}"#, "x".repeat(70_000)),
    );
    let events = batch(
        "acme-uk/audit",
        vec![numbered(1).records()[0].clone(), large],
    );
    let output = output(&config);
    assert_eq!(output.deliver(&events).await, Delivery::accepted(1));
    let rest = output.deliver(&events.slice(1..2)).await;
    assert_eq!((rest.accepted, rest.rejected[0].index), (0, 0));
}

#[tokio::test]
async fn a_unix_socket_of_datagrams_gets_a_message_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let output = output(&config(Transport::Unix, &[path.display().to_string()]));
    assert_eq!(output.deliver(&numbered(2)).await, Delivery::accepted(2));
    let mut message = [0; 8 << 10];
    for n in 0..2 {
        let len = socket.recv(&mut message).await.unwrap();
        let text = std::str::from_utf8(&message[..len]).unwrap();
        assert!(text.ends_with(&format!(r#"{{"n":{n}}}"#)), "{text}");
        read_5424(text);
    }
}

#[tokio::test]
async fn a_unix_socket_of_a_stream_gets_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log").to_str().unwrap().to_owned();
    let listener = UnixListener::bind(&path).unwrap();
    let output = output(&config(Transport::Unix, &[path]));
    let events = numbered(2);
    let (delivery, text) = tokio::join!(output.deliver(&events), async {
        let mut socket = listener.accept().await.unwrap().0;
        let mut text = String::new();
        while text.matches('\n').count() < 2 {
            let mut piece = [0; 4096];
            let n = socket.read(&mut piece).await.unwrap();
            text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
        (text, socket)
    });
    assert_eq!(delivery, Delivery::pending(2, Receipt(1)));
    assert_eq!(text.0.lines().map(read_5424).count(), 2);
}

#[test]
fn a_message_of_each_rfc() {
    let mail = record(
        "url protect",
        Form::Json,
        r#"{"url":"http://x/","action":"Block"}"#,
    );
    let mail = batch("acme-uk/siem-cg/url protect", vec![mail]);
    let shown = |rfc| {
        let config = SyslogConfig {
            rfc,
            framing: Framing::Lf,
            ..config(Transport::Tcp, &[])
        };
        String::from_utf8(Encoder::new(&config).encode(&mail).bytes).unwrap()
    };
    insta::assert_snapshot!(
        shown(Rfc::Rfc5424) + &shown(Rfc::Rfc3164),
        @r#"
    <131>1 2026-01-06T09:08:07.000Z collector-1 mimecast-collector - url-protect [mimecast@32473 integration="acme-uk" log="siem-cg" type="url protect" eventId="abababababababababababababababab"] {"url":"http://x/","action":"Block"}
    <131>Jan  6 09:08:07 collector-1 mimecast-collector: {"url":"http://x/","action":"Block"}
    "#
    );
}

#[tokio::test]
async fn a_message_that_is_too_long_is_shortened_or_put_aside_and_holds_up_nothing() {
    let long = format!(r#"{{"subject":"{}","n":1}}"#, "日".repeat(50 << 18));
    let events = [r#"{"n":0}"#, &long, r#"{"n":2}"#];
    let events = events.map(|body| record("audit", Form::Json, body));
    let events = batch("acme-uk/audit", events.to_vec());
    for framing in [Framing::OctetCounting, Framing::Lf] {
        let mut config = config(Transport::Tcp, &["127.0.0.1:1".to_owned()]);
        config.framing = framing;
        let frames = Encoder::new(&config).encode(&events);
        assert_eq!((frames.ends.len(), frames.shortened), (3, vec![1]));
        let text = String::from_utf8(frames.bytes).unwrap();
        let (_, body) = text.split_once("{\"subject\":").unwrap();
        let (subject, _) = body.split_once("\",").unwrap();
        assert!(subject.trim_start_matches('"').chars().all(|c| c == '日'));
        assert!(text.len() < 3 * config.max_bytes && text.contains("\"truncated\":true"));
        config.oversized = Then::Quarantine;
        // Nothing is sent, so that nobody needs to listen.
        let delivery = output(&config).deliver(&events).await;
        let rejected = delivery.rejected.iter().map(|one| (one.index, one.judge));
        let rejected: Vec<_> = rejected.collect();
        assert_eq!(rejected, [(1, Judge::Collector)]);
        assert_eq!((delivery.accepted, delivery.failure), (0, None));
    }
}

proptest! {
    #[test]
    fn no_content_breaks_a_frame(
        texts in prop::collection::vec(any::<String>(), 1..8),
        raw in prop::collection::vec(any::<u8>(), 0..200),
        repeat in 1_usize..2_000,
        lf in any::<bool>(),
        old in any::<bool>(),
        format in 0_usize..5,
    ) {
        let format = [Format::Json, Format::KeyValue, Format::Cef, Format::Leef, Format::Leef2][format].clone();
        let mut records: Vec<_> = texts.iter().map(|text| {
            let text = format!("{text}\n\r\0\u{1b}[0m <13>1 - forged").repeat(repeat);
            record("a\"]\n", Form::Json, &serde_json::json!({ "subject": text, "x": 1 }).to_string())
        }).collect();
        let mut odd = record("receipt", Form::Text, "");
        odd.body = raw.into();
        records.push(odd);
        let events = records.len();
        let config = SyslogConfig {
            rfc: if old { Rfc::Rfc3164 } else { Rfc::Rfc5424 },
            framing: if lf { Framing::Lf } else { Framing::OctetCounting },
            format,
            max_bytes: 2_048,
            ..config(Transport::Tcp, &[])
        };
        let frames = Encoder::new(&config).encode(&batch("acme-uk/siem/receipt", records));
        let messages = if lf {
            let text = String::from_utf8(frames.bytes).unwrap();
            text.lines().map(str::to_owned).collect()
        } else {
            counted(&frames.bytes)
        };
        prop_assert_eq!(messages.len(), events);
        for message in messages {
            prop_assert!(message.len() <= 2_048);
            prop_assert!(!message.chars().any(|c| escape::is_unsafe(c) && c != '\t'));
            if !old {
                read_5424(&message);
            }
        }
    }
}
