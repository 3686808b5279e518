//! Undoes what failed, where that was approved with it.
//!
//! The rollback is made in one append, of a plan that was just made, and then started; each may be done
//! again, also by another server: both have ids of their own that follow from the run that failed. What is
//! in its way for the time being, such as a freeze, or a target that cannot be read, is tried again. Of a rollout
//! those targets that can be read do not wait for the others: each of these ends as what could not be undone,
//! and so does the whole.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nexplane_core::change::{
    Back, Change, ChangeCommand, ChangeRejection, ChangeState, may_go_back, subject_of_rollback,
};
use nexplane_core::id::{ChangeId, RunId, StreamId};
use nexplane_core::plan::Plan;
use nexplane_core::policy::POLICY;
use nexplane_core::risk::{Environment, Risk};
use nexplane_projections::{Projections, QueryError, changes};
use nexplane_store::log::{Guard, Log, ReadError};
use sqlx::PgPool;

use super::assess::{AssessError, assess};
use super::planner::{PlanError, Planner};
use super::targets::Targets;
use crate::calendar::{About, Gated, reach_of};
use crate::policy;
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, Request, StreamError};

/// How long it waits for the read model that says what was applied since.
const WAIT_FOR_LATER: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum BackError {
    #[error("the log cannot be read")]
    Load(#[from] LoadError),
    #[error("the head of the log cannot be read")]
    Head(#[from] ReadError),
    #[error("what was applied since is not known: the read model of changes is late")]
    Late,
    #[error("what was applied since cannot be read")]
    Query(#[from] QueryError),
    #[error("the target cannot be read")]
    Plan(#[from] PlanError),
    #[error("its risk cannot be assessed")]
    Assess(#[from] AssessError),
    #[error("the rollback cannot be written")]
    Write(#[from] StreamError<ChangeRejection>),
}

/// What it takes.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    pub pool: &'a PgPool,
    pub log: &'a Log,
    pub projections: &'a Projections,
    pub planner: &'a Planner,
    pub targets: &'a Targets,
}

/// Changes whose rollback this process is making.
static UNDER_WAY: Mutex<BTreeSet<ChangeId>> = Mutex::new(BTreeSet::new());

/// Who makes the rollback of a change: reading many targets takes longer than until it is asked for again.
#[derive(Debug)]
pub struct Maker(ChangeId);

impl Maker {
    /// `None` while there is another.
    pub fn of(change: ChangeId) -> Option<Self> {
        let is_first = under_way().insert(change);
        is_first.then(|| Self(change))
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        under_way().remove(&self.0);
    }
}

fn under_way() -> std::sync::MutexGuard<'static, BTreeSet<ChangeId>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes a change that has failed, if it goes back by itself and has anything to undo.
pub async fn go_back(means: Means<'_>, original: ChangeId) -> Result<(), BackError> {
    let Means { log, .. } = means;
    let undone = stream::load::<Change>(log, original.into()).await?;
    let Ok(execution) = may_go_back(&undone.state, stream::now(), &[]) else { return Ok(()) };
    let request = Request::following(execution.run.0, original.0, "go back", stream::now());
    let rollback = ChangeId(request.command.0);
    let subject = subject_of_rollback(original, execution);
    if matches!(stream::load::<Change>(log, rollback.into()).await?.state, ChangeState::Absent) {
        let last = log.head().await?.next_position.saturating_sub(1);
        let waited = means.projections.wait_for_some(&["changes"], last, WAIT_FOR_LATER).await;
        waited.map_err(|_| BackError::Late)?;
        let later = changes::later_applied(means.pool, original, &subject.draft.targets).await?;
        let later: Vec<_> = later.into_iter().map(|later| later.id).collect();
        if let Err(no) = may_go_back(&undone.state, stream::now(), &later) {
            tracing::info!(change.id = %original, why = %no, "a change does not go back by itself");
            return Ok(());
        }
        // Before the plan, whose steps stay in the log when nothing comes of it.
        let (environment, risk) = assess(means.targets, means.pool, &subject.draft).await?;
        let planned = means.planner.plan_rollback(rollback, &subject, &undone.state, &request);
        let plan = match planned.await {
            Ok(plan) => plan,
            // None of its steps is known to have taken effect.
            Err(PlanError::NothingToUndo) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let making = Making { log, original, undone: &undone, later, plan, environment, risk };
        match stream::execute_prepared(log, rollback.into(), &request, &making).await {
            Ok(_) => {}
            // What the targets answered may be another thing later.
            Err(error @ StreamError::Rejected(ChangeRejection::PlanNotReady { .. })) => {
                return Err(error.into());
            }
            Err(StreamError::Rejected(no)) => {
                tracing::info!(change.id = %original, why = %no, "a change does not go back by itself");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let start = request.also("start");
    let run = RunId(start.command.0);
    let command = |in_the_way| ChangeCommand::StartBack { run, in_the_way };
    let gated = Gated { log, pool: means.pool, command };
    match stream::execute_prepared(log, rollback.into(), &start, &gated).await {
        // Frozen, or somebody was faster.
        Ok(_) | Err(StreamError::Rejected(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Making<'a> {
    log: &'a Log,
    original: ChangeId,
    undone: &'a Loaded<Change>,
    later: Vec<ChangeId>,
    plan: Plan,
    environment: Environment,
    risk: Risk,
}

impl Prepare<Change> for Making<'_> {
    async fn prepare(&self, _: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let Loaded { state: policy, version } = policy::current(self.log).await?;
        let mut guards = vec![
            Guard { stream: POLICY.into(), version },
            Guard { stream: self.original.into(), version: self.undone.version },
        ];
        let (reach, targets) = match About::of(&self.undone.state) {
            Some(about) => reach_of(self.log, &about).await?,
            None => Default::default(),
        };
        if policy.document.names_tags() {
            guards.extend(targets);
        }
        let back = Box::new(Back {
            original: self.original,
            undone: self.undone.state.clone(),
            later: self.later.clone(),
            plan: self.plan.clone(),
            environment: self.environment,
            risk: self.risk.clone(),
            tags: reach.tags,
            policy,
        });
        Ok(Prepared { command: ChangeCommand::GoBack { back }, at: None, guards })
    }

    /// The change that is undone is what it was read as, or it is left alone for now.
    fn is_decided_again(&self, moved: StreamId) -> bool {
        moved != self.original.into()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_rollback_is_made_by_one_at_a_time() {
        let [one, other] = [1, 2].map(|no| ChangeId(Uuid::from_u128(0xbac0 + no)));
        let first = Maker::of(one).expect("nobody makes it");
        assert!(Maker::of(one).is_none());
        assert!(Maker::of(other).is_some(), "of another change");
        drop(first);
        assert!(Maker::of(one).is_some());
    }
}
