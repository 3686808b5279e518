//! The gate that freezes and maintenance windows are: what the calendar says of one change at one moment, with the guards
//! that make an append fail when it no longer says so.
//!
//! Approvals, executions (of changes and of their rollbacks, which are changes) and every intent of a
//! run come through [`look`]. The calendar is one stream, so one guard on its version decides which of
//! a freeze and an append comes first. While a freeze of a tag is in force, or a maintenance window
//! is of a tag, the targets' streams are guarded as well: a tag that is given meanwhile counts.
//!
//! Deliberately absent: a guard on the connection, whose label freezes of an environment read too, but
//! whose stream moves with every session that is opened. A change is frozen by the environment that it
//! was submitted for, in any case.

use std::collections::BTreeSet;

use nexplane_core::asset::{Asset, AssetState};
use nexplane_core::calendar::event::Scope;
use nexplane_core::calendar::{
    CALENDAR, Calendar, CalendarRejection, CalendarState, Freeze, Opening,
};
use nexplane_core::change::{
    Change, ChangeCommand, ChangeState, Execution, MAX_STEPS, Overrides, Subject,
};
use nexplane_core::connection::ConnectionState;
use nexplane_core::freeze::{Closed, InTheWay, Reach};
use nexplane_core::id::{AssetId, ConnectionId, FreezeId, StreamId};
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;

use crate::meeting;
use crate::project::waits_for;
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, recent};

/// What freezes ask of a change.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The one that it was submitted for.
    environment: Option<Environment>,
    /// Those that its targets had then count as long as it is under way.
    tags: Option<&'a BTreeSet<String>>,
    connection: Option<ConnectionId>,
    targets: &'a [AssetId],
    overrides: &'a Overrides,
}

impl<'a> About<'a> {
    /// `None` when there is no such change.
    pub fn of(state: &'a ChangeState) -> Option<Self> {
        Some(Self::subject(state.subject()?, state.environment(), state.tags()))
    }

    pub const fn execution(execution: &'a Execution) -> Self {
        Self::subject(&execution.subject, Some(execution.environment), Some(&execution.tags))
    }

    /// Of one part of a rollout: its own target only.
    pub const fn part(
        execution: &'a Execution,
        connection: ConnectionId,
        target: &'a AssetId,
    ) -> Self {
        let targets = std::slice::from_ref(target);
        Self { connection: Some(connection), targets, ..Self::execution(execution) }
    }

    /// Of a change that nobody has drafted.
    pub const fn asked(
        environment: Option<Environment>,
        connection: Option<ConnectionId>,
        targets: &'a [AssetId],
        overrides: &'a Overrides,
    ) -> Self {
        Self { environment, tags: None, connection, targets, overrides }
    }

    const fn subject(
        subject: &'a Subject,
        environment: Option<Environment>,
        tags: Option<&'a BTreeSet<String>>,
    ) -> Self {
        let Subject { draft, overrides, .. } = subject;
        Self {
            environment,
            tags,
            connection: Some(draft.connection),
            targets: draft.targets.as_slice(),
            overrides,
        }
    }
}

/// What the calendar says of a change.
#[derive(Debug)]
pub struct Looked {
    /// When it says so: after it was read, so that what was declared before began before.
    pub at: Timestamp,
    pub in_the_way: InTheWay,
    /// While these hold, it says so still.
    pub guards: Vec<Guard>,
}

impl Looked {
    /// Of what the calendar does not cover.
    pub fn nothing() -> Self {
        Self { at: stream::now(), in_the_way: InTheWay::default(), guards: Vec::new() }
    }
}

/// The calendar as it is.
#[derive(Debug)]
pub struct Sheet {
    calendar: Loaded<Calendar>,
    at: Timestamp,
}

impl Sheet {
    /// As of now, or of another moment when the log ends there.
    pub async fn read(log: &Log, at: Option<Timestamp>) -> Result<Self, LoadError> {
        let calendar = stream::load::<Calendar>(log, CALENDAR.into()).await?;
        Ok(Self { calendar, at: at.unwrap_or_else(stream::now) })
    }

    /// The maintenance windows that hold a change up, whether a responder let it pass them or not.
    pub async fn closed(&self, log: &Log, about: &About<'_>) -> Result<Option<Closed>, LoadError> {
        Ok(self.state().closed(self.at, &reach_of(log, about).await?.0))
    }

    /// Whether what has this reach may run, until when, and when otherwise.
    pub fn opening(&self, reach: &Reach) -> Opening {
        self.state().opening(self.at, reach)
    }

    /// Whether nothing is frozen at all.
    pub fn is_free(&self) -> bool {
        self.state().in_force(self.at).next().is_none()
    }

    /// A freeze that is not over.
    pub fn open(&self, id: FreezeId) -> Result<&Freeze, CalendarRejection> {
        let freeze = self.state().freezes.get(&id).ok_or(CalendarRejection::NotFound)?;
        let end = freeze.ended.as_ref().map_or(freeze.end, |ended| ended.at);
        if freeze.ended.is_some() || freeze.end <= self.at {
            return Err(CalendarRejection::Over { end });
        }
        Ok(freeze)
    }

    pub async fn look(&self, log: &Log, about: &About<'_>) -> Result<Looked, LoadError> {
        let looked = self.look_each(log, std::slice::from_ref(about)).await?;
        Ok(looked.into_iter().next().unwrap_or_else(Looked::nothing))
    }

