//! How much of what was written to a TCP connection lies in our system still, unacknowledged by the receiver's.
//!
//! The kernel shows it in `/proc/net/tcp`, for the sockets of this network namespace; asking the socket itself takes code that the compiler
//! cannot check.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Ends {
    /// Bytes that were written and are not acknowledged; `None` where the system does not say. Reads a file of the kernel's: for a blocking
    /// thread.
    pub(super) fn unacknowledged(self) -> Option<u64> {
        let table = match self.local {
            SocketAddr::V4(_) => "/proc/self/net/tcp",
            SocketAddr::V6(_) => "/proc/self/net/tcp6",
        };
        find(&fs::read_to_string(table).ok()?, self)
    }
}

/// The send queue of the row that has these ends.
fn find(table: &str, ends: Ends) -> Option<u64> {
    let (local, peer) = (shown(ends.local), shown(ends.peer));
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_it = words.next()? == local && words.next()? == peer;
        let (queue, _) = words.nth(1)?.split_once(':')?;
        is_it.then(|| u64::from_str_radix(queue, 16).ok())?
    })
}

/// An address as the kernel writes it: words of four bytes in the machine's order, and the port.
fn shown(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| {
        let word = word
            .iter()
            .rev()
            .fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte));
        format!("{:08X}", u32::from_le(word))
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:BC8E 0100007F:19B2 01 0000002A:00000000 01:00000014 00000000     0        0 1 2
   1: 0100007F:19B2 0100007F:BC8E 01 00000000:0000002A 00:00000000 00000000     0        0 1 2
";

    #[cfg(target_endian = "little")]
    #[test]
    fn a_row_of_the_kernels_is_read() {
        let ends = Ends {
            local: "127.0.0.1:48270".parse().unwrap(),
            peer: "127.0.0.1:6578".parse().unwrap(),
        };
        assert_eq!(find(TABLE, ends), Some(42));
        let back = Ends {
            local: ends.peer,
            peer: ends.local,
        };
        assert_eq!(find(TABLE, back), Some(0));
        let other = Ends {
            peer: "127.0.0.2:6578".parse().unwrap(),
            ..ends
        };
        assert_eq!((find(TABLE, other), find("", ends)), (None, None));
        assert_eq!(
            shown("[::1]:514".parse().unwrap()),
            "00000000000000000000000001000000:0202"
        );
    }

    #[test]
    fn what_a_receiver_does_not_take_is_seen_of_either_family() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                // A machine without IPv6.
                continue;
            };
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ends = Ends {
                local: stream.local_addr().unwrap(),
                peer: stream.peer_addr().unwrap(),
            };
            assert_eq!(ends.unacknowledged(), Some(0));
            stream.set_nonblocking(true).unwrap();
            // Until no buffer takes more.
            while stream.write(&[0; 1 << 16]).is_ok() {}
            assert!(ends.unacknowledged().unwrap() > 0);
        }
    }
}
