//! What asks something of the reader. Candidates come from indexes; whether they do is asked of the decisions.

use std::collections::BTreeMap;

use nexplane_core::actor::Role;
use nexplane_core::aggregate::{Asked, Decider as _};
use nexplane_core::api::{ChangeState as State, ChangeView, HomeAsk, HomeItem, HomeList};
use nexplane_core::change::event::Found;
use nexplane_core::change::{
    Change, ChangeCommand, ChangeState, may_plan, may_roll_back, may_submit,
};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{ChangeId, RunId, StreamId};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes::{self, Candidate};
use uuid::Uuid;

use crate::api::freezes;
use crate::app::App;
use crate::auth::Caller;
use crate::calendar::{About, Sheet};
use crate::policy;
use crate::problem::{ApiError, ApiResult};
use crate::stream;

/// What an own change does in these states goes on without its requester.
pub const RUNNING: [State; 2] = [State::Executing, State::RollingBack];

/// Those in which an own change may wait for its requester.
const OWN: [State; 4] =
    [State::Draft, State::Approved, State::RollbackPartial, State::RollbackBlocked];

/// Candidates of each kind that are looked at.
const LOOKED_AT: u32 = 40;

/// What is due within a day comes first.
const SOON_S: i64 = 24 * 3_600;

/// All that was found, however much of it is shown.
pub struct Asks {
    pub decide: HomeList,
    pub next: HomeList,
}

/// What asks something of the caller, most urgent first.
pub async fn of(app: &App, caller: &Caller, at: Timestamp) -> ApiResult<Asks> {
    let decides = caller.has_any(&[Role::Approver, Role::Admin]);
    let settles = caller.has_any(&[Role::Operator, Role::Admin]);
    let (to_decide, own, unknown, unrevealed, policy, sheet) = tokio::try_join!(
        async {
            if !decides {
                return Ok(changes::Asking::default());
            }
            Ok(changes::to_decide(&app.pool, LOOKED_AT).await?)
        },
        async {
            let own = changes::of_requester(&app.pool, caller.person, &OWN, LOOKED_AT);
            Ok(own.await?)
        },
        async {
            if !settles {
                return Ok(changes::Asking::default());
            }
            Ok(changes::unknown(&app.pool, LOOKED_AT).await?)
        },
        async { Ok(changes::unrevealed(&app.pool, caller.person, LOOKED_AT).await?) },
        async { Ok::<_, ApiError>(policy::current(&app.log).await?) },
        async { Ok(Sheet::read(&app.log, app.moment()).await?) },
    )?;
    let more_to_decide = to_decide.more;
    let more_next = own.more || unknown.more || unrevealed.more;
    let mut candidates: BTreeMap<ChangeId, Candidate> = BTreeMap::new();
    for found in [to_decide, own, unknown, unrevealed] {
        candidates.extend(found.changes.into_iter().map(|found| (found.view.id, found)));
    }
    let streams: Vec<StreamId> = candidates.keys().map(|id| (*id).into()).collect();
    let states = stream::load_each::<Change>(&app.log, &streams).await?;

    let asking = Asking { app, caller, at, sheet: &sheet, policy: policy.state.version };
    let (mut decide, mut next) = (Vec::new(), Vec::new());
    for (id, mut candidate) in candidates {
        // The row may be a moment behind.
        let Some(loaded) = states.get(&id.into()) else { continue };
        let Some(ask) = asking.ask(&loaded.state, &mut candidate.view).await? else { continue };
        let until = until(ask, &candidate);
        let to = match ask {
            HomeAsk::Approve | HomeAsk::Review => &mut decide,
            HomeAsk::Plan
            | HomeAsk::Submit
            | HomeAsk::Execute
            | HomeAsk::Settle
            | HomeAsk::Reveal
            | HomeAsk::RollBack => &mut next,
        };
        to.push(HomeItem { change: candidate.view, ask: Some(ask), until });
    }
    decide.sort_by_key(|item| urgency(item, at));
    next.sort_by_key(|item| urgency(item, at));
    Ok(Asks {
        decide: HomeList { items: decide, more: more_to_decide },
        next: HomeList { items: next, more: more_next },
    })
}

struct Asking<'a> {
    app: &'a App,
    caller: &'a Caller,
    at: Timestamp,
    sheet: &'a Sheet,
    policy: u32,
}

