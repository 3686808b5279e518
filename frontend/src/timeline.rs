//! A change's life as a short line of stations: what it passed, where it is, what lies ahead.

use nexplane_core::api::{ChangeState, ChangeView, EventView};
use nexplane_core::time::Timestamp;

use crate::words::{self, Label};

#[derive(Clone, Debug, PartialEq)]
pub struct Station {
    pub label: &'static str,
    pub progress: Progress,
    pub at: Option<Timestamp>,
    pub by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Passed,
    /// It is here, and this is how it looks.
    Here(Label),
    Ahead,
}

/// The stations of a change that goes well, or as far as it went.
pub fn stations(change: &ChangeView, events: &[EventView]) -> Vec<Station> {
    let last = |kind: &str| {
        events.iter().filter(|event| event.kind == kind).max_by_key(|event| event.position)
    };
    let path: [(&'static str, &[&str]); 4] = [
        ("Drafted", &["change.drafted"]),
        ("Submitted", &["change.submitted"]),
        ("Approved", &["change.approved"]),
        ("Executed", &["change.execution_started"]),
    ];
    let reached = reached(change);
    let mut stations: Vec<Station> = path
        .into_iter()
        .enumerate()
        .map(|(index, (label, kinds))| {
            let event = kinds.iter().find_map(|kind| last(kind)).filter(|_| index <= reached);
            let drafted = (index == 0).then_some(change.created_at);
            Station {
                label,
                progress: if index <= reached { Progress::Passed } else { Progress::Ahead },
                at: event.map(|event| event.at).or(drafted),
                by: event.and_then(|event| event.actor_name.clone()),
            }
        })
        .collect();
    if ends(change.state) {
        // What a closed change never reached does not lie ahead of it.
        stations.truncate(reached + 1);
        let closing =
            events.iter().filter(|event| closes(&event.kind)).max_by_key(|event| event.position);
        let label = words::change_standing(change.state, change.settled.is_some());
        stations.push(Station {
            label: label.text,
            progress: Progress::Here(label),
            at: Some(closing.map_or(change.updated_at, |event| event.at)),
            by: closing.and_then(|event| event.actor_name.clone()),
        });
        return stations;
    }
    if let Some(here) = stations.get_mut(reached) {
        let label = words::change_standing(change.state, change.settled.is_some());
        here.label = label.text;
        here.progress = Progress::Here(label);
    }
    stations.push(Station { label: "Verified", progress: Progress::Ahead, at: None, by: None });
    stations
}

/// The last station on the way that the change got to.
fn reached(change: &ChangeView) -> usize {
    match change.state {
        ChangeState::Draft => 0,
        ChangeState::Submitted | ChangeState::Rejected => 1,
        ChangeState::Approved | ChangeState::Scheduled => 2,
        ChangeState::Executing
        | ChangeState::Complete
        | ChangeState::Failed
        | ChangeState::OutcomeUnknown
        | ChangeState::RollingBack
        | ChangeState::RolledBack
        | ChangeState::RollbackPartial
        | ChangeState::RollbackBlocked => 3,
        ChangeState::Cancelled | ChangeState::Expired => {
            if !change.approvals.is_empty() && change.approved_until.is_some() {
                2
            } else {
                usize::from(change.approvals_needed > 0)
            }
        }
    }
}

const fn ends(state: ChangeState) -> bool {
    state.is_settled() || matches!(state, ChangeState::RollingBack)
}

fn closes(kind: &str) -> bool {
    matches!(
        kind,
        "change.completed"
            | "change.failed"
            | "change.outcome_unknown"
            | "change.settled"
            | "change.rollback_started"
            | "change.rolled_back"
            | "change.rollback_partial"
            | "change.rollback_blocked"
            | "change.rejected"
            | "change.cancelled"
            | "change.expired"
    )
}

#[cfg(test)]
mod tests {
    use nexplane_core::actor::Actor;
    use nexplane_core::id::{ChangeId, ConnectionId, PersonId};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn change(state: ChangeState) -> ChangeView {
        let at: Timestamp = "2026-11-23T15:00:00Z".parse().unwrap();
        ChangeView {
            id: ChangeId(Uuid::nil()),
            number: 1,
            title: String::new(),
            reason: String::new(),
            ticket: None,
            state,
            change_type: "postgres.lock_user".to_owned(),
            connection_id: ConnectionId(Uuid::nil()),
            targets: Vec::new(),
            parameters: json!({}),
            auto_rollback: false,
            requester: PersonId(Uuid::nil()),
            editors: Vec::new(),
            risk: None,
            plan: None,
            approvals: Vec::new(),
            approvals_needed: 0,
            admin_needed: false,
            seats: Vec::new(),
            not_before: None,
            approved_until: None,
            scheduled: None,
            waiting_for: None,
            closing_reason: None,
            run: None,
            rollout: None,
            rollback_of: None,
            rollback: None,
            rolled_back_by: None,
            schedule: None,
            project: None,
            secrets: Vec::new(),
            overrides: Vec::new(),
            glass: Vec::new(),
            review_required: false,
            review_due: None,
            review: None,
            settled: None,
            version: 1,
            position: 1,
            created_at: at,
            updated_at: at.plus_seconds(60),
            names: std::collections::BTreeMap::new(),
            conflicts: Vec::new(),
            frozen: Vec::new(),
            allowed: Vec::new(),
        }
    }

    fn event(kind: &str, seconds: i64) -> EventView {
        let at: Timestamp = "2026-11-23T15:00:00Z".parse().unwrap();
        EventView {
            position: 0,
            id: Uuid::nil(),
            kind: kind.to_owned(),
            at: at.plus_seconds(seconds),
            actor: Actor::SYSTEM,
            actor_name: Some("Ada".to_owned()),
            stream_name: None,
            stream: String::new(),
            version: 1,
            summary: String::new(),
            change_request_id: None,
            data: json!({}),
        }
    }

    fn labels(stations: &[Station]) -> Vec<&str> {
        stations.iter().map(|station| station.label).collect()
    }

    #[test]
    fn a_draft_has_its_way_ahead() {
        let stations = stations(&change(ChangeState::Draft), &[]);
        assert_eq!(labels(&stations), ["Draft", "Submitted", "Approved", "Executed", "Verified"]);
        assert!(matches!(stations[0].progress, Progress::Here(_)));
        assert!(stations[1..].iter().all(|station| station.progress == Progress::Ahead));
    }

    #[test]
    fn a_complete_change_passed_everything() {
        let events = [event("change.submitted", 10), event("change.completed", 50)];
        let stations = stations(&change(ChangeState::Complete), &events);
        assert_eq!(labels(&stations), ["Drafted", "Submitted", "Approved", "Executed", "Complete"]);
        assert_eq!(stations[1].at, Some(events[0].at));
        assert_eq!(stations[4].at, Some(events[1].at));
        assert_eq!(stations[4].by.as_deref(), Some("Ada"));
    }

    #[test]
    fn a_rejected_change_ends_where_it_was_rejected() {
        let stations = stations(&change(ChangeState::Rejected), &[]);
        assert_eq!(labels(&stations), ["Drafted", "Submitted", "Rejected"]);
    }

    #[test]
    fn a_withdrawn_change_forgets_that_it_was_submitted() {
        let events = [event("change.submitted", 10), event("change.withdrawn", 20)];
        let stations = stations(&change(ChangeState::Draft), &events);
        assert_eq!(stations[1].at, None);
    }

    #[test]
    fn every_state_has_exactly_one_place() {
        for state in ChangeState::ALL {
            let here = stations(&change(state), &[])
                .iter()
                .filter(|station| matches!(station.progress, Progress::Here(_)))
                .count();
            assert_eq!(here, 1, "{state:?}");
        }
    }
}
