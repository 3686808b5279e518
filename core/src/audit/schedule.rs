//! Schedules: which changes they made, of what, for whom, and who else edited that.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::change::Track as Change;
use super::{Auditor, Rule, Seen};
use crate::actor::{Actor, ActorKind};
use crate::change::event::ChangeEvent;
use crate::id::{ChangeId, PersonId, ScheduleId};
use crate::schedule::event::{ScheduleEvent, Template};

#[derive(Debug, Default)]
pub(super) struct Schedules {
    known: BTreeMap<Uuid, Track>,
    /// Changes of ticks that were fired, until they are made.
    due: BTreeMap<ChangeId, Due>,
}

#[derive(Debug)]
enum Track {
    /// Not to be judged.
    Unknown,
    Known(Box<Known>),
}

#[derive(Debug)]
struct Known {
    owner: PersonId,
    version: Version,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Active,
    Paused,
    Deleted,
}

/// What it makes changes of, and who but its owner edited that.
#[derive(Clone, Debug)]
struct Version {
    template: Template,
    editors: BTreeSet<PersonId>,
}

#[derive(Debug)]
struct Due {
    schedule: Uuid,
    /// The one of the tick, and those until now: it may be edited before the change is made.
    versions: Vec<Version>,
}

impl Schedules {
    pub fn forget(&mut self, schedule: Uuid) {
        self.known.insert(schedule, Track::Unknown);
    }

    fn edited(&mut self, id: Uuid, by: Actor, template: &Template) {
        let Some(Track::Known(known)) = self.known.get_mut(&id) else { return };
        known.version.template.clone_from(template);
        known.version.editors.extend(by.person().filter(|person| *person != known.owner));
        for due in self.due.values_mut().filter(|due| due.schedule == id) {
            due.versions.push(known.version.clone());
        }
    }

    fn stands(&mut self, id: Uuid, standing: Standing) {
        if let Some(Track::Known(known)) = self.known.get_mut(&id)
            && known.standing != Standing::Deleted
        {
            known.standing = standing;
        }
    }

    /// Whether a tick of it made this due, and it was one that fires.
    fn fired(&mut self, id: Uuid, change: ChangeId) -> bool {
        let Some(Track::Known(known)) = self.known.get(&id) else { return true };
        let versions = vec![known.version.clone()];
        self.due.insert(change, Due { schedule: id, versions });
        known.standing == Standing::Active
    }
}

impl Auditor {
    pub(super) fn schedule(&mut self, seen: Seen, event: &ScheduleEvent) {
        use ScheduleEvent as E;
        let id = seen.stream.id;
        let schedules = &mut self.schedules;
        let is_first = !schedules.known.contains_key(&id);
        let (by_person, by_itself) =
            (seen.by.kind == ActorKind::User, seen.by.kind == ActorKind::System);
        let is_so = match event {
            E::Created { template, timing: _ } if is_first => {
                let owner = seen.by.person().unwrap_or(PersonId(seen.by.id));
                let version = Version { template: template.clone(), editors: BTreeSet::new() };
                let known = Known { owner, version, standing: Standing::Active };
                schedules.known.insert(id, Track::Known(Box::new(known)));
                by_person
            }
            E::Created { .. } => matches!(schedules.known.get(&id), Some(Track::Unknown)),
            E::Edited { template, timing: _ } => {
                schedules.edited(id, seen.by, template);
                by_person
            }
            E::Paused { .. } => {
                schedules.stands(id, Standing::Paused);
                by_person
            }
            E::Resumed {} => {
                schedules.stands(id, Standing::Active);
                by_person
            }
            E::Deleted { .. } => {
                schedules.stands(id, Standing::Deleted);
                by_person
            }
            E::Fired { change, tick: _ } => schedules.fired(id, *change) && by_itself,
            E::Skipped { .. } | E::Stalled { .. } => by_itself,
        };
        let begins = !is_first || matches!(event, E::Created { .. });
        if !begins {
            schedules.forget(id);
        }
        if !is_so || !begins {
            let sentence = "Its schedule does not come to this, or not by whoever did it.";
            self.accuse(seen, Rule::ScheduleUnfounded, sentence);
        }
    }

    /// Whether what a change says of the schedule that made it is so. Asked before the change is judged.
    pub(super) fn made_by_schedule(&mut self, seen: Seen, event: &ChangeEvent) {
        let change = ChangeId(seen.stream.id);
        if let ChangeEvent::MadeBySchedule { schedule, editors } = event {
            let editors = editors.iter().copied().collect();
            let due = self.schedules.due.remove(&change);
            if let Some(why) = self.not_made(seen, change, *schedule, due, &editors) {
                self.accuse(seen, Rule::ScheduleUnfounded, why);
            }
        } else if matches!(event, ChangeEvent::Submitted { .. })
            && let Some(due) = self.schedules.due.remove(&change)
        {
            let schedule = ScheduleId(due.schedule);
            let sentence = format!("Schedule {schedule} made it, and it does not say so.");
            self.accuse(seen, Rule::ScheduleUnfounded, sentence);
        }
    }

    /// Why this schedule cannot have made the change, so edited.
    fn not_made(
        &mut self,
        seen: Seen,
        change: ChangeId,
        schedule: ScheduleId,
        due: Option<Due>,
        editors: &BTreeSet<PersonId>,
    ) -> Option<String> {
        let owner = match self.schedules.known.get(&schedule.0) {
            Some(Track::Unknown) => return None,
            Some(Track::Known(known)) => known.owner,
            None if self.is_partial() => {
                let sentence =
                    format!("Schedule {schedule}, which made it, is not among the events.");
                self.miss(seen.position, seen.stream, sentence);
                return None;
            }
            None => return Some(format!("Schedule {schedule} does not exist.")),
        };
        let Some(due) = due.filter(|due| due.schedule == schedule.0) else {
            return Some(format!("No tick of schedule {schedule} made it."));
        };
        // What is no draft is accused of that.
        let Some(Change::Open(open)) = self.changes.get(&change.0) else { return None };
        if seen.by != Actor::machine(owner) || !open.is_by(owner) {
            return Some(format!("It was not made for {owner}, who owns schedule {schedule}."));
        }
        let is_so = |made: &Version| made.editors == *editors && open.is_made_of(&made.template);
        (!due.versions.iter().any(is_so))
            .then(|| format!("Schedule {schedule} said something else, or was edited by others."))
    }

    /// Only people who are signed in, and Nexplane itself, submit and start.
    pub(super) fn asked_for(&mut self, seen: Seen, event: &ChangeEvent) {
        use ChangeEvent as E;
        let what = if matches!(event, E::Submitted { .. }) {
            "submitted it"
        } else if matches!(event, E::Scheduled { .. } | E::ExecutionStarted { .. }) {
            "had it executed"
        } else {
            return;
        };
        let who = match seen.by.kind {
            ActorKind::User | ActorKind::System => return,
            ActorKind::Machine => "A program",
            ActorKind::Agent => "An agent",
        };
        self.accuse(seen, Rule::ByProgram, format!("{who} {what}."));
    }
}
