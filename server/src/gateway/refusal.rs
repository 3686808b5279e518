//! What was refused, on its way into the log.
//!
//! Who is refused must not be able to slow anybody down, or to fill the log. So an answer never waits for its
//! record: it is counted in memory, and a task of its own writes it down a moment later. The first refusal of
//! a kind is an event at once; what follows is one event after a minute, after four more, after sixteen, and
//! at last once in a day, with the count. A day without any begins anew.
//!
//! Nothing here grows with an attack: whoever is no host is told apart by network, for as many networks as
//! [`NETWORKS`], and beyond that not at all. Hosts are those that exist. What is counted and not written yet
//! is written when the gateway stops; when it is killed, that is lost, and so is what the log does not take
//! for as long as it is away and the process does not live to see it back.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexplane_core::id::{GatewayId, HostId, JobId};
use nexplane_core::job::{Distrusted, RefusalCode};
use nexplane_core::refusal::{Cause, Refused};
use nexplane_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{HostRegistry, RegistryError};

/// How long the first of a kind waits, so that its answer is out and what came with it is counted.
const SETTLED: Duration = Duration::from_millis(200);
/// From one event of a kind to the next, at first; four times as long each time.
const PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
/// Networks that are told apart.
const NETWORKS: usize = 256;
/// Kinds of refusals at hosts that are told apart.
const AT_HOSTS: usize = 20_000;
/// Between two events, whatever they are about.
const PACE: Duration = Duration::from_millis(20);
/// How long to wait for a log that is away.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the gateway's stop waits for what is not written.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the log is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The gateway refused somebody, in the name of this host if of any.
    Caller { host: Option<HostId>, refused: Refused },
    /// The host's agent signed that it refuses orders.
    Order {
        host: HostId,
        code: RefusalCode,
        count: u64,
        since: Timestamp,
        /// The first of them.
        job: JobId,
        detail: String,
    },
    /// The host's agent got orders that were not this control plane's.
    Distrusted { host: HostId, distrusted: Distrusted },
}

/// A refusal as it is told: again with the same id when it is not known whether it was heard.
#[derive(Clone, Debug)]
pub struct Telling {
    pub id: Uuid,
    pub gateway: GatewayId,
    pub refusal: Refusal,
}

