//! Receivers that do as little as can be done with what they are sent: they count events.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::bufread::GzDecoder;

use crate::process::Child;

/// What a sink understands.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Requests of Splunk's HEC; an event a line.
    Http,
    /// Messages of syslog over TCP; one a line.
    Lines,
    /// A file that grows; an event a line.
    File,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Lines => "lines",
            Self::File => "file",
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

/// Starts a sink; `file` is the one that the collector will write, for [`Kind::File`].
pub(crate) fn start(kind: Kind, file: &Path) -> Sink {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--role-sink", kind.as_str()])
        .arg(file)
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

/// The sink's process: says where it listens, then the number of events after each batch.
pub(crate) fn serve(arguments: &[String]) {
    let take: fn(TcpStream, &AtomicU64) -> io::Result<()> = match arguments[0].as_str() {
        "http" => http,
        "lines" => stream,
        _ => return follow(Path::new(&arguments[1])),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let events: &'static AtomicU64 = Box::leak(Box::default());
    for socket in listener.incoming() {
        let socket = socket.unwrap();
        std::thread::spawn(move || {
            // A client that goes away ends its connection.
            take(socket, events).ok();
        });
    }
}

/// Reads a file as it grows, from when it is there.
fn follow(path: &Path) {
    println!("{}", path.display());
    let events = AtomicU64::new(0);
    let mut file = None;
    loop {
        if file.is_none() {
            file = File::open(path).ok();
        }
        if let Some(file) = &mut file {
            count(file, &events).unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn stream(mut socket: TcpStream, events: &AtomicU64) -> io::Result<()> {
    count(&mut socket, events)
}

/// Counts the lines that come until no more do, and says so as they come.
fn count(input: &mut impl Read, events: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let found = memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
        println!("{}", events.fetch_add(found, Ordering::Relaxed) + found);
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
