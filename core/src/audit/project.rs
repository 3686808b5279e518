//! Projects: which members come after which, and whether they did.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::change::Track;
use super::{Auditor, Rule, Seen};
use crate::id::{ChangeId, ProjectId};
use crate::project::event::ProjectEvent;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Projects {
    /// Members of each project that is open, with what they come after. A project that is not to be judged has
    /// none.
    open: BTreeMap<Uuid, BTreeMap<ChangeId, BTreeSet<ChangeId>>>,
    /// The project that a change joined last.
    joined: BTreeMap<ChangeId, ProjectId>,
    /// When a project was last stopped that a change is a member of.
    stopped: BTreeMap<ChangeId, Timestamp>,
    /// Where executions began.
    executed: BTreeMap<ChangeId, u64>,
}

impl Projects {
    pub fn project(&mut self, seen: Seen, event: &ProjectEvent) {
        let id = seen.stream.id;
        match event {
            ProjectEvent::MemberAdded { change, after }
            | ProjectEvent::DependenciesChanged { change, after } => {
                let after = after.iter().copied().collect();
                self.open.entry(id).or_default().insert(*change, after);
            }
            ProjectEvent::MemberRemoved { change } => {
                self.open.entry(id).or_default().remove(change);
            }
            ProjectEvent::Closed { .. } => {
                self.stop(id, seen.at);
                self.forget(id);
            }
            ProjectEvent::GoingBack { .. } => self.stop(id, seen.at),
            ProjectEvent::Created { .. }
            | ProjectEvent::Renamed { .. }
            | ProjectEvent::ExecutionAsked {}
            | ProjectEvent::Blocked { .. }
            | ProjectEvent::BackBlocked { .. }
            | ProjectEvent::WentBack {}
            | ProjectEvent::Completed {} => {}
        }
    }

    pub fn joined(&mut self, change: ChangeId, project: ProjectId) {
        self.joined.insert(change, project);
    }

    pub fn forget(&mut self, project: Uuid) {
        self.open.remove(&project);
    }

    fn stop(&mut self, project: Uuid, at: Timestamp) {
        let members = self.open.get(&project).into_iter().flat_map(BTreeMap::keys);
        self.stopped.extend(members.map(|member| (*member, at)));
    }

    /// A change has begun to execute.
    pub fn executes(&mut self, change: ChangeId, position: u64) {
        self.executed.insert(change, position);
    }

    /// Members that were executed after this one, when it is undone by a rollback that its open project made.
    fn after(&self, undone: ChangeId, rollback: ChangeId) -> Vec<ChangeId> {
        let Some(project) = self.joined.get(&rollback) else { return Vec::new() };
        let members = self.open.get(&project.0).filter(|members| members.contains_key(&undone));
        let Some(own) = self.executed.get(&undone) else { return Vec::new() };
        let is_later = |change: &&ChangeId| self.executed.get(change).is_some_and(|at| at > own);
        members.into_iter().flat_map(BTreeMap::keys).filter(is_later).copied().collect()
    }

    /// What a change comes after.
    fn before(&self, change: ChangeId) -> Vec<ChangeId> {
        let project = self.joined.get(&change);
        let members = project.and_then(|project| self.open.get(&project.0));
        members.and_then(|members| members.get(&change)).into_iter().flatten().copied().collect()
    }
}

impl Auditor {
    /// A rollback that starts: as part of a project that goes back it comes after those of all members that
    /// were executed later.
    pub(super) fn newest_first(&mut self, seen: Seen, rollback: ChangeId) {
        for later in self.projects.after(ChangeId(seen.stream.id), rollback) {
            let stands = matches!(
                self.changes.get(&later.0),
                Some(Track::Settled(settled)) if settled.is_complete
            );
            if stands {
                let sentence = format!(
                    "It is undone with its project before change {later}, which was executed later and stands."
                );
                self.accuse(seen, Rule::BackOutOfOrder, sentence);
            }
        }
    }

    /// An execution that starts: what the change comes after is complete.
    pub(super) fn independent(&mut self, seen: Seen) {
        self.projects.executes(ChangeId(seen.stream.id), seen.position);
        self.after_others(seen, ChangeId(seen.stream.id), "It started");
    }

    /// The first intent of an execution that started at this moment and may begin before those others.
    pub(super) fn begins(
        &mut self,
        seen: Seen,
        change: ChangeId,
        started: Timestamp,
        ends: [Option<Timestamp>; 2],
    ) {
        for end in ends.into_iter().flatten().filter(|end| *end <= seen.at) {
            let sentence =
                format!("The first step was intended at {}, and might be until {end}.", seen.at);
            self.accuse(seen, Rule::BegunLate, sentence);
        }
        let stopped = self.projects.stopped.get(&change).copied();
        if let Some(stopped) = stopped.filter(|stopped| *stopped >= started) {
            let sentence = format!(
                "The first step was intended at {}; its project was stopped at {stopped}.",
                seen.at
            );
            self.accuse(seen, Rule::BegunLate, sentence);
        }
        self.after_others(seen, change, "Its first step was intended");
    }

    /// What the change comes after is complete.
    fn after_others(&mut self, seen: Seen, change: ChangeId, what: &str) {
        for before in self.projects.before(change) {
            let is_complete = match self.changes.get(&before.0) {
                // What cannot be judged is no proof either way.
                None if self.is_partial() => true,
                Some(Track::Unknown) => true,
                Some(Track::Settled(settled)) => settled.is_complete,
                Some(Track::Open(_) | Track::Closed) | None => false,
            };
            if !is_complete {
                let sentence =
                    format!("{what} before change {before}, which it comes after, was complete.");
                self.accuse(seen, Rule::DependencyIgnored, sentence);
            }
        }
    }
}
