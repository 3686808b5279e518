//! Which agents are there right now, in memory: who holds a poll, who must be woken, who may not.
//!
//! A held poll costs nothing but its entry here. Two live users of one key show themselves: an agent
//! process names itself in each poll and counts them, so a process that was replaced and comes back,
//! or a count that does not rise, is a second one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexplane_core::id::HostId;
use nexplane_core::job::RefusalCode;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// An agent counts as online for this long after its last sign of life, unless told otherwise.
pub const SILENCE: Duration = Duration::from_secs(15);

/// How many replaced processes of one agent are remembered.
const REMEMBERED: usize = 8;

/// All agents that this gateway has seen since it was started.
#[derive(Debug)]
pub struct Presence {
    silence: Duration,
    hosts: Mutex<HashMap<HostId, Arc<Slot>>>,
    denied: Mutex<HashSet<HostId>>,
}

/// One agent.
#[derive(Debug)]
pub struct Slot {
    /// There may be an order for it.
    pub wake: Notify,
    /// Taken while coming and going is told to the rest of the server, so that it hears both in
    /// order. True while it was told that the host is online.
    pub told_online: tokio::sync::Mutex<bool>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    instance: Option<Uuid>,
    number: u64,
    replaced: VecDeque<Uuid>,
    /// Ends the poll that is held now.
    held: Option<(u64, CancellationToken)>,
    polls: u64,
    seen: Instant,
    /// SHA-256 of the key that it polls with, hexadecimal.
    key_hash: String,
    /// There was no order for an agent that has journalled up to this number, and nobody woke it
    /// since.
    nothing_above: Option<u64>,
    #[expect(clippy::option_option, reason = "not told yet, no file, or a file")]
    policy_hash: Option<Option<String>>,
    /// As the agent last said.
    agent_version: Option<String>,
    /// What it may still say of itself that is an event, and since when.
    news: (u32, Instant),
    /// Orders that it did not take for ours, as it said.
    distrusted: BTreeMap<RefusalCode, u64>,
}

/// What an agent says of itself in this time ([`NEWS_PER`]) that becomes events. A host that says something else
/// in each poll must not fill the log; what it says last is heard later.
const NEWS: u32 = 20;
const NEWS_PER: Duration = Duration::from_mins(10);

impl State {
    fn hears_news(&mut self, now: Instant) -> bool {
        let (left, since) = &mut self.news;
        if now.saturating_duration_since(*since) >= NEWS_PER {
            (*left, *since) = (NEWS, now);
        }
        let is_heard = *left > 0;
        *left = left.saturating_sub(1);
        is_heard
    }
}

/// Two live users of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoUsers;

/// A held poll; letting go of it is the end of the poll.
#[derive(Debug)]
pub struct Held {
    pub slot: Arc<Slot>,
    /// Done when the poll has to end: another one took its place, or the host was denied.
    pub ended: CancellationToken,
    /// True when the agent may have polled another gateway since its last poll here.
    pub moved: bool,
    poll: u64,
}

impl Presence {
    /// `silence` is how long an agent counts as online after its last sign of life.
    pub fn new(silence: Duration) -> Self {
        Self { silence, hosts: Mutex::default(), denied: Mutex::default() }
    }

    pub const fn silence(&self) -> Duration {
        self.silence
    }

    /// The agent's entry; made when it is not there.
    pub fn slot(&self, host: HostId) -> Arc<Slot> {
        Arc::clone(lock(&self.hosts).entry(host).or_insert_with(|| {
            Arc::new(Slot {
                wake: Notify::new(),
                told_online: tokio::sync::Mutex::new(false),
                state: Mutex::new(State {
                    instance: None,
                    number: 0,
                    replaced: VecDeque::new(),
                    held: None,
                    polls: 0,
                    seen: Instant::now(),
                    key_hash: String::new(),
                    nothing_above: None,
                    policy_hash: None,
                    agent_version: None,
                    news: (NEWS, Instant::now()),
                    distrusted: BTreeMap::new(),
                }),
            })
        }))
    }

    /// Begins a poll. The one that was held before, if any, ends.
    pub fn hold(
        &self,
        host: HostId,
        key_hash: &str,
        instance: Uuid,
        number: u64,
    ) -> Result<Held, TwoUsers> {
        let slot = self.slot(host);
        let mut state = lock(&slot.state);
        if state.replaced.contains(&instance)
            || (state.instance == Some(instance) && number <= state.number)
        {
            return Err(TwoUsers);
        }
        let moved = state.instance != Some(instance) || number != state.number + 1;
        if let Some(earlier) = state.instance.replace(instance).filter(|old| *old != instance) {
            state.replaced.push_back(earlier);
            if state.replaced.len() > REMEMBERED {
                state.replaced.pop_front();
            }
        }
        state.number = number;
        key_hash.clone_into(&mut state.key_hash);
        state.polls += 1;
        state.seen = Instant::now();
        let ended = CancellationToken::new();
        let poll = state.polls;
        if let Some((_, earlier)) = state.held.replace((poll, ended.clone())) {
            earlier.cancel();
        }
        drop(state);
        Ok(Held { slot, ended, moved, poll })
    }

