//! What whoever starts and stops services is told of the agent: `sd_notify(3)`, and its watchdog.
//!
//! The watchdog hears from the agent only as long as its life goes on: every step of that life says
//! how long it may take, and when one takes longer, the pings stop and the service manager starts the
//! agent again, which settles what was open. A timer that pings by itself would prove nothing.
//!
//! Deliberately absent: file descriptors from the service manager, and every way to be asked something
//! but a fresh certificate.

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::os::Notifier;

/// Longest that one attempt at an effect, at taking one back or at enrolling may take. What takes longer as a
/// whole says so before each of its attempts.
pub(crate) const STEP: Duration = Duration::from_hours(1);

/// What the agent says once the control plane has answered a poll.
pub const SERVED: &str = "Waiting for orders";

/// The life of an agent, for its service manager. The default is an agent that has none.
#[derive(Clone, Debug)]
pub struct Vital(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    notifier: Option<Notifier>,
    /// Until when the present step may take.
    until: Mutex<Instant>,
    said: Mutex<String>,
    renewal: Notify,
}

impl Default for Vital {
    fn default() -> Self {
        Self::with(None)
    }
}

impl Vital {
    fn with(notifier: Option<Notifier>) -> Self {
        Self(Arc::new(Inner {
            notifier,
            until: Mutex::new(Instant::now() + STEP),
            said: Mutex::default(),
            renewal: Notify::new(),
        }))
    }

    /// For the service manager that started this process, if one did.
    ///
    /// # Errors
    /// When it left an address that cannot be used.
    pub fn of_environment() -> io::Result<Self> {
        let notifier = std::env::var_os("NOTIFY_SOCKET").map(Notifier::open).transpose()?;
        Ok(Self::with(notifier))
    }

    /// The present step takes no longer than this.
    pub fn within(&self, limit: Duration) {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + limit;
    }

    /// Whether the present step is within its time.
    pub fn is_alive(&self) -> bool {
        Instant::now() <= *self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an earlier process left open is settled: others that wait for the agent may start.
    pub(crate) fn settled(&self) {
        self.tell("READY=1");
        self.say("Reaching the control plane".to_owned());
    }

    /// The control plane answered a poll.
    pub(crate) fn served(&self) {
        self.say(SERVED.to_owned());
    }

    /// The control plane did not answer, or said no.
    pub(crate) fn troubled(&self, error: &dyn StdError) {
        self.say(format!("Not served by the control plane: {error}"));
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Asks the agent for a fresh key and certificate now.
    pub fn ask_renewal(&self) {
        self.0.renewal.notify_one();
    }

    pub(crate) async fn renewal_asked(&self) {
        self.0.renewal.notified().await;
    }

    /// Pings the watchdog for as long as the agent is alive, if the service manager has one.
    pub async fn ping(self, watchdog: Watchdog) {
        let mut alive = true;
        loop {
            let was = std::mem::replace(&mut alive, self.is_alive());
            if alive {
                self.tell("WATCHDOG=1");
            } else if was {
                tracing::error!(
                    "A step takes longer than it may; the service manager starts the agent again"
                );
            }
            tokio::time::sleep(watchdog.every).await;
        }
    }

    fn say(&self, status: String) {
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != status {
            self.tell(&format!("STATUS={}", status.replace('\n', " ")));
            *said = status;
        }
    }

    fn tell(&self, what: &str) {
        if let Some(notifier) = &self.0.notifier
            && let Err(error) = notifier.send(what)
        {
            tracing::warn!(%error, "The service manager does not listen");
        }
    }
}

/// How often the service manager wants to hear from the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    every: Duration,
}

impl Watchdog {
    /// Three times in the time that is set; `None` when there is no watchdog for this process.
    pub fn of_environment() -> Option<Self> {
        let read = |name| std::env::var(name).ok();
        Self::of(read("WATCHDOG_USEC"), read("WATCHDOG_PID"), std::process::id())
    }

    fn of(micros: Option<String>, pid: Option<String>, own: u32) -> Option<Self> {
        let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0)?;
        let mine = pid.is_none_or(|pid| pid.parse() == Ok(own));
        mine.then_some(Self { every: Duration::from_micros(micros / 3) })
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn manager() -> (tempfile::TempDir, UnixDatagram, Vital) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let vital = Vital::with(Some(Notifier::open(path.into()).unwrap()));
        (directory, manager, vital)
    }

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn the_service_manager_hears_of_each_turn_once() {
        let (_directory, manager, vital) = manager();
        vital.settled();
        vital.served();
        vital.served();
        vital.stopping();
        let all: Vec<_> = std::iter::from_fn(|| heard(&manager)).collect();
        let served = format!("STATUS={SERVED}");
        assert_eq!(all, ["READY=1", "STATUS=Reaching the control plane", &served, "STOPPING=1"]);
    }

    #[test]
    fn an_abstract_name_is_an_address() {
        let name = format!("nexplane-agent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let vital = Vital::with(Some(Notifier::open(format!("@{name}").into()).unwrap()));
        vital.settled();
        assert_eq!(heard(&manager).as_deref(), Some("READY=1"));
    }

    #[tokio::test]
    async fn pings_stop_when_a_step_takes_too_long_and_go_on_when_it_ends() {
        let (_directory, manager, vital) = manager();
        let watchdog = Watchdog { every: Duration::from_millis(5) };
        vital.within(Duration::from_mins(1));
        let pinging = tokio::spawn(vital.clone().ping(watchdog));
        let hear = async |manager: UnixDatagram| {
            tokio::task::spawn_blocking(move || (heard(&manager), manager)).await.unwrap()
        };
        let (ping, manager) = hear(manager).await;
        assert_eq!(ping.as_deref(), Some("WATCHDOG=1"));
        vital.within(Duration::ZERO);
        let mut silent = None;
        let mut manager = manager;
        // What was under way when the time was over still arrives.
        for _ in 0..200 {
            let (ping, back) = hear(manager).await;
            manager = back;
            if ping.is_none() {
                silent = Some(());
                break;
            }
        }
        assert_eq!(silent, Some(()), "it went on pinging");
        vital.within(Duration::from_mins(1));
        assert_eq!(hear(manager).await.0.as_deref(), Some("WATCHDOG=1"));
        pinging.abort();
    }

    #[test]
    fn only_a_watchdog_of_this_process_counts() {
        let of = |micros: &str, pid: Option<&str>| {
            Watchdog::of(Some(micros.to_owned()), pid.map(str::to_owned), 7)
        };
        assert_eq!(of("90000000", Some("7")), Some(Watchdog { every: Duration::from_secs(30) }));
        assert_eq!(of("90000000", None), of("90000000", Some("7")));
        assert_eq!((of("90000000", Some("8")), of("0", None), of("x", None)), (None, None, None));
        assert_eq!(Watchdog::of(None, None, 7), None);
    }
}
