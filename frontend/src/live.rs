//! What changed on the server, as it changes: one WebSocket for the whole page.
//!
//! A notice says which row changed and up to where in the log; whoever shows that row reads it again.
//! When the line breaks it is opened again, after a growing and random wait, and the server replays
//! from the last position seen. Nothing here polls.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use gloo_events::EventListener;
use gloo_timers::callback::Timeout;
use nexplane_core::api::{LiveMessage, Me, StepProgress, Subscribe};
use nexplane_core::id::ChangeId;
use serde_json::Value;
use uuid::Uuid;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;
use web_sys::{MessageEvent, WebSocket};
use yew::prelude::*;

use crate::{api, clock};

/// The server allows 200 on one line, and keeps every change that was ever opened there.
const MOST_TOPICS: usize = 100;

/// How the line to the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Connecting,
    Live,
    Lost,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Changed {
        topic: String,
        position: u64,
        changed: Value,
    },
    /// The server cannot say what was missed: read everything again.
    Resync,
}

impl Event {
    /// The position to read at, so that the answer has at least this change in it.
    pub const fn position(&self) -> Option<u64> {
        match self {
            Self::Changed { position, .. } => Some(*position),
            Self::Resync => None,
        }
    }

    /// The rows that changed; empty when the notice names none.
    pub fn ids(&self) -> Vec<Uuid> {
        let id = |value: &Value| value.get("id").unwrap_or(value).as_str()?.parse().ok();
        match self {
            Self::Changed { changed: Value::Array(rows), .. } => {
                rows.iter().filter_map(id).collect()
            }
            Self::Changed { changed, .. } => id(changed).into_iter().collect(),
            Self::Resync => Vec::new(),
        }
    }
}

/// The page's line to the server; all clones are the same line.
#[derive(Clone)]
pub struct Live(Rc<Hub>);

impl PartialEq for Live {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

struct Hub {
    line: RefCell<Option<Line>>,
    listeners: RefCell<BTreeMap<u64, Listener>>,
    /// Who shows how far effects are.
    onlookers: RefCell<BTreeMap<u64, Onlooker>>,
    /// What this line was asked for; the server keeps it until the line closes.
    subscribed: RefCell<BTreeSet<String>>,
    next_listener: Cell<u64>,
    /// Of the last notice; where a replay has to start.
    position: Cell<Option<u64>>,
    attempt: Cell<u32>,
    retry: RefCell<Option<Timeout>>,
    closed: Cell<bool>,
    on_status: Callback<Status>,
}

/// An open socket with what listens to it.
struct Line {
    socket: WebSocket,
    _listeners: [EventListener; 3],
}

struct Listener {
    topics: BTreeSet<String>,
    callback: Callback<Event>,
}

struct Onlooker {
    topic: String,
    callback: Callback<StepProgress>,
}

/// Listens until it is dropped.
struct Subscription {
    hub: Rc<Hub>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.listeners.borrow_mut().remove(&self.id);
        self.hub.onlookers.borrow_mut().remove(&self.id);
    }
}

impl Live {
    fn open(on_status: Callback<Status>) -> Self {
        let hub = Rc::new(Hub {
            line: RefCell::default(),
            listeners: RefCell::default(),
            onlookers: RefCell::default(),
            subscribed: RefCell::default(),
            next_listener: Cell::new(0),
            position: Cell::new(api::newest_position()),
            attempt: Cell::new(0),
            retry: RefCell::default(),
            closed: Cell::new(false),
            on_status,
        });
        connect(&hub);
        Self(hub)
    }

    /// Does not wait for the next attempt.
    pub fn reconnect(&self) {
        if self.0.line.borrow().is_none() {
            connect(&self.0);
        }
    }

    fn close(&self) {
        self.0.closed.set(true);
        self.leave();
    }

    /// Ends the line, and says nothing of that to those who listen: nobody is there.
    fn leave(&self) {
        self.0.retry.take();
        if let Some(line) = self.0.line.take() {
            // A socket that is closed already is as good.
            let _ = line.socket.close();
        }
    }