    /// Tells the agent, if it is here, that there may be an order.
    pub fn wake(&self, host: HostId) {
        let slot = lock(&self.hosts).get(&host).cloned();
        if let Some(slot) = slot {
            slot.wake.notify_one();
        }
    }

    /// Every agent looks for orders: some wake-ups may have been lost.
    pub fn wake_all(&self) {
        for slot in lock(&self.hosts).values() {
            slot.wake.notify_one();
        }
    }

    /// Refuses the host from now on, and ends its poll.
    pub fn deny(&self, host: HostId) {
        lock(&self.denied).insert(host);
        let slot = lock(&self.hosts).get(&host).cloned();
        if let Some(slot) = slot
            && let Some((_, held)) = &lock(&slot.state).held
        {
            held.cancel();
        }
    }

    pub fn is_denied(&self, host: HostId) -> bool {
        lock(&self.denied).contains(&host)
    }

    /// Whether the agent is here, or was a moment ago.
    pub fn is_online(&self, host: HostId) -> bool {
        lock(&self.hosts).get(&host).is_some_and(|slot| self.is_here(slot))
    }

    /// Agents that have been silent for too long, with their entries.
    pub fn silent(&self) -> Vec<(HostId, Arc<Slot>)> {
        lock(&self.hosts)
            .iter()
            .filter(|(_, slot)| !self.is_here(slot))
            .map(|(host, slot)| (*host, Arc::clone(slot)))
            .collect()
    }

    /// Agents that hold a poll, with their entries.
    pub fn holding(&self) -> Vec<(HostId, Arc<Slot>)> {
        lock(&self.hosts)
            .iter()
            .filter(|(_, slot)| lock(&slot.state).held.is_some())
            .map(|(host, slot)| (*host, Arc::clone(slot)))
            .collect()
    }

    /// Whether the agent of this entry is here, or was a moment ago.
    pub fn is_here(&self, slot: &Slot) -> bool {
        let state = lock(&slot.state);
        state.held.is_some() || state.seen.elapsed() < self.silence
    }

    /// How many agents this gateway has seen.
    pub fn known(&self) -> usize {
        lock(&self.hosts).len()
    }

    /// How many polls are held.
    pub fn held(&self) -> usize {
        lock(&self.hosts).values().filter(|slot| lock(&slot.state).held.is_some()).count()
    }
}

impl Slot {
    /// A sign of life besides a poll.
    pub fn touch(&self) {
        lock(&self.state).seen = Instant::now();
    }

    /// Ends its poll unless the key with which it polls may; true when it goes on.
    pub fn goes_on(&self, may: impl FnOnce(&str) -> bool) -> bool {
        let state = lock(&self.state);
        let Some((_, held)) = &state.held else { return false };
        let goes_on = may(&state.key_hash);
        if !goes_on {
            held.cancel();
        }
        goes_on
    }

    /// Takes note that there is no order for an agent that has journalled up to `have`. Whoever
    /// makes one from now on wakes it.
    pub fn found_nothing(&self, have: u64) {
        lock(&self.state).nothing_above = Some(have);
    }

    /// Takes note that it was woken: what was found before counts no more.
    pub fn was_woken(&self) {
        lock(&self.state).nothing_above = None;
    }

    /// Whether the database has to be asked for orders.
    pub fn may_have_orders(&self, have: u64) -> bool {
        lock(&self.state).nothing_above.is_none_or(|above| have < above)
    }

    /// Takes note of the policy hash; true when it is news to this gateway.
    pub fn is_new_policy(&self, hash: Option<&String>) -> bool {
        let mut state = lock(&self.state);
        if state.policy_hash.as_ref().is_some_and(|known| known.as_ref() == hash) {
            return false;
        }
        let is_heard = state.hears_news(Instant::now());
        if is_heard {
            state.policy_hash = Some(hash.cloned());
        }
        is_heard
    }

    /// Takes note of the agent's version; true when it is news to this gateway.
    pub fn is_new_agent(&self, version: &str) -> bool {
        let mut state = lock(&self.state);
        if state.agent_version.as_deref() == Some(version) {
            return false;
        }
        let is_heard = state.hears_news(Instant::now());
        if is_heard {
            state.agent_version = Some(version.to_owned());
        }
        is_heard
    }

    /// It is told again at the next poll.
    pub fn forget_agent(&self) {
        lock(&self.state).agent_version = None;
    }

    /// Takes note of how many orders it did not take for ours; how many more they are than it said here
    /// before.
    pub fn more_distrusted(&self, code: RefusalCode, total: u64) -> u64 {
        let mut state = lock(&self.state);
        let known = state.distrusted.entry(code).or_default();
        let more = total.saturating_sub(*known);
        *known = total;
        more
    }

