//! What every aggregate is: `decide` and `evolve`, both pure.
//!
//! [`Decider`] is the house's own trait; [`Root`] makes every decider an `Aggregate` of the
//! eventually-rs family. This is the only file of the crate that names that package.

use std::marker::PhantomData;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::actor::{Actor, Role};
use crate::event::Event;
use crate::id::{Category, StreamId};
use crate::time::Timestamp;

/// Who asks, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub actor: Actor,
    pub roles: Vec<Role>,
}

impl Principal {
    /// Nexplane itself: process managers and timers. It has no roles: commands that are a person's
    /// refuse it.
    pub const SYSTEM: Self = Self { actor: Actor::SYSTEM, roles: Vec::new() };

    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    pub fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.has(*role))
    }
}

/// A command with who gives it and when.
#[derive(Clone, Debug)]
pub struct Asked<C> {
    pub by: Principal,
    pub at: Timestamp,
    pub command: C,
}

/// The domain says no.
pub trait Reject: std::error::Error + Send + Sync + 'static {
    /// Stable, for programs: `change.own_approval`.
    fn code(&self) -> &'static str;
}

/// An aggregate as a pair of pure functions.
pub trait Decider: Send + Sync + 'static {
    const CATEGORY: Category;
    type State: Default + Clone + Send + Sync + std::fmt::Debug;
    type Command: Send + std::fmt::Debug;
    type Event: Clone + Send + Into<Event>;
    type Rejection: Reject;

    /// State and command to events. No events means: it is so already.
    fn decide(
        state: &Self::State,
        asked: Asked<Self::Command>,
    ) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// State and event to state. Total: what has happened cannot be refused. `by` and `at` are the
    /// event's own.
    fn evolve(state: Self::State, event: &Self::Event, by: Actor, at: Timestamp) -> Self::State;

    /// The event back out of the common type; `None` for another aggregate's.
    fn own(event: &Event) -> Option<&Self::Event>;
}

/// A fact with who and when, as `eventually` hands it to an aggregate.
#[derive(Clone, Debug)]
pub struct Happened<E> {
    pub event: E,
    pub by: Actor,
    pub at: Timestamp,
}

/// A decider in the shape of eventually's `Aggregate`.
#[derive(Clone, Copy, Debug)]
pub struct Root<D>(PhantomData<D>);

impl<D> Default for Root<D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<D: Decider> eventually::aggregate::Aggregate for Root<D> {
    type Id = StreamId;
    type State = D::State;
    type Event = Happened<D::Event>;
    type Command = Asked<D::Command>;
    type Error = D::Rejection;

    fn apply(state: Self::State, fact: Self::Event) -> Result<Self::State, Self::Error> {
        Ok(D::evolve(state, &fact.event, fact.by, fact.at))
    }

    fn handle<'a, 's: 'a>(
        &'a self,
        _id: &'s Self::Id,
        state: &'s Self::State,
        asked: Self::Command,
    ) -> BoxFuture<'a, Result<Option<Vec<Self::Event>>, Self::Error>> {
        let (by, at) = (asked.by.actor, asked.at);
        let decided = D::decide(state, asked).map(|events| {
            (!events.is_empty())
                .then(|| events.into_iter().map(|event| Happened { event, by, at }).collect())
        });
        ready(decided).boxed()
    }
}