    fn listen(&self, topics: &[String], callback: Callback<Event>) -> Subscription {
        let hub = &self.0;
        let id = hub.next_id();
        let topics: BTreeSet<String> = topics.iter().cloned().collect();
        let new: BTreeSet<String> = topics.difference(&hub.subscribed.borrow()).cloned().collect();
        let full = hub.subscribed.borrow().len() + new.len() > MOST_TOPICS;
        hub.listeners.borrow_mut().insert(id, Listener { topics, callback });
        if full {
            // A new line asks for what is listened to now, without the pages of the past.
            hub.line.take().map(|line| line.socket.close());
            connect(hub);
        } else {
            hub.subscribe(new);
        }
        Subscription { hub: Rc::clone(hub), id }
    }

    /// Asks for nothing: a page that shows the steps of a change listens to it anyway.
    fn look_on(&self, topic: String, callback: Callback<StepProgress>) -> Subscription {
        let id = self.0.next_id();
        self.0.onlookers.borrow_mut().insert(id, Onlooker { topic, callback });
        Subscription { hub: Rc::clone(&self.0), id }
    }
}

impl Hub {
    fn next_id(&self) -> u64 {
        self.next_listener.replace(self.next_listener.get() + 1)
    }

    fn topics(&self) -> BTreeSet<String> {
        self.listeners.borrow().values().flat_map(|listener| listener.topics.clone()).collect()
    }

    /// Asks for more topics, and for what was missed of them. Whoever listens has not read its rows
    /// yet, or not since the line was lost, so the newest position known now is early enough.
    fn subscribe(&self, topics: BTreeSet<String>) {
        let line = self.line.borrow();
        let Some(line) = line.as_ref().filter(|line| line.socket.ready_state() == WebSocket::OPEN)
        else {
            return; // asked for when it opens
        };
        if topics.is_empty() {
            return;
        }
        self.subscribed.borrow_mut().extend(topics.iter().cloned());
        let message = Subscribe { subscribe: topics.into_iter().collect(), since: self.since() };
        if let Ok(text) = serde_json::to_string(&message) {
            // A failure to send is followed by a close, which reconnects.
            let _ = line.socket.send_with_str(&text);
        }
    }

    fn since(&self) -> Option<u64> {
        self.position.get().or_else(api::newest_position)
    }

    fn receive(&self, text: &str) {
        let event = match serde_json::from_str(text) {
            Ok(LiveMessage::Notice { topic, position, changed }) => {
                self.position.set(self.position.get().max(Some(position)));
                Event::Changed { topic, position, changed }
            }
            Ok(LiveMessage::Resync { .. }) => {
                self.position.set(None);
                Event::Resync
            }
            Ok(LiveMessage::Progress { topic, progress }) => {
                let onlookers = self.onlookers.borrow();
                let callbacks: Vec<_> = onlookers
                    .values()
                    .filter(|onlooker| onlooker.topic == topic)
                    .map(|onlooker| onlooker.callback.clone())
                    .collect();
                drop(onlookers);
                for callback in callbacks {
                    callback.emit(progress.clone());
                }
                return;
            }
            // Refused topics and messages of a newer server: the rows stay as they were read.
            Ok(LiveMessage::Error { .. }) | Err(_) => return,
        };
        self.tell(&event);
    }

    fn tell(&self, event: &Event) {
        let callbacks: Vec<Callback<Event>> = self
            .listeners
            .borrow()
            .values()
            .filter(|listener| match event {
                Event::Changed { topic, .. } => listener.topics.contains(topic),
                Event::Resync => true,
            })
            .map(|listener| listener.callback.clone())
            .collect();
        for callback in callbacks {
            callback.emit(event.clone());
        }
    }
}

fn connect(hub: &Rc<Hub>) {
    hub.retry.take();
    let Some(socket) = address().and_then(|address| WebSocket::new(&address).ok()) else {
        return lost(hub, false);
    };
    let opened = Rc::new(Cell::new(false));
    let on_open = EventListener::new(&socket, "open", {
        let (hub, opened) = (Rc::clone(hub), Rc::clone(&opened));
        move |_| {
            opened.set(true);
            hub.attempt.set(0);
            hub.on_status.emit(Status::Live);
            let replayed = hub.since().is_some();
            hub.subscribed.borrow_mut().clear();
            hub.subscribe(hub.topics());
            // What a notice made somebody read is not told again when that could not be read.
            let missed = api::take_missed();
            if !replayed || missed {
                // What was read before the line was open may have changed in between.
                hub.tell(&Event::Resync);
            }
        }
    });
    let on_message = EventListener::new(&socket, "message", {
        let hub = Rc::clone(hub);
        move |event| {
            let data = event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string());
            if let Some(text) = data {
                hub.receive(&text);
            }
        }
    });
    let on_close = EventListener::new(&socket, "close", {
        let hub = Rc::clone(hub);
        move |_| {
            // Dropping a listener from inside itself is not allowed: first leave this call.
            let (hub, opened) = (Rc::clone(&hub), opened.get());
            spawn_local(async move { lost(&hub, opened) });
        }
    });
    *hub.line.borrow_mut() = Some(Line { socket, _listeners: [on_open, on_message, on_close] });
}

