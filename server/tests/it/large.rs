//! A large installation that is made up: a year of people, hosts, assets and changes.
//!
//! Every event is one that its aggregate decided, with the times and the order that it would have had, and is
//! appended through the log; `core::audit` finds nothing wrong with it. Made up is what targets would have
//! said (facts, plans, answers, readings) and what a change's risk is counted from. A run is written as one
//! command, of a moment: one by one, its events would each wait for the one before. Left out are rollouts,
//! which have a benchmark of their own, the guards of the appends, since nobody else writes, and secrets.

#[path = "large/asked.rs"]
pub mod asked;
#[path = "large/change.rs"]
mod change;
#[path = "large/lives.rs"]
mod lives;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::task::Poll;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::poll;
use nexplane_connectors::sdk::Registry;
use nexplane_core::actor::{Actor, Role};
use nexplane_core::aggregate::{Asked, Decider, Principal};
use nexplane_core::catalog::Catalog;
use nexplane_core::connection::Connection;
use nexplane_core::event::Event;
use nexplane_core::id::{AssetId, ChangeId, CommandId, HostId, PersonId, ProjectId, StreamId};
use nexplane_core::policy::PolicyState;
use nexplane_core::project::Project;
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use nexplane_server::directory::Directory;
use nexplane_store::log::{Append, AppendError, Appended, Log, NewEvent};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::{Builder, Uuid};

/// Of the three people who can sign in: an admin, an operator and an approver.
pub const PASSWORD: &str = "a year of changes";
pub const ADMIN: &str = "admin@example.org";
pub const OPERATOR: &str = "olga@example.org";
pub const APPROVER: &str = "anna@example.org";

/// Seconds that all of it takes.
const YEAR_S: i64 = 365 * DAY_S;
const DAY_S: i64 = 86_400;
/// Appends whose answer is waited for at the same time, at most.
const AT_ONCE: usize = 256;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub changes: usize,
    pub assets: usize,
    pub hosts: usize,
    /// Besides those of hosts.
    pub connections: usize,
    pub people: usize,
    pub events: usize,
    /// Whether anything goes well: else all changes are of the last weeks, and no step of them is ever verified.
    pub goes_well: bool,
}

impl Size {
    /// Of an installation that had this many changes: 50,000 come with 100,000 assets and 1,000,000 events.
    pub fn of(changes: usize) -> Self {
        Self {
            changes,
            assets: changes * 2,
            hosts: changes / 10,
            connections: (changes / 250).clamp(10, 200),
            people: (changes / 150).clamp(20, 300),
            events: changes * 20,
            goes_well: true,
        }
    }
}

/// What was made, as far as one has to know it to ask for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Made {
    pub events: u64,
    /// The asset with the most dependants.
    pub hub: Option<AssetId>,
    /// One with a few.
    pub asset: Option<AssetId>,
    pub host: Option<HostId>,
    /// One that ended.
    pub change: Option<ChangeId>,
    /// One in review.
    pub submitted: Option<ChangeId>,
    pub project: Option<ProjectId>,
    pub operator: Option<PersonId>,
}

/// Somebody.
pub struct Somebody {
    pub id: PersonId,
    pub principal: Principal,
}

/// A connection and what it sees.
pub struct Place {
    pub stream: Kept<Connection>,
    pub connector: String,
    pub environment: Environment,
    pub has_credentials: bool,
    pub assets: Vec<Thing>,
}

/// An asset that is there.
#[derive(Clone)]
pub struct Thing {
    pub id: AssetId,
    pub kind: String,
    pub key: String,
    pub name: String,
    pub tags: Vec<String>,
    pub critical: bool,
}

/// Something that goes on for a while.
pub trait Life: Send {
    /// Does what is due, and says when more is.
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp>;
}

/// What all lives share.
pub struct World {
    pub chance: Chance,
    pub start: Timestamp,
    pub end: Timestamp,
    pub catalog: Catalog,
    pub policy: PolicyState,
    goes_well: bool,
    pub people: Vec<Somebody>,
    pub places: Vec<Place>,
    /// The one that changes are added to at present.
    pub project: Option<(ProjectId, Kept<Project>, usize)>,
    /// Changes that finished and failed.
    pub history: (u32, u32),
    pub made: Made,
    pub out: Out,
    born: Vec<(Timestamp, Box<dyn Life>)>,
}

impl World {
    fn new(size: Size) -> Self {
        let end = Timestamp::new(jiff::Timestamp::now());
        let mut world = Self {
            chance: Chance(size.changes as u64),
            start: end.plus_seconds(-YEAR_S),
            end,
            catalog: Registry::standard().catalog(),
            policy: PolicyState::default(),
            goes_well: size.goes_well,
            people: Vec::new(),
            places: Vec::new(),
            project: None,
            history: (0, 0),
            made: Made::default(),
            out: Out::default(),
            born: Vec::new(),
        };
        lives::begin(&mut world, size);
        change::begin(&mut world, size);
        world
    }

    /// Has something begin at a moment that has not passed.
    pub fn begin(&mut self, at: Timestamp, life: impl Life + 'static) {
        self.born.push((at, Box::new(life)));
    }

    /// A moment of the year, from a share of it on (in percent).
    pub fn moment(&mut self, from: i64, to: i64) -> Timestamp {
        let (from, to) = (YEAR_S / 100 * from, YEAR_S / 100 * to);
        self.start.plus_seconds(self.chance.between(from, to))
    }

