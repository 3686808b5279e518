//! Whether a log says only what can have happened: the part of its verification that is about its
//! meaning. Hashes and signatures prove that nobody changed the log afterwards; these rules show
//! that what was written at the time kept the promises of the product.
//!
//! [`Auditor`] reads events in the order of their positions, once, and judges each against what it
//! remembers of those before. It is a second opinion: it shares the shapes of events, the hash of a
//! plan and what a policy says with the rest of the core, but calls no `decide` and folds no
//! aggregate, so that a mistake there does not excuse itself here. [`Rule`] lists what it checks.
//!
//! What it remembers is small: the plan of an open change by its digest, two or three words of one
//! that has ended, a number per stream; of a change on many targets, a digest for each of them until it has ended.
//!
//! Deliberately absent: leaf hashes, checkpoints and consistency proofs; what people were allowed to
//! do at the time (roles change beside the streams that they act on, so a role is no proof either
//! way, but that a delegation ends with the approver role); whose an address is; whether approvals were given
//! inside a freeze; that overrides and broken glass were reviewed at all, but for people who break glass again
//! meanwhile; whether a risk was scored rightly.

mod approver;
mod beforehand;
mod change;
mod freeze;
mod glass;
mod outcome;
mod policy;
mod project;
mod rollout;
mod rule;
mod run;
mod schedule;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use self::approver::Approvers;
use self::freeze::Freezes;
use self::glass::Reviews;
use self::policy::Policies;
use self::project::Projects;
pub use self::rule::{Rule, RuleText, rules};
use self::schedule::Schedules;
use crate::actor::Actor;
use crate::event::{Event, Recorded, Unreadable, UnreadableEvent};
use crate::id::{Category, StreamId};
use crate::time::Timestamp;

/// How far clocks of different servers may differ, in seconds.
pub const CLOCK_SKEW_S: i64 = 300;

/// The most violations, and the most missing proofs, that are kept; more are counted.
pub const MAX_KEPT: usize = 10_000;

/// The log says something that cannot have happened, or must not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub position: u64,
    /// Code of a [`Rule`].
    pub rule: &'static str,
    pub stream: StreamId,
    /// For people.
    pub sentence: String,
}

/// Something that these events cannot prove, because what comes before them is not there or this
/// build cannot read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incomplete {
    pub position: u64,
    pub stream: StreamId,
    /// For people.
    pub sentence: String,
}

/// What came out, in the order of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many events were judged.
    pub events: u64,
    /// The first [`MAX_KEPT`].
    pub violations: Vec<Violation>,
    pub violations_in_all: u64,
    /// The first [`MAX_KEPT`].
    pub incomplete: Vec<Incomplete>,
    pub incomplete_in_all: u64,
}

/// Judges the events of one log, from one position on.
#[derive(Debug, Default)]
pub struct Auditor {
    start: u64,
    /// The position that has to come now.
    next: u64,
    report: Report,
    /// The newest time; after a step backwards, the time stepped back to.
    latest: Option<Timestamp>,
    /// The last version of every stream.
    versions: BTreeMap<StreamId, u64>,
    changes: BTreeMap<Uuid, change::Track>,
    runs: BTreeMap<Uuid, run::Track>,
    /// Of runs that ended under another claim than they began with: what may be reported late.
    late: BTreeMap<Uuid, run::Due>,
    manifests: BTreeMap<Uuid, rollout::Manifest>,
    rollouts: BTreeMap<Uuid, rollout::Track>,
    approvers: Approvers,
    freezes: Freezes,
    policies: Policies,
    projects: Projects,
    reviews: Reviews,
    schedules: Schedules,
}

/// Where and when an event stands, and who did it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    position: u64,
    stream: StreamId,
    at: Timestamp,
    by: Actor,
}

impl Auditor {
    /// For events that begin at `position`. When that is not 0, a stream whose beginning is not
    /// among them is incomplete evidence instead of a violation, and is not judged.
    pub fn starting_at(position: u64) -> Self {
        let policies = if position == 0 { Policies::default() } else { Policies::unknown() };
        Self { start: position, next: position, policies, ..Self::default() }
    }

    /// Judges the next event.
    pub fn observe(&mut self, recorded: &Recorded) {
        let Recorded { position, header, event } = recorded;
        let seen =
            Seen { position: *position, stream: header.stream, at: header.at, by: header.actor };
        self.order(seen.position, seen.stream, header.version);
        self.clock(seen);
        let own = category(event);
        if own != header.stream.category || !belongs(&header.kind, own) {
            return self.foreign_type(seen.position, seen.stream, &header.kind);
        }
        match event {
            Event::Asset(event) => {
                self.approvers.asset(seen, event);
                self.freezes.asset(seen, event);
            }
            Event::Calendar(event) => self.freezes.calendar(seen, event),
            Event::Change(event) => {
                self.asked_for(seen, event);
                self.made_by_schedule(seen, event);
                self.change(seen, event);
            }
            Event::Manifest(event) => self.manifest(seen, event),
            Event::Policy(event) => self.policy(seen, event),
            Event::Rollout(event) => self.rollout(seen, event),
            Event::Project(event) => self.projects.project(seen, event),
            Event::Run(event) => self.run(seen, event),
            Event::Person(event) => self.person(seen, event),
            Event::Schedule(event) => self.schedule(seen, event),
            Event::Connection(_) | Event::Gateway(_) | Event::Host(_) => {}
        }
    }