fn lost(hub: &Rc<Hub>, was_open: bool) {
    hub.line.take();
    if hub.closed.get() {
        return;
    }
    let attempt = hub.attempt.replace(hub.attempt.get().saturating_add(1));
    hub.on_status.emit(Status::Lost);
    if !was_open {
        // A refused upgrade does not say why; an ordinary call does, and ends an expired session.
        spawn_local(async { drop(api::get::<Me>("/auth/me").await) });
    }
    let wait = wait_ms(attempt, clock::random());
    let again = Rc::clone(hub);
    *hub.retry.borrow_mut() = Some(Timeout::new(wait, move || {
        // Dropping a timeout that has fired is not allowed: forget it.
        if let Some(timeout) = again.retry.take() {
            timeout.forget();
        }
        connect(&again);
    }));
}

/// Exponential from half a second to fifteen, with full jitter, so that a restarted server does not
/// meet everybody at once.
fn wait_ms(attempt: u32, random: f64) -> u32 {
    const LEAST_MS: u32 = 250;
    const MOST_MS: u32 = 15_000;
    let ceiling = 500_u32.saturating_mul(2_u32.saturating_pow(attempt)).min(MOST_MS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0–15,000")]
    let jittered = (f64::from(ceiling) * random) as u32;
    jittered.max(LEAST_MS)
}

fn address() -> Option<String> {
    let location = web_sys::window()?.location();
    let scheme = if location.protocol().ok()? == "https:" { "wss" } else { "ws" };
    Some(format!("{scheme}://{}/api/v1/live", location.host().ok()?))
}

#[derive(Properties, PartialEq)]
pub struct LiveProviderProps {
    pub children: Html,
}

/// Opens the line while it is on the page.
#[component]
pub fn LiveProvider(props: &LiveProviderProps) -> Html {
    let status = use_state_eq(|| Status::Connecting);
    let live = use_state(|| None::<Live>);
    {
        let (status, live) = (status.setter(), live.setter());
        use_effect_with((), move |()| {
            let line = Live::open(Callback::from(move |now| status.set(now)));
            live.set(Some(line.clone()));
            let window = web_sys::window();
            // A page that somebody has left may be kept to come back to: without a line, which then goes on from
            // the position that was seen last.
            let does = |line: &Live, event: &'static str, what: fn(&Live)| {
                let line = line.clone();
                let window = window.as_ref()?;
                Some(EventListener::new(window, event, move |_| what(&line)))
            };
            let listeners = [
                does(&line, "online", Live::reconnect),
                does(&line, "pagehide", Live::leave),
                does(&line, "pageshow", Live::reconnect),
            ];
            move || {
                drop(listeners);
                line.close();
            }
        });
    }
    html! {
        <ContextProvider<Option<Live>> context={(*live).clone()}>
            <ContextProvider<Status> context={*status}>
                { props.children.clone() }
            </ContextProvider<Status>>
        </ContextProvider<Option<Live>>>
    }
}

/// Calls back when one of the topics has news.
#[hook]
pub fn use_live(topics: Vec<String>, on_event: Callback<Event>) {
    let live = use_context::<Option<Live>>().flatten();
    let latest = use_mut_ref(|| on_event.clone());
    *latest.borrow_mut() = on_event;
    use_effect_with((live, topics), move |(live, topics)| {
        let subscription = live.as_ref().map(|live| {
            let callback = Callback::from(move |event| {
                let callback = latest.borrow().clone();
                callback.emit(event);
            });
            live.listen(topics, callback)
        });
        move || drop(subscription)
    });
}