impl Asking<'_> {
    async fn ask(&self, state: &ChangeState, view: &mut ChangeView) -> ApiResult<Option<HomeAsk>> {
        let (by, at) = (&self.caller.principal, self.at);
        let own = view.requester == self.caller.person;
        let would = |command: ChangeCommand| {
            let asked = Asked { by: by.clone(), at, command };
            Change::decide(state, asked).is_ok_and(|events| !events.is_empty())
        };
        let reason = || "probe".to_owned();
        Ok(match state {
            ChangeState::Draft(_) if own => {
                if may_submit(state, by, at, self.policy).is_ok_and(|plan| plan.is_some()) {
                    Some(HomeAsk::Submit)
                } else {
                    may_plan(state, by).is_ok().then_some(HomeAsk::Plan)
                }
            }
            ChangeState::Submitted(submission) => {
                let digest = submission.plan.digest.clone();
                let given = submission.approvals.iter().any(|given| given.by == self.caller.person);
                let approve = |frozen| ChangeCommand::Approve {
                    digest: digest.clone(),
                    comment: None,
                    frozen,
                };
                // Cheap first: where a freeze is in the way, others are looked up.
                if given || !would(approve(Vec::new())) {
                    return Ok(None);
                }
                let in_the_way = self.in_the_way(state, view).await?;
                would(approve(in_the_way.frozen)).then_some(HomeAsk::Approve)
            }
            ChangeState::Approved(_) if own && view.state == State::Approved => {
                let run = RunId(Uuid::nil());
                let start = |in_the_way| ChangeCommand::StartExecution { run, in_the_way };
                if !would(start(InTheWay::default())) {
                    return Ok(None);
                }
                let in_the_way = self.in_the_way(state, view).await?;
                would(start(in_the_way)).then_some(HomeAsk::Execute)
            }
            ChangeState::Finished(_) if view.state == State::OutcomeUnknown => {
                let finding = Found::Applied;
                would(ChangeCommand::Settle { finding, evidence: reason(), read: None })
                    .then_some(HomeAsk::Settle)
            }
            ChangeState::Finished(_) | ChangeState::Closed(_)
                if view.review_due.is_some()
                    && would(ChangeCommand::Review { comment: reason() }) =>
            {
                Some(HomeAsk::Review)
            }
            ChangeState::Finished(_) if own => {
                let stuck = matches!(view.state, State::RollbackPartial | State::RollbackBlocked);
                if view.secrets.iter().any(|secret| !secret.revealed) {
                    view.waiting_for = Some(
                        "Waits for you to reveal what it made: it is handed over once.".to_owned(),
                    );
                    Some(HomeAsk::Reveal)
                } else if stuck && view.rollback_of.is_none() {
                    may_roll_back(state, by, at, &[]).is_ok().then_some(HomeAsk::RollBack)
                } else {
                    None
                }
            }
            ChangeState::Absent
            | ChangeState::Draft(_)
            | ChangeState::Approved(_)
            | ChangeState::Executing(_)
            | ChangeState::Finished(_)
            | ChangeState::Closed(_) => None,
        })
    }

    /// What the calendar says of a change; the row says so too.
    async fn in_the_way(&self, state: &ChangeState, view: &mut ChangeView) -> ApiResult<InTheWay> {
        let Some(about) = About::of(state) else { return Ok(InTheWay::default()) };
        let in_the_way = self.sheet.look(&self.app.log, &about).await?.in_the_way;
        freezes::wait(view, &in_the_way.frozen);
        Ok(in_the_way)
    }
}

/// From when on it is too late for that.
fn until(ask: HomeAsk, candidate: &Candidate) -> Option<Timestamp> {
    let window = candidate.window.map(|window| window.end);
    match ask {
        HomeAsk::Review => candidate.view.review_due,
        HomeAsk::Execute => candidate.view.approved_until.into_iter().chain(window).min(),
        HomeAsk::Approve | HomeAsk::Submit | HomeAsk::Plan => window,
        HomeAsk::Settle | HomeAsk::Reveal | HomeAsk::RollBack => None,
    }
}

/// What is due within a day by when that is, then the riskiest, then the oldest.
fn urgency(item: &HomeItem, at: Timestamp) -> (Timestamp, std::cmp::Reverse<u8>, u64) {
    let soon = item.until.filter(|until| *until < at.plus_seconds(SOON_S));
    let risk = item.change.risk.as_ref().map_or(0, |risk| risk.score);
    (soon.unwrap_or(at.plus_seconds(SOON_S)), std::cmp::Reverse(risk), item.change.number)
}