    /// Judges the next event, which this build cannot read. That is incomplete evidence when its
    /// type or schema version is newer than this build, and a violation when it is not.
    pub fn observe_unreadable(&mut self, position: u64, unreadable: &UnreadableEvent) {
        let UnreadableEvent { kind, schema, stream, version, source } = unreadable;
        self.order(position, *stream, *version);
        if !belongs(kind, stream.category) {
            return self.foreign_type(position, *stream, kind);
        }
        self.forget(*stream);
        match source {
            Unreadable::Data(_) => {
                self.flag(position, *stream, Rule::Unreadable, format!("The {unreadable}."));
            }
            Unreadable::UnknownType(_) | Unreadable::UnknownSchema { .. } => self.miss(
                position,
                *stream,
                format!(
                    "This build does not know {kind} (schema {schema}), so it cannot judge the rest of the stream."
                ),
            ),
        }
    }

    /// What came out so far.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What came out.
    pub fn finish(self) -> Report {
        self.report
    }

    /// Positions and versions.
    fn order(&mut self, position: u64, stream: StreamId, version: u64) {
        if position != self.next {
            let sentence = format!("Position {position} stands where {} has to.", self.next);
            self.flag(position, stream, Rule::PositionGap, sentence);
        }
        self.next = position.saturating_add(1);
        self.report.events = self.report.events.saturating_add(1);
        let known = self.versions.insert(stream, version);
        let next = known.map_or(1, |version| version.saturating_add(1));
        if version == next {
            return;
        }
        self.forget(stream);
        if known.is_none() && self.is_partial() {
            let sentence = format!("The stream is not provable before its version {version}.");
            self.miss(position, stream, sentence);
        } else {
            let sentence = format!("Version {version} stands where version {next} has to.");
            self.flag(position, stream, Rule::VersionGap, sentence);
        }
    }

    fn clock(&mut self, seen: Seen) {
        let latest = self.latest.unwrap_or(seen.at);
        if seen.at < latest.plus_seconds(-CLOCK_SKEW_S) {
            let sentence = format!("It is of {}, after an event of {latest}.", seen.at);
            self.flag(seen.position, seen.stream, Rule::TimeReversed, sentence);
            self.latest = Some(seen.at);
        } else {
            self.latest = Some(latest.max(seen.at));
        }
    }

    fn foreign_type(&mut self, position: u64, stream: StreamId, kind: &str) {
        let sentence =
            format!("An event of type {kind} is in a stream of {}.", stream.category.as_str());
        self.flag(position, stream, Rule::ForeignType, sentence);
    }

    /// What this stream says from here on cannot be judged.
    fn forget(&mut self, stream: StreamId) {
        match stream.category {
            Category::Change => {
                self.reviews.forget(stream.id);
                self.changes.insert(stream.id, change::Track::Unknown);
            }
            Category::Manifest => {
                self.manifests.insert(stream.id, rollout::Manifest::Unknown);
            }
            Category::Person => self.approvers.forget(stream.id),
            Category::Policy => self.policies = Policies::unknown(),
            Category::Rollout => {
                self.rollouts.insert(stream.id, rollout::Track::Unknown);
                self.runs.insert(stream.id, run::Track::Unknown);
            }
            Category::Project => self.projects.forget(stream.id),
            Category::Schedule => self.schedules.forget(stream.id),
            Category::Run => {
                self.runs.insert(stream.id, run::Track::Unknown);
            }
            Category::Asset
            | Category::Calendar
            | Category::Connection
            | Category::Gateway
            | Category::Host => {}
        }
    }

    /// Whether the log's beginning is not among the events.
    const fn is_partial(&self) -> bool {
        self.start > 0
    }

    fn flag(&mut self, position: u64, stream: StreamId, rule: Rule, sentence: String) {
        self.report.violations_in_all = self.report.violations_in_all.saturating_add(1);
        if self.report.violations.len() < MAX_KEPT {
            let rule = rule.code();
            self.report.violations.push(Violation { position, rule, stream, sentence });
        }
    }

    fn miss(&mut self, position: u64, stream: StreamId, sentence: String) {
        self.report.incomplete_in_all = self.report.incomplete_in_all.saturating_add(1);
        if self.report.incomplete.len() < MAX_KEPT {
            self.report.incomplete.push(Incomplete { position, stream, sentence });
        }
    }

    fn accuse(&mut self, seen: Seen, rule: Rule, sentence: impl Into<String>) {
        self.flag(seen.position, seen.stream, rule, sentence.into());
    }
}

const fn category(event: &Event) -> Category {
    match event {
        Event::Asset(_) => Category::Asset,
        Event::Calendar(_) => Category::Calendar,
        Event::Change(_) => Category::Change,
        Event::Connection(_) => Category::Connection,
        Event::Gateway(_) => Category::Gateway,
        Event::Host(_) => Category::Host,
        Event::Manifest(_) => Category::Manifest,
        Event::Person(_) => Category::Person,
        Event::Policy(_) => Category::Policy,
        Event::Project(_) => Category::Project,
        Event::Rollout(_) => Category::Rollout,
        Event::Run(_) => Category::Run,
        Event::Schedule(_) => Category::Schedule,
    }
}

fn belongs(kind: &str, category: Category) -> bool {
    kind.split_once('.').is_some_and(|(prefix, _)| prefix == category.as_str())
}