/// How far each step of a change is whose effect lasts, by its number; as it was last said.
#[hook]
pub fn use_progress(change: ChangeId) -> BTreeMap<u32, StepProgress> {
    let live = use_context::<Option<Live>>().flatten();
    let heard = use_state_eq(BTreeMap::new);
    let all = use_mut_ref(BTreeMap::new);
    let setter = heard.setter();
    use_effect_with((live, change), move |(live, change)| {
        all.borrow_mut().clear();
        let onlooker = live.as_ref().map(|live| {
            let callback = Callback::from(move |progress: StepProgress| {
                all.borrow_mut().insert(progress.step, progress);
                setter.set(all.borrow().clone());
            });
            live.look_on(format!("change:{change}"), callback)
        });
        move || drop(onlooker)
    });
    (*heard).clone()
}

/// What was told while a moment passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// The rows that changed.
    pub ids: BTreeSet<Uuid>,
    /// What is read at it has all of these changes in it.
    pub position: Option<u64>,
    /// Rows may have changed that are not named.
    pub others: bool,
}

impl News {
    fn add(&mut self, event: &Event) {
        let ids = event.ids();
        self.others |= ids.is_empty();
        self.ids.extend(ids);
        self.position = self.position.max(event.position());
    }

    pub fn concern(&self, id: Uuid) -> bool {
        self.others || self.ids.contains(&id)
    }
}

/// How long news are gathered after somebody was called: thousands of hosts may come at the same time.
const PAUSE_MS: u32 = 300;

/// News on their way to one component.
struct Gathering {
    news: RefCell<News>,
    /// Runs while more is gathered.
    pause: RefCell<Option<Timeout>>,
    callback: RefCell<Callback<News>>,
}

/// Tells what was gathered, and nothing more for a moment.
fn tell(gathering: &Rc<Gathering>) {
    let news = gathering.news.take();
    if news == News::default() {
        return;
    }
    let again = Rc::clone(gathering);
    *gathering.pause.borrow_mut() = Some(Timeout::new(PAUSE_MS, move || {
        // Dropping a timeout that has fired is not allowed: forget it.
        if let Some(timeout) = again.pause.take() {
            timeout.forget();
        }
        tell(&again);
    }));
    let callback = gathering.callback.borrow().clone();
    callback.emit(news);
}

/// Calls back when the topics have news: at the first at once, and then with all that came during a pause.
#[hook]
pub fn use_news(topics: Vec<String>, on_news: Callback<News>) {
    let gathering = use_memo((), |()| Gathering {
        news: RefCell::default(),
        pause: RefCell::default(),
        callback: RefCell::new(Callback::noop()),
    });
    *gathering.callback.borrow_mut() = on_news;
    {
        let gathering = Rc::clone(&gathering);
        use_effect_with((), move |()| move || drop(gathering.pause.take()));
    }
    let on_event = Callback::from(move |event: Event| {
        gathering.news.borrow_mut().add(&event);
        let is_free = gathering.pause.borrow().is_none();
        if is_free {
            tell(&gathering);
        }
    });
    use_live(topics, on_event);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(value: Value) -> Event {
        Event::Changed { topic: "changes".to_owned(), position: 7, changed: value }
    }

    #[test]
    fn waits_grow_and_stay_random() {
        assert_eq!(wait_ms(0, 0.999), 499);
        assert_eq!(wait_ms(3, 0.5), 2_000);
        assert_eq!(wait_ms(30, 0.999_99), 14_999);
        assert_eq!(wait_ms(30, 0.0), 250);
    }

    #[test]
    fn notices_name_their_rows() {
        let id = "0199b0c2-7d00-7a31-8f00-1234deadbeef";
        let one = vec![id.parse::<Uuid>().unwrap()];
        assert_eq!(changed(json!({ "id": id, "state": "approved" })).ids(), one);
        assert_eq!(changed(json!([{ "id": id }])).ids(), one);
        assert_eq!(changed(json!([id])).ids(), one);
        assert!(changed(json!({ "name": "assets" })).ids().is_empty());
        assert!(Event::Resync.ids().is_empty());
        assert_eq!(changed(json!({})).position(), Some(7));
    }

    #[test]
    fn news_name_their_rows_once_and_know_when_others_changed() {
        let id = "0199b0c2-7d00-7a31-8f00-1234deadbeef";
        let (one, other) = (id.parse::<Uuid>().unwrap(), Uuid::nil());
        let mut news = News::default();
        for _ in 0..2 {
            news.add(&changed(json!({ "id": id })));
        }
        assert_eq!((news.ids.len(), news.position, news.others), (1, Some(7), false));
        assert!(news.concern(one) && !news.concern(other));
        news.add(&Event::Resync);
        assert!(news.concern(other));
        assert_eq!(news.position, Some(7));
    }
}