    /// The next time that it says how many they are is the first.
    pub fn forget_distrusted(&self, code: RefusalCode) {
        lock(&self.state).distrusted.remove(&code);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        state.seen = Instant::now();
        if state.held.as_ref().is_some_and(|(poll, _)| *poll == self.poll) {
            state.held = None;
        }
    }
}

/// Nothing here panics while a lock is held, and if it did, what is locked is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostId = HostId(Uuid::from_u128(1));

    #[test]
    fn a_restarted_agent_takes_over_and_the_earlier_process_may_not_return() {
        let presence = Presence::new(SILENCE);
        let [a, b] = [Uuid::from_u128(10), Uuid::from_u128(11)];
        let first = presence.hold(HOST, "key", a, 1).unwrap();
        let second = presence.hold(HOST, "key", b, 1).unwrap();
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        assert_eq!(presence.hold(HOST, "key", a, 2).unwrap_err(), TwoUsers);
        drop(first);
        assert_eq!(presence.held(), 1, "the end of a replaced poll is not the end of the new one");
        drop(second);
        assert_eq!(presence.held(), 0);
        assert!(presence.is_online(HOST), "for a while after its last poll");
    }

    #[test]
    fn a_host_that_says_something_else_each_time_is_heard_some_times() {
        let slot = Presence::new(SILENCE).slot(HOST);
        let heard = (0..1000).filter(|n| slot.is_new_agent(&format!("1.0.{n}"))).count();
        assert_eq!(heard, NEWS as usize);
        assert!(!slot.is_new_policy(Some(&"hash".to_owned())));
        lock(&slot.state).news.1 -= NEWS_PER;
        assert!(slot.is_new_policy(Some(&"hash".to_owned())), "the last word is heard later");
        assert!(!slot.is_new_policy(Some(&"hash".to_owned())), "and once");
    }

    #[test]
    fn the_number_of_a_process_must_rise() {
        let presence = Presence::new(SILENCE);
        let process = Uuid::from_u128(10);
        drop(presence.hold(HOST, "key", process, 5).unwrap());
        assert_eq!(presence.hold(HOST, "key", process, 5).unwrap_err(), TwoUsers);
        assert_eq!(presence.hold(HOST, "key", process, 4).unwrap_err(), TwoUsers);
        assert!(!presence.hold(HOST, "key", process, 6).unwrap().moved);
        assert!(
            presence.hold(HOST, "key", process, 9).unwrap().moved,
            "it polled elsewhere meanwhile"
        );
    }

    #[test]
    fn denial_ends_the_poll_at_once() {
        let presence = Presence::new(SILENCE);
        let held = presence.hold(HOST, "key", Uuid::from_u128(10), 1).unwrap();
        presence.deny(HOST);
        assert!(held.ended.is_cancelled() && presence.is_denied(HOST));
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost() {
        let presence = Presence::new(SILENCE);
        let held = presence.hold(HOST, "key", Uuid::from_u128(10), 1).unwrap();
        presence.wake(HOST);
        held.slot.wake.notified().await;
    }

    #[test]
    fn only_who_was_woken_or_knows_less_asks_again() {
        let presence = Presence::new(SILENCE);
        let slot = presence.slot(HOST);
        assert!(slot.may_have_orders(7), "nobody has looked yet");
        slot.found_nothing(7);
        assert!(!slot.may_have_orders(7) && !slot.may_have_orders(8));
        assert!(slot.may_have_orders(6), "its journal is older than it was");
        slot.was_woken();
        assert!(slot.may_have_orders(7));
    }

    #[test]
    fn a_poll_ends_when_its_key_may_not_hold_it() {
        let presence = Presence::new(SILENCE);
        let held = presence.hold(HOST, "key", Uuid::from_u128(10), 1).unwrap();
        for (host, slot) in presence.holding() {
            assert!(slot.goes_on(|key| host == HOST && key == "key"));
        }
        assert!(!held.ended.is_cancelled());
        assert!(!held.slot.goes_on(|key| key == "another"));
        assert!(held.ended.is_cancelled());
    }

    #[test]
    fn distrusted_orders_are_news_once() {
        let presence = Presence::new(SILENCE);
        let slot = presence.slot(HOST);
        let code = RefusalCode::BadSignature;
        assert_eq!(slot.more_distrusted(code, 3), 3);
        assert_eq!(slot.more_distrusted(code, 3), 0);
        assert_eq!(slot.more_distrusted(RefusalCode::Replayed, 3), 3);
        assert_eq!(slot.more_distrusted(code, 5), 2);
        slot.forget_distrusted(code);
        assert_eq!(slot.more_distrusted(code, 5), 5);
    }

    #[test]
    fn policy_news_is_told_once() {
        let presence = Presence::new(SILENCE);
        let slot = presence.slot(HOST);
        let hash = "h".to_owned();
        assert!(slot.is_new_policy(None));
        assert!(!slot.is_new_policy(None));
        assert!(slot.is_new_policy(Some(&hash)));
        assert!(!slot.is_new_policy(Some(&hash)));
    }
}
