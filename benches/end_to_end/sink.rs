//! Receivers that do as little as can be done with what they are sent: they count events.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;

use crate::process::Child;

/// What a sink understands.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Requests of Splunk's HEC; an event a line.
    Http,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}

/// A running sink.
pub(crate) struct Sink {
    pub(crate) address: String,
    events: Arc<AtomicU64>,
    _process: Child,
}

impl Sink {
    /// Events so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

pub(crate) fn start(kind: Kind) -> Sink {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--role-sink", kind.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = said.next().unwrap().unwrap();
    let events = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&events);
    std::thread::spawn(move || {
        for line in said {
            count.store(line.unwrap().parse().unwrap(), Ordering::Relaxed);
        }
    });
    Sink {
        address,
        events,
        _process: Child(child),
    }
}

/// Lines of the files that the collector wrote below a folder.
pub(crate) fn lines_of(_folder: &Path) -> u64 {
    0
}

/// The sink's process: says where it listens, then the number of events after each batch.
pub(crate) fn serve(_kind: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let events: &'static AtomicU64 = Box::leak(Box::default());
    for socket in listener.incoming() {
        let socket = socket.unwrap();
        std::thread::spawn(move || {
            // A client that goes away ends its connection.
            http(socket, events).ok();
        });
    }
}

fn http(socket: TcpStream, events: &AtomicU64) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, socket.try_clone()?);
    let mut output = socket;
    let mut line = String::new();
    loop {
        let (mut length, mut packed) = (0, false);
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            packed |= header == "content-encoding: gzip";
        }
        let mut body = input.by_ref().take(length);
        let found = if packed {
            lines(GzDecoder::new(&mut body))?
        } else {
            lines(&mut body)?
        };
        let sum = events.fetch_add(found, Ordering::Relaxed) + found;
        let answer = r#"{"text":"Success","code":0}"#;
        write!(
            output,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
        println!("{sum}");
    }
}

fn lines(mut input: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut found = 0;
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(found);
        }
        found += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
    }
}
