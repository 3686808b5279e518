//! Schedules, and what becomes of their ticks; projects, and what becomes of their members.

use nexplane_core::actor::Actor;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::id::{ChangeId, ProjectId, ScheduleId};
use nexplane_core::project::event::ProjectEvent;
use nexplane_core::schedule::event::{ScheduleEvent, Skip, Template, Timing};
use serde_json::json;

use super::{History, TYPES};

/// A schedule, and the change of its last tick.
#[derive(Clone, Copy)]
pub(super) struct Recurring {
    id: ScheduleId,
    paused: bool,
    last: Option<ChangeId>,
}

impl History {
    fn template(&mut self) -> (Template, Timing) {
        let index = self.random.below(self.assets.len());
        let template = Template {
            title: format!("Weekly {}", self.count),
            reason: "It is done every week".to_owned(),
            ticket: self.random.one_in(2).then(|| "OPS-18".to_owned()),
            change_type: self.random.pick(&TYPES).to_owned(),
            connection: self.random.pick(&self.connections),
            targets: vec![self.assets[index].id],
            parameters: json!({ "note": "x" }),
        };
        let cron = self.random.pick(&["0 3 * * sun", "*/10 * * * *", "0 0 29 2 *"]).to_owned();
        (template, Timing { cron, zone: "Europe/Vienna".to_owned() })
    }

    pub(super) fn schedule_event(&mut self) {
        use ScheduleEvent as E;
        let place = self.random.below(self.schedules.len() + 1);
        let by = self.user();
        let Some(recurring) = self.schedules.get(place).copied() else {
            let id = ScheduleId(self.random.uuid());
            let (template, timing) = self.template();
            self.schedules.push(Recurring { id, paused: false, last: None });
            return self.emit(id.into(), by, vec![E::Created { template, timing }]);
        };
        let (id, tick) = (recurring.id, self.later(0));
        let reason = "Not this week".to_owned();
        let skipped = |ticks, why| E::Skipped { tick, ticks, why };
        let (by, event) = match (self.random.below(8), recurring.last) {
            (0, _) => {
                let (template, timing) = self.template();
                (by, E::Edited { template, timing })
            }
            (1 | 2, _) if recurring.paused => (by, E::Resumed {}),
            (1, _) => (by, E::Paused { reason }),
            (2, _) if self.schedules.len() > 3 => (by, E::Deleted { reason }),
            (3, _) => (Actor::SYSTEM, skipped(3, Skip::Missed)),
            (4, Some(change)) => (Actor::SYSTEM, skipped(1, Skip::Open { change })),
            (5, Some(change)) => (Actor::SYSTEM, E::Stalled { change, reason }),
            (6, _) => {
                let problem = "Their account is disabled".to_owned();
                (Actor::SYSTEM, skipped(1, Skip::Owner { problem }))
            }
            _ => (Actor::SYSTEM, E::Fired { tick, change: ChangeId(self.random.uuid()) }),
        };
        match &event {
            E::Paused { .. } => self.schedules[place].paused = true,
            E::Resumed {} => self.schedules[place].paused = false,
            E::Deleted { .. } => drop(self.schedules.remove(place)),
            E::Fired { change, .. } => self.schedules[place].last = Some(*change),
            E::Created { .. } | E::Edited { .. } | E::Skipped { .. } | E::Stalled { .. } => {}
        }
        self.emit(id.into(), by, vec![event]);
    }

    pub(super) fn project_event(&mut self) {
        use ProjectEvent as E;
        let place = self.random.below(self.projects.len() + 1);
        let by = self.user();
        let (name, reason) = (format!("Move {}", self.count), "Not this week".to_owned());
        let Some(id) = self.projects.get(place).copied() else {
            let id = ProjectId(self.random.uuid());
            self.projects.push(id);
            return self.emit(id.into(), by, vec![E::Created { name, description: reason }]);
        };
        if self.changes.is_empty() {
            return;
        }
        let index = self.random.below(self.changes.len());
        let (change, other) = (self.changes[index].id, self.changes[0].id);
        let after = if change == other { Vec::new() } else { vec![other] };
        let event = match self.random.below(12) {
            0 => E::Renamed { name, description: String::new() },
            1 => E::MemberRemoved { change },
            2 => E::DependenciesChanged { change, after },
            3 => E::ExecutionAsked {},
            4 => E::Blocked { change, reason },
            5 => E::Completed {},
            7 => E::GoingBack { reason },
            8 if self.count.is_multiple_of(2) => E::BackBlocked { change, reason },
            8 => E::WentBack {},
            6 if self.projects.len() > 3 => {
                self.projects.remove(place);
                E::Closed { reason }
            }
            _ => {
                self.emit(change.into(), by, vec![ChangeEvent::JoinedProject { project: id }]);
                E::MemberAdded { change, after }
            }
        };
        self.emit(id.into(), by, vec![event]);
    }
}