/// What is counted, for metrics: whom it happened to, why, and how often.
pub type Count = (&'static str, &'static str, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Caller(Cause),
    Order(RefusalCode),
    Distrusted(RefusalCode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    Host(HostId),
    Network(Network),
    Anybody,
}

type Key = (Who, Kind);

/// What is refused, by whom and why.
#[derive(Debug, Default)]
pub struct Refusals {
    table: Mutex<Table>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Table {
    kinds: HashMap<Key, Entry>,
    /// The kinds that have something to tell, by when they may.
    waiting: BTreeSet<(Instant, Key)>,
    networks: usize,
    at_hosts: usize,
    totals: BTreeMap<Kind, u64>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    untold: Option<Refusal>,
    /// When something may be told again.
    due: Instant,
    pause: Duration,
}

impl Refusals {
    /// Counts that the gateway refuses somebody. Costs no more than that.
    pub fn caller(&self, host: Option<HostId>, source: IpAddr, cause: Cause) {
        let network = Network::of(source);
        let who = host.map_or(Who::Network(network), Who::Host);
        let source = Some(network.to_string());
        let refused = Refused { cause, count: 1, since: now(), source };
        self.count((who, Kind::Caller(cause)), 1, Refusal::Caller { host, refused });
    }

    /// Counts an order that the host's agent refused by a receipt.
    pub fn order(&self, host: HostId, code: RefusalCode, job: JobId, detail: String) {
        let order = Refusal::Order { host, code, count: 1, since: now(), job, detail };
        self.count((Who::Host(host), Kind::Order(code)), 1, order);
    }

    /// Takes note of what the host's agent counted; `more` of it is news here. False when there is no room:
    /// the agent says it again.
    pub fn distrusted(&self, host: HostId, distrusted: Distrusted, more: u64) -> bool {
        let kind = Kind::Distrusted(distrusted.code);
        self.count((Who::Host(host), kind), more, Refusal::Distrusted { host, distrusted })
    }

    fn count(&self, mut key: Key, times: u64, mut refusal: Refusal) -> bool {
        let now = Instant::now();
        let mut table = self.lock();
        let total = table.totals.entry(key.1).or_default();
        *total = total.saturating_add(times);
        if !table.has_room(key, now) {
            let Refusal::Caller { host, refused } = &mut refusal else {
                tracing::warn!("More hosts have refused orders than can be told apart");
                return false;
            };
            (*host, refused.source) = (None, None);
            key.0 = Who::Anybody;
        }
        if table.take_in(key, refusal, now) {
            drop(table);
            self.wake.notify_one();
        }
        true
    }

    /// How often what was refused, since this process started.
    pub fn totals(&self) -> Vec<Count> {
        let table = self.lock();
        let named = |(kind, total): (&Kind, &u64)| match kind {
            Kind::Caller(cause) => ("caller", cause.as_str(), *total),
            Kind::Order(code) => ("order", code.as_str(), *total),
            Kind::Distrusted(code) => ("distrusted_order", code.as_str(), *total),
        };
        table.totals.iter().map(named).collect()
    }

    /// Tells the log what was refused, until `quiet`; then at once what is left.
    pub(super) async fn run(
        &self,
        gateway: GatewayId,
        hosts: &dyn HostRegistry,
        quiet: CancellationToken,
    ) {
        let limit = async {
            quiet.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            () = self.tell_all(gateway, hosts, &quiet) => {}
            () = limit => tracing::warn!("Not all that was refused is in the log"),
        }
    }

    async fn tell_all(
        &self,
        gateway: GatewayId,
        hosts: &dyn HostRegistry,
        quiet: &CancellationToken,
    ) {
        loop {
            let next = self.lock().take(Instant::now(), quiet.is_cancelled());
            match next {
                Next::Now(refusal) => {
                    tell(hosts, Telling { id: Uuid::now_v7(), gateway, refusal }).await;
                    let pace = tokio::time::sleep(PACE);
                    quiet.run_until_cancelled(pace).await;
                }
                Next::Nothing if quiet.is_cancelled() => return,
                Next::Nothing => tokio::select! {
                    () = self.wake.notified() => {}
                    () = quiet.cancelled() => {}
                },
                Next::At(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.wake.notified() => {}
                    () = quiet.cancelled() => {}
                },
            }
        }
    }

    /// Nothing here panics while the lock is held, and if it did, what is locked is still whole.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tell(hosts: &dyn HostRegistry, telling: Telling) {
    loop {
        match hosts.refused(&telling).await {
            Ok(()) => return,
            Err(error @ RegistryError::Unavailable(_)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "What was refused is not in the log yet; it is tried again"
                );
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "What was refused cannot be recorded"
                );
                return;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What to tell.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Now(Refusal),
    At(Instant),
    Nothing,
}

impl Table {
    /// Whether there is, or may be, an entry of its own for this; what is long over gives way.
    fn has_room(&mut self, key: Key, now: Instant) -> bool {
        if self.kinds.contains_key(&key) {
            return true;
        }
        // Looking through all of them is for once in a while.
        if self.is_full(key.0) && self.swept.is_none_or(|swept| now >= swept + PAUSE) {
            self.swept = Some(now);
            self.kinds.retain(|_, entry| entry.untold.is_some() || now < entry.forgotten());
            let is_network = |(who, _): &&Key| matches!(who, Who::Network(_));
            self.networks = self.kinds.keys().filter(is_network).count();
            let is_host = |(who, _): &&Key| matches!(who, Who::Host(_));
            self.at_hosts = self.kinds.keys().filter(is_host).count();
        }
        !self.is_full(key.0)
    }

    const fn is_full(&self, who: Who) -> bool {
        match who {
            Who::Anybody => false,
            Who::Host(_) => self.at_hosts >= AT_HOSTS,
            Who::Network(_) => self.networks >= NETWORKS,
        }
    }

    /// True when there was nothing to tell of it before.
    fn take_in(&mut self, key: Key, refusal: Refusal, now: Instant) -> bool {
        let entry = match self.kinds.entry(key) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(place) => {
                match key.0 {
                    Who::Anybody => {}
                    Who::Host(_) => self.at_hosts += 1,
                    Who::Network(_) => self.networks += 1,
                }
                place.insert(Entry { untold: None, due: now, pause: PAUSE })
            }
        };
        if let Some(untold) = &mut entry.untold {
            untold.add(refusal);
            return false;
        }
        entry.untold = Some(refusal);
        let due = entry.due.max(now + SETTLED);
        self.waiting.insert((due, key));
        true
    }

    /// What is due, or with `all` whatever there is.
    fn take(&mut self, now: Instant, all: bool) -> Next {
        while let Some((due, key)) = self.waiting.first().copied() {
            if due > now && !all {
                return Next::At(due);
            }
            self.waiting.pop_first();
            if let Some(refusal) = self.kinds.get_mut(&key).and_then(|entry| entry.take(now)) {
                return Next::Now(refusal);
            }
        }
        Next::Nothing
    }
}

impl Entry {
    fn take(&mut self, now: Instant) -> Option<Refusal> {
        let untold = self.untold.take()?;
        if now >= self.forgotten() {
            self.pause = PAUSE;
        }
        self.due = now + self.pause;
        self.pause = (self.pause * 4).min(LONGEST_PAUSE);
        Some(untold)
    }

    /// When it is as if nothing had ever been told.
    fn forgotten(&self) -> Instant {
        self.due + LONGEST_PAUSE
    }
}

impl Refusal {
    /// Takes another one of its kind in, which came later.
    fn add(&mut self, later: Self) {
        match (self, later) {
            (Self::Caller { refused, .. }, Self::Caller { refused: later, .. }) => {
                refused.count = refused.count.saturating_add(later.count);
            }
            (Self::Order { count, .. }, Self::Order { count: later, .. }) => {
                *count = count.saturating_add(later);
            }
            (Self::Distrusted { distrusted, .. }, Self::Distrusted { distrusted: later, .. }) => {
                *distrusted = later;
            }
            // A key says which it is.
            (Self::Caller { .. } | Self::Order { .. } | Self::Distrusted { .. }, _) => {}
        }
    }
}

/// Where somebody comes from, as far as that is anybody's business: 24 bits of an IPv4 address, 48 of an IPv6
/// address, which is what one site has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80))),
        })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = if self.0.is_ipv4() { 24 } else { 48 };
        write!(f, "{}/{bits}", self.0)
    }
}

fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostId = HostId(Uuid::from_u128(1));

    fn host(n: usize) -> HostId {
        HostId(Uuid::from_u128(n as u128))
    }

    /// How many events there are of something that happens every ten seconds for two days.
    #[tokio::test]
    async fn a_flood_is_a_few_events_with_the_count_of_all() {
        let refusals = Refusals::default();
        let (mut events, mut counted) = (0, 0);
        let start = Instant::now();
        for step in 0..17_280_u64 {
            let now = start + Duration::from_secs(10 * step);
            let refused = Refused {
                cause: Cause::HostRevoked,
                count: 1,
                since: Timestamp::from_micros(0),
                source: None,
            };
            let mut table = refusals.lock();
            let key = (Who::Host(HOST), Kind::Caller(Cause::HostRevoked));
            assert!(table.has_room(key, now));
            table.take_in(key, Refusal::Caller { host: Some(HOST), refused }, now);
            if let Next::Now(Refusal::Caller { refused, .. }) = table.take(now + SETTLED, false) {
                events += 1;
                counted += refused.count;
            }
        }
        if let Next::Now(Refusal::Caller { refused, .. }) = refusals.lock().take(start, true) {
            counted += refused.count;
        }
        assert!((5..=9).contains(&events), "{events}");
        assert_eq!(counted, 17_280);
    }

    #[tokio::test]
    async fn many_networks_become_anybody_and_everything_is_counted() {
        let refusals = Refusals::default();
        for n in 0..2_000_u32 {
            let source = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n * 256));
            refusals.caller(None, source, Cause::TokenUnknown);
        }
        let mut told = Vec::new();
        while let Next::Now(refusal) = refusals.lock().take(Instant::now(), true) {
            told.push(refusal);
        }
        assert_eq!(told.len(), NETWORKS + 1);
        let counts = told.iter().map(|refusal| {
            let Refusal::Caller { host: None, refused } = refusal else { panic!("{refusal:?}") };
            (refused.source.is_some(), refused.count)
        });
        let (named, others): (Vec<_>, Vec<_>) = counts.partition(|(named, _)| *named);
        assert!(named.iter().all(|(_, count)| *count == 1));
        assert_eq!(others, [(false, 2_000 - NETWORKS as u64)]);
        assert_eq!(refusals.totals(), [("caller", "token_unknown", 2_000)]);
    }

    #[tokio::test]
    async fn the_first_of_a_kind_waits_for_its_answer_and_no_longer() {
        let refusals = Refusals::default();
        refusals.caller(Some(HOST), IpAddr::from([192, 0, 2, 77]), Cause::HostLocked);
        let now = Instant::now();
        assert!(matches!(refusals.lock().take(now, false), Next::At(due) if due > now));
        let Next::Now(told) = refusals.lock().take(now + SETTLED, false) else { panic!("nothing") };
        let Refusal::Caller { host, refused } = told else { panic!("{told:?}") };
        assert_eq!((host, refused.source.as_deref()), (Some(HOST), Some("192.0.2.0/24")));
        assert_eq!(refusals.lock().take(now + LONGEST_PAUSE, true), Next::Nothing);
    }

    #[tokio::test]
    async fn what_is_over_gives_way() {
        let refusals = Refusals::default();
        let kind = Kind::Caller(Cause::HostLocked);
        let now = Instant::now();
        for n in 0..AT_HOSTS {
            refusals.caller(Some(host(n)), IpAddr::from([192, 0, 2, 1]), Cause::HostLocked);
        }
        let new = (Who::Host(host(AT_HOSTS)), kind);
        let mut table = refusals.lock();
        assert!(!table.has_room(new, now));
        while let Next::Now(_) = table.take(now, true) {}
        assert!(!table.has_room(new, now + PAUSE * 2), "they may come again");
        assert!(table.has_room(new, now + LONGEST_PAUSE * 2));
    }

    #[test]
    fn a_network_is_what_one_site_has() {
        let network = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(network("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(network("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
    }
}
