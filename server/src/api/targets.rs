//! The targets of a change with many: pages in their order, where all of them are, what moved, and one by itself.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use nexplane_core::api::{
    Page, RolloutTargetDetail, RolloutTargetOrder, RolloutTargetView, TargetState,
};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{ChangeId, ManifestId, RunId};
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::plan::Step;
use nexplane_core::rollout::event::Strategy;
use nexplane_core::run::event::RunEvent;
use nexplane_projections::changes::fold_run;
use nexplane_projections::projection::decode;
use nexplane_projections::rollouts::{self, Standing, TargetFilter};
use serde::Deserialize;
use uuid::Uuid;

use super::changes::load;
use super::guard::{Id, Query};
use crate::app::App;
use crate::problem::{ApiError, ApiResult};
use crate::runtime::queue;

/// Targets that one can ask for by their numbers at once: as many as the longest page has.
const MOST_NUMBERS: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetsQuery {
    /// One or more states, separated by commas.
    state: Option<String>,
    /// A part of the name.
    q: Option<String>,
    /// Instead of both: those that moved after this position.
    since: Option<u64>,
    /// Or: those with these numbers, separated by commas.
    no: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /change-requests/{id}/targets`: the targets of its newest plan, when that is a rollout's; those that need
/// somebody first.
pub async fn list(
    State(app): State<App>,
    Id(id): Id<ChangeId>,
    Query(query): Query<TargetsQuery>,
) -> ApiResult<Json<Page<RolloutTargetView>>> {
    let TargetsQuery { state, q, since, no, cursor, limit } = query;
    let filtered = state.is_some() || q.is_some();
    if usize::from(filtered) + usize::from(since.is_some()) + usize::from(no.is_some()) > 1 {
        let why = "since, no: give one of them, and neither together with state or q";
        return Err(ApiError::invalid_field("", why));
    }
    let filter = filter(state.as_deref(), q)?;
    let numbers = no.as_deref().map(numbers).transpose()?;
    let limit = super::limit(limit)?;
    let Some(rolling) = rolling(&app, id).await? else {
        return Ok(Json(Page { items: Vec::new(), next_cursor: None }));
    };
    let (manifest, cursor) = (rolling.manifest, cursor.as_deref());
    let mut page = match (since, numbers) {
        (Some(since), _) => {
            rollouts::changed_since(&app.pool, manifest, since, cursor, limit).await?
        }
        (None, Some(numbers)) => {
            let items = rollouts::numbered(&app.pool, manifest, &numbers).await?;
            Page { items, next_cursor: None }
        }
        (None, None) => rollouts::targets(&app.pool, manifest, &filter, cursor, limit).await?,
    };
    rolling.say_what_it_waits_for(&app, &mut page.items).await?;
    Ok(Json(page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderQuery {
    state: Option<String>,
    q: Option<String>,
}

/// `GET /change-requests/{id}/targets/order`: where all of them are, so that one can go to any place of the list.
pub async fn order(
    State(app): State<App>,
    Id(id): Id<ChangeId>,
    Query(query): Query<OrderQuery>,
) -> ApiResult<Json<RolloutTargetOrder>> {
    let filter = filter(query.state.as_deref(), query.q)?;
    let Some(rolling) = rolling(&app, id).await? else {
        return Ok(Json(RolloutTargetOrder::default()));
    };
    Ok(Json(rollouts::order(&app.pool, rolling.manifest, &filter).await?))
}

/// `GET /change-requests/{id}/targets/{no}`
pub async fn one(
    State(app): State<App>,
    Path((change, no)): Path<(String, String)>,
) -> ApiResult<Json<RolloutTargetDetail>> {
    let none = || ApiError::not_found("target");
    let change: Uuid = change.parse().map_err(|_| none())?;
    let no: u32 = no.parse().map_err(|_| none())?;
    let rolling = rolling(&app, ChangeId(change)).await?.ok_or_else(none)?;
    let mut found = rollouts::find(&app.pool, rolling.manifest, no).await?.ok_or_else(none)?;
    rolling.say_what_it_waits_for(&app, std::slice::from_mut(&mut found)).await?;
    let step = planned(&app, rolling.manifest, no).await?.ok_or_else(none)?;
    let events = match found.run {
        Some(run) => events(&app, run).await?,
        None => Vec::new(),
    };
    let advice = advice(found.state, &events);
    Ok(Json(RolloutTargetDetail { target: found, step, run: fold_run(&events), advice }))
}

/// A plan of many targets, and how far its rollout is when that has begun.
struct Targets {
    manifest: ManifestId,
    strategy: Strategy,
    standing: Option<Standing>,
}

/// `None` when its newest plan has no parts, or there is none.
async fn rolling(app: &App, change: ChangeId) -> ApiResult<Option<Targets>> {
    // What executes is its newest plan. Its stream has all ids of the targets in it, and is not read for a page.
    if let Some(standing) = rollouts::standing(&app.pool, change).await? {
        let (manifest, strategy) = (standing.manifest, standing.strategy);
        return Ok(Some(Targets { manifest, strategy, standing: Some(standing) }));
    }
    let state = load(app, change).await?.state;
    let plan = state.plan();
    Ok(plan.and_then(|plan| {
        let (parts, strategy) = (plan.parts.as_ref()?, plan.header.rollout?);
        Some(Targets { manifest: parts.manifest, strategy, standing: None })
    }))
}

impl Targets {
    async fn say_what_it_waits_for(
        &self,
        app: &App,
        targets: &mut [RolloutTargetView],
    ) -> ApiResult<()> {
        let executing = targets.iter().filter(|target| target.state == TargetState::Executing);
        let runs: Vec<RunId> = executing.filter_map(|target| target.run).collect();
        let behind = if runs.is_empty() {
            HashSet::new()
        } else {
            queue::behind(&app.pool, &runs).await.map_err(ApiError::unavailable)?
        };
        for target in targets {
            let is_behind = target.run.is_some_and(|run| behind.contains(&run));
            target.waiting_for = self.waiting_for(target.no, target.state, is_behind);
        }
        Ok(())
    }

    fn waiting_for(&self, no: u32, state: TargetState, is_behind: bool) -> Option<String> {
        match state {
            TargetState::Executing if is_behind => {
                Some("Waits for another change that has its turn on this target.".to_owned())
            }
            TargetState::Executing => Some("Under way: waits for the target's answer.".to_owned()),
            TargetState::Waiting => Some(self.turn(no)),
            TargetState::Complete
            | TargetState::Failed
            | TargetState::NotStarted
            | TargetState::OutcomeUnknown
            | TargetState::RolledBack => None,
        }
    }

    /// Of one that has not begun.
    fn turn(&self, no: u32) -> String {
        let batch = self.strategy.batch_of(no);
        let name = match batch {
            0 => "the canary".to_owned(),
            later => format!("batch {}", later + 1),
        };
        let Some(standing) = &self.standing else {
            return format!("In {name}; begins when the change is executed.");
        };
        match (standing.state.as_str(), batch < standing.batches) {
            ("paused", _) => "Waits for an operator to let the rollout go on.".to_owned(),
            ("stopped", _) => "Does not begin any more: the rollout was stopped.".to_owned(),
            (_, true) => format!(
                "Waits for its turn in {name}: {} at the same time.",
                self.strategy.parallel
            ),
            (_, false) => format!("Waits for {name}; {} have begun.", standing.batches),
        }
    }
}

/// The step of a target as it was approved.
async fn planned(app: &App, manifest: ManifestId, no: u32) -> ApiResult<Option<Step>> {
    let Some(position) = rollouts::planned_at(&app.pool, manifest, no).await? else {
        return Ok(None);
    };
    let stored = app.log.read(position, 1).await.map_err(ApiError::unavailable)?;
    let Some(stored) = stored.first().filter(|stored| stored.position == position) else {
        return Ok(None);
    };
    let recorded = decode(stored).map_err(ApiError::unavailable)?;
    let Event::Manifest(ManifestEvent::PageAdded { steps, .. }) = recorded.event else {
        return Ok(None);
    };
    Ok(steps.into_iter().find(|step| step.no == no))
}

async fn events(app: &App, run: RunId) -> ApiResult<Vec<Recorded>> {
    let stored = app.log.read_stream(run.into(), 1, None).await.map_err(ApiError::unavailable)?;
    stored.iter().map(decode).collect::<Result<_, _>>().map_err(ApiError::unavailable)
}

/// What one can do about a target that did not end well, by the last reason that its run gave.
fn advice(state: TargetState, events: &[Recorded]) -> Option<String> {
    let said = match state {
        TargetState::OutcomeUnknown => {
            return Some(
                "The target was called and its answer was lost. Look at the target itself, then settle the \
                 change with what you found."
                    .to_owned(),
            );
        }
        TargetState::Failed => match last_reason(events) {
            Some("moved" | "not_found") => {
                "It is not what the plan was made for. Look at who moved it, then make a new change for it."
            }
            Some("frozen") => "Make a new change for it when the freeze is over.",
            Some("window_closed" | "window_over") => {
                "Make a new change for it that is executed while the window is open."
            }
            Some("precheck" | "invalid" | "conflict") => {
                "The target is not in a state in which this can be done. Put that right, then make a new change \
                 for it."
            }
            Some("unauthorised" | "forbidden" | "denied") => {
                "Give the connection's account the right that is missing, then make a new change for it."
            }
            Some("unreachable" | "timeout" | "rate_limited") => {
                "Nothing was changed. Make sure that the target can be reached, then make a new change for it."
            }
            Some("unverified") => {
                "It was changed, and what was read back is not what was meant. Compare before and after, then roll \
                 the target back or make a new change for it."
            }
            Some(_) | None => {
                "Failed targets are not tried again in this change. Put right what the reason names, then make a \
                 new change for them."
            }
        },
        TargetState::NotStarted => "Nothing was sent to it. It needs a new change.",
        TargetState::Complete
        | TargetState::Executing
        | TargetState::RolledBack
        | TargetState::Waiting => return None,
    };
    Some(said.to_owned())
}

fn last_reason(events: &[Recorded]) -> Option<&str> {
    events.iter().rev().find_map(|recorded| match &recorded.event {
        Event::Run(
            RunEvent::StepBlocked { reason, .. }
            | RunEvent::StepFailed { reason, .. }
            | RunEvent::StepUnknown { reason, .. }
            | RunEvent::StepUnverified { reason, .. },
        ) => Some(reason.kind.as_str()),
        Event::Run(
            RunEvent::CancelAsked { .. }
            | RunEvent::Claimed { .. }
            | RunEvent::Finished { .. }
            | RunEvent::LateReported { .. }
            | RunEvent::Started { .. }
            | RunEvent::StepIntended { .. }
            | RunEvent::StepReconciled { .. }
            | RunEvent::StepSucceeded { .. }
            | RunEvent::StepVerified { .. },
        )
        | Event::Asset(_)
        | Event::Calendar(_)
        | Event::Change(_)
        | Event::Connection(_)
        | Event::Gateway(_)
        | Event::Host(_)
        | Event::Manifest(_)
        | Event::Person(_)
        | Event::Policy(_)
        | Event::Project(_)
        | Event::Rollout(_)
        | Event::Schedule(_) => None,
    })
}

fn filter(states: Option<&str>, q: Option<String>) -> ApiResult<TargetFilter> {
    let words = states.unwrap_or_default().split(',').filter(|word| !word.is_empty());
    Ok(TargetFilter { states: words.map(state_of).collect::<ApiResult<_>>()?, q })
}

fn state_of(word: &str) -> ApiResult<TargetState> {
    TargetState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
        let names: Vec<_> = TargetState::ALL.iter().map(|state| state.as_str()).collect();
        let why = format!("state: '{word}' is not a state; use one of {}", names.join(", "));
        ApiError::invalid_field("", why)
    })
}

fn numbers(list: &str) -> ApiResult<Vec<u32>> {
    let wrong = || {
        let why = format!("no: give 1 to {MOST_NUMBERS} numbers of targets, separated by commas");
        ApiError::invalid_field("", why)
    };
    let numbers: Vec<u32> =
        list.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if numbers.len() > MOST_NUMBERS { Err(wrong()) } else { Ok(numbers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(standing: Option<(&str, u32)>) -> Targets {
        let strategy = Strategy { canary: 2, batch: 10, parallel: 5, ..Strategy::for_targets(100) };
        let manifest = ManifestId(Uuid::nil());
        let standing = standing.map(|(state, batches)| Standing {
            manifest,
            strategy,
            state: state.to_owned(),
            batches,
        });
        Targets { manifest, strategy, standing }
    }

    #[test]
    fn each_target_says_what_it_waits_for() {
        let says = |standing, no| targets(standing).waiting_for(no, TargetState::Waiting, false);
        let says = |standing, no| says(standing, no).unwrap();
        assert_eq!(says(None, 1), "In the canary; begins when the change is executed.");
        assert_eq!(says(None, 2), "In batch 2; begins when the change is executed.");
        assert_eq!(says(Some(("running", 1)), 12), "Waits for batch 3; 1 have begun.");
        let turn = "Waits for its turn in batch 3: 5 at the same time.";
        assert_eq!(says(Some(("running", 3)), 12), turn);
        assert!(says(Some(("paused", 3)), 12).contains("an operator"));
        assert!(says(Some(("stopped", 3)), 12).contains("was stopped"));
        let over = targets(Some(("running", 3))).waiting_for(0, TargetState::Failed, false);
        assert_eq!(over, None);
    }
}