    /// Somebody with this role who is none of these.
    pub fn somebody(&mut self, role: Role, but: &[PersonId]) -> Principal {
        let first = self.chance.below(self.people.len());
        let (before, from) = self.people.split_at(first);
        let found = from
            .iter()
            .chain(before)
            .find(|somebody| somebody.principal.has(role) && !but.contains(&somebody.id));
        found.expect("there are enough people of every role").principal.clone()
    }

    /// An id as it would be made at this moment.
    pub fn id(&mut self, at: Timestamp) -> Uuid {
        self.chance.id(at)
    }
}

/// Makes it, in the order of its times. The log has to be empty.
pub async fn make(log: &Log, directory: &Directory, size: Size) -> Made {
    assert_eq!(log.head().await.unwrap().next_position, 0, "an empty log");
    let mut world = World::new(size);
    lives::enter(directory, &world).await;
    let mut due = BinaryHeap::new();
    let mut lives: Vec<Option<Box<dyn Life>>> = Vec::new();
    let mut flying: Vec<BoxFuture<'_, Result<Appended, AppendError>>> = Vec::new();
    let mut streams = HashSet::new();
    loop {
        for (at, life) in world.born.drain(..) {
            due.push(Reverse((at, lives.len())));
            lives.push(Some(life));
        }
        let Some(Reverse((at, no))) = due.pop() else { break };
        if at >= world.end {
            continue;
        }
        let mut life = lives[no].take().unwrap();
        let mut next = life.live(at, &mut world);
        while next == Some(at) {
            next = life.live(at, &mut world);
        }
        if let Some(next) = next {
            due.push(Reverse((next.max(at), no)));
            lives[no] = Some(life);
        }
        for append in world.out.appends.drain(..) {
            world.made.events += append.events.len() as u64;
            // The log writes one command of a stream at a time, and lets others pass meanwhile: what came
            // before this is written first, or the times would go backwards.
            if flying.len() >= AT_ONCE || !streams.insert(append.stream) {
                for answer in flying.drain(..) {
                    answer.await.unwrap();
                }
                streams.clear();
                streams.insert(append.stream);
            }
            // Asked once, it has its place in the queue.
            let mut asked = log.append(append).boxed();
            match poll!(&mut asked) {
                Poll::Ready(answer) => drop(answer.unwrap()),
                Poll::Pending => flying.push(asked),
            }
        }
    }
    for answer in flying {
        answer.await.unwrap();
    }
    world.made
}

/// Says that nobody has to act on these events: what followed from them is among them.
pub async fn is_over(pool: &PgPool, events: u64) {
    sqlx::query("UPDATE nexplane.reactor SET next_position = greatest(next_position, $1)")
        .bind(i64::try_from(events).unwrap())
        .execute(pool)
        .await
        .unwrap();
}

/// What is to be appended.
#[derive(Default)]
pub struct Out {
    appends: Vec<Append>,
}

/// A stream whose state is known, because nobody else writes it.
#[derive(Clone)]
pub struct Kept<D: Decider> {
    pub id: StreamId,
    pub state: D::State,
    version: u64,
}

impl<D: Decider> Kept<D> {
    pub fn new(id: impl Into<StreamId>) -> Self {
        Self { id: id.into(), state: D::State::default(), version: 0 }
    }

    /// Has a command decided that must not be refused.
    pub fn tell(
        &mut self,
        (chance, out): (&mut Chance, &mut Out),
        by: &Principal,
        at: Timestamp,
        command: D::Command,
    ) {
        let told = self.ask((chance, out), by, at, command);
        told.unwrap_or_else(|no| panic!("{}: {no}", self.id));
    }

    /// Has a command decided.
    pub fn ask(
        &mut self,
        (chance, out): (&mut Chance, &mut Out),
        by: &Principal,
        at: Timestamp,
        command: D::Command,
    ) -> Result<(), D::Rejection> {
        let events = D::decide(&self.state, Asked { by: by.clone(), at, command })?;
        if events.is_empty() {
            return Ok(());
        }
        let expected_version = self.version;
        let mut new = Vec::with_capacity(events.len());
        for event in events {
            self.state = D::evolve(std::mem::take(&mut self.state), &event, by.actor, at);
            self.version += 1;
            let encoded = Into::<Event>::into(event).encode();
            new.push(NewEvent {
                id: chance.id(at),
                kind: encoded.kind,
                schema: encoded.schema,
                data: encoded.data,
            });
        }
        let is_same =
            |last: &&mut Append| (last.stream, last.at, last.actor) == (self.id, at, by.actor);
        if let Some(last) = out.appends.last_mut().filter(is_same) {
            last.events.extend(new);
            return Ok(());
        }
        let command = chance.id(at);
        out.appends.push(Append {
            command: CommandId(command),
            request_hash: [0; 32],
            stream: self.id,
            expected_version,
            guards: Vec::new(),
            events: new,
            actor: by.actor,
            at,
            correlation: command,
            causation: command,
        });
        Ok(())
    }
}

/// The same choices every time (SplitMix64).
pub struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.below(usize::try_from(to - from).unwrap_or(0)) as i64
    }

    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn id(&mut self, at: Timestamp) -> Uuid {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes()[..2]);
        let ms = u64::try_from(at.as_micros() / 1_000).unwrap();
        Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid()
    }
}

/// Nexplane itself.
pub const SYSTEM: Principal = Principal::SYSTEM;

/// Somebody who is signed in.
pub fn signed_in(id: PersonId, roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(id), roles: roles.to_vec() }
}
