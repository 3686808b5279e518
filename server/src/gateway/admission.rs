//! Who gets in when many come at once, and when somebody comes to keep others out.
//!
//! Handshakes begin a bounded number at a time, in the order in which connections came. A handshake holds up
//! the next one for a moment only: it may go on after that, but whoever is slow, or says nothing on purpose,
//! costs nobody else more. And one source can hold a part of all connections at most without showing a
//! certificate. What a fleet behind one address needs is far below it, since a handshake takes milliseconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Handshakes that hold up others, at a time: when ten thousand agents return at once, they stand in line.
const HANDSHAKES: usize = 128;
/// How long a handshake holds up others. Silent connections must come faster than 512 in a second to delay
/// anybody.
pub const HOLDS_UP: Duration = Duration::from_millis(250);
/// Connections at a time.
const CONNECTIONS: usize = 20_000;
/// Connections of one source that have not shown a certificate.
const STRANGERS: usize = 4_096;

/// What counts as one: an IPv4 address, or the network of a subscriber with IPv6 (56 bits, RIPE-690).
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Source {
    V4([u8; 4]),
    V6([u8; 7]),
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let octets = address.octets();
                Self::V6(*octets.first_chunk().expect("an address has sixteen bytes"))
            }
        }
    }
}

type Strangers = Arc<Mutex<HashMap<Source, usize>>>;

/// The places of a gateway.
#[derive(Clone, Debug)]
pub struct Admission {
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    strangers: Strangers,
}

impl Admission {
    pub fn new() -> Self {
        Self {
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            strangers: Arc::default(),
        }
    }

    /// Waits until another connection may be accepted; until then the kernel keeps it.
    pub async fn place(&self) -> Place {
        let taken = async |places: &Arc<Semaphore>| {
            Arc::clone(places).acquire_owned().await.expect("the places are never closed")
        };
        let connection = taken(&self.connections).await;
        Place { connection, handshake: taken(&self.handshakes).await }
    }

    /// Counts a connection that has shown nothing yet. `None`: its source has too many of them.
    pub fn stranger(&self, from: IpAddr) -> Option<Stranger> {
        let source = Source::of(from);
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = strangers.entry(source).or_default();
        if *count >= STRANGERS {
            return None;
        }
        *count += 1;
        Some(Stranger { source, strangers: Arc::clone(&self.strangers) })
    }
}

/// The places of one connection.
#[derive(Debug)]
pub struct Place {
    pub connection: OwnedSemaphorePermit,
    pub handshake: OwnedSemaphorePermit,
}

/// A connection that has not shown a certificate; it counts until this is dropped.
#[derive(Debug)]
pub struct Stranger {
    source: Source,
    strangers: Strangers,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = strangers.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                strangers.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_so_many_strangers_and_no_more() {
        let door = Admission::new();
        let from = |text: &str| door.stranger(text.parse().unwrap());
        let mut crowd: Vec<_> = (0..STRANGERS).map(|_| from("192.0.2.1").unwrap()).collect();
        assert!(from("192.0.2.1").is_none());
        assert!(from("::ffff:192.0.2.1").is_none(), "the same address in the other notation");
        assert!(from("192.0.2.2").is_some(), "another one has its own places");
        crowd.pop();
        assert!(from("192.0.2.1").is_some());

        crowd = (0..STRANGERS).map(|no| from(&format!("2001:db8:0:{no:x}::1")).unwrap()).collect();
        let full: Vec<_> = (0..STRANGERS).map(|_| from("2001:db8:1:1::1").unwrap()).collect();
        assert!(from("2001:db8:1:fe::2").is_none(), "one subscriber");
        drop((crowd, full));
        assert!(door.strangers.lock().unwrap().is_empty(), "nothing is kept of who has left");
    }
}