    /// The same for many changes, in as many questions as for one.
    pub async fn look_each(
        &self,
        log: &Log,
        abouts: &[About<'_>],
    ) -> Result<Vec<Looked>, LoadError> {
        let (state, at) = (self.state(), self.at);
        let scopes = || {
            let freezes = state.in_force(at).map(|freeze| &freeze.scope);
            freezes.chain(state.standing().map(|window| &window.scope))
        };
        let of = |wanted: fn(&Scope) -> bool| scopes().any(wanted);
        let tags = of(|scope| matches!(scope, Scope::Tag { .. }));
        let is_asked = tags || of(|scope| matches!(scope, Scope::Environment { .. }));
        let reaches = if is_asked {
            reach_each(log, abouts).await?
        } else {
            abouts.iter().map(|_| Default::default()).collect()
        };
        let looked = abouts.iter().zip(reaches).map(|(about, (reach, targets))| {
            let calendar = Guard { stream: CALENDAR.into(), version: self.calendar.version };
            let mut guards = vec![calendar];
            if tags {
                guards.extend(targets);
            }
            let Overrides { standing, windows, unreviewed: _ } = about.overrides;
            let frozen = state.in_the_way(at, &reach, standing);
            let closed = if *windows { None } else { state.closed(at, &reach) };
            Looked { at, in_the_way: InTheWay { frozen, closed, ..InTheWay::default() }, guards }
        });
        Ok(looked.collect())
    }

    const fn state(&self) -> &CalendarState {
        &self.calendar.state
    }
}

/// What the calendar says of a change now.
pub async fn look(log: &Log, about: &About<'_>) -> Result<Looked, LoadError> {
    Sheet::read(log, None).await?.look(log, about).await
}

/// What a change touches now, and guards on what its targets are; without guards for more targets than
/// one run has: there every intent is asked for its own target, with a guard.
pub async fn reach_of(log: &Log, about: &About<'_>) -> Result<(Reach, Vec<Guard>), LoadError> {
    let reaches = reach_each(log, std::slice::from_ref(about)).await?;
    Ok(reaches.into_iter().next().unwrap_or_default())
}

/// The same of many changes: all of their targets are read together, and all of their connections.
async fn reach_each(
    log: &Log,
    abouts: &[About<'_>],
) -> Result<Vec<(Reach, Vec<Guard>)>, LoadError> {
    let targets: BTreeSet<StreamId> =
        abouts.iter().flat_map(|about| about.targets).map(|target| (*target).into()).collect();
    let targets: Vec<StreamId> = targets.into_iter().collect();
    let assets = stream::load_each::<Asset>(log, &targets).await?;
    let mut touched = Vec::with_capacity(abouts.len());
    for about in abouts {
        let mut reach = Reach::default();
        let mut guards = Vec::new();
        let mut connections: BTreeSet<_> = about.connection.into_iter().collect();
        reach.environments.extend(about.environment);
        reach.tags.extend(about.tags.into_iter().flatten().cloned());
        for target in about.targets {
            let (stream, found) = ((*target).into(), assets.get(&(*target).into()));
            if about.targets.len() <= MAX_STEPS {
                guards.push(Guard { stream, version: found.map_or(0, |found| found.version) });
            }
            let annotations = match found.map(|found| &found.state) {
                None | Some(AssetState::Absent) => continue,
                Some(AssetState::Present(present)) => {
                    connections.insert(present.identity.connection);
                    &present.annotations
                }
                Some(AssetState::Gone(gone)) => &gone.annotations,
            };
            reach.environments.extend(annotations.environment);
            reach.tags.extend(annotations.tags.iter().cloned());
        }
        touched.push((reach, guards, connections));
    }
    let all: BTreeSet<_> = touched.iter().flat_map(|(.., of)| of.iter().copied()).collect();
    let known = recent::load_each(log, all).await?;
    let labelled = touched.into_iter().map(|(mut reach, guards, connections)| {
        for connection in connections {
            match known.get(&connection).map(|loaded| &loaded.state) {
                Some(ConnectionState::Active(active)) => {
                    reach.environments.push(active.environment);
                }
                None | Some(ConnectionState::Absent | ConnectionState::Removed(_)) => {}
            }
        }
        reach.environments.sort_unstable();
        reach.environments.dedup();
        (reach, guards)
    });
    Ok(labelled.collect())
}

/// A command of a change that nothing but an override lets pass what is in the way.
pub struct Gated<'a, F> {
    pub log: &'a Log,
    pub pool: &'a PgPool,
    /// The command, of what is in the way.
    pub command: F,
}

impl<F> Prepare<Change> for Gated<'_, F>
where
    F: Fn(InTheWay) -> ChangeCommand + Send + Sync,
{
    async fn prepare(&self, state: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let Some(about) = About::of(state) else {
            let command = (self.command)(InTheWay::default());
            return Ok(Prepared { command, at: None, guards: Vec::new() });
        };
        let Looked { at, mut in_the_way, mut guards } = look(self.log, &about).await?;
        let (waits_for, own) = waits_for(self.log, state).await?;
        in_the_way.waits_for = waits_for;
        guards.extend(own);
        let (meets, others) = meeting::first(self.pool, self.log, state).await?;
        in_the_way.meets = meets;
        guards.extend(others);
        Ok(Prepared { command: (self.command)(in_the_way), at: Some(at), guards })
    }

    fn is_decided_again(&self, _moved: StreamId) -> bool {
        true
    }
}
