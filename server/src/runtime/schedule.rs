//! Starts what is scheduled when its window opens.
//!
//! Everything is asked again: the calendar, the approvals, whether the person who had asked still might,
//! and the target is read. What speaks against it for good takes the change out of the schedule, with the
//! reason; what will pass, such as a freeze, moves it; a target that cannot be read is tried again until
//! the window closes.

use nexplane_core::actor::Actor;
use nexplane_core::aggregate::Principal;
use nexplane_core::change::{Approval, Change, ChangeCommand, ChangeRejection, ChangeState};
use nexplane_core::id::{ChangeId, PersonId, RunId, StreamId};
use nexplane_core::person::{Person, PersonState};
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;
use uuid::Uuid;

use super::planner::{PlanError, Planner};
use crate::calendar::{self, About, Looked};
use crate::meeting;
use crate::project::waits_for;
use crate::stream::{self, LoadError, Prepare, Prepared, Request, StreamError};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the log cannot be read")]
    Load(#[from] LoadError),
    #[error("the target cannot be read")]
    Target(#[from] PlanError),
    #[error("the change cannot be written")]
    Write(#[from] StreamError<ChangeRejection>),
}

/// Starts a scheduled change if it may start now, and otherwise says in its stream what became of that.
/// Nothing happens to a change that is not scheduled.
pub async fn start(
    pool: &PgPool,
    log: &Log,
    planner: &Planner,
    change: ChangeId,
) -> Result<(), StartError> {
    let loaded = stream::load::<Change>(log, change.into()).await?;
    let ChangeState::Approved(Approval { submission, scheduled: Some(scheduled), .. }) =
        &loaded.state
    else {
        return Ok(());
    };
    let request = Request::once(Principal::SYSTEM, stream::now());
    let command = Start { log, pool, asker: scheduled.by, run: RunId(Uuid::now_v7()) };
    let is_open = match About::of(&loaded.state) {
        Some(about) => {
            let now = calendar::look(log, &about).await?;
            now.in_the_way.frozen.is_empty() && now.in_the_way.closed.is_none()
        }
        None => false,
    };
    // A rollback compares with what its step left behind, right before it undoes it.
    if is_open && submission.subject.rollback_of.is_none() {
        let moved = planner.moved(change, &submission.plan, &request).await?;
        if !moved.is_empty() {
            let reason = ChangeRejection::PlanMoved { moved: moved.join(", ") }.to_string();
            let command = ChangeCommand::Unschedule { reason };
            let request = request.also("unschedule");
            stream::execute::<Change>(log, change.into(), &request, command).await?;
            return Ok(());
        }
    }
    match stream::execute_prepared(log, change.into(), &request, &command).await {
        // Somebody was faster.
        Ok(_) | Err(StreamError::Rejected(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A person with the roles that they have now, none when their account is disabled, and the guard that says
/// so still.
pub(super) async fn asker(log: &Log, id: PersonId) -> Result<(Principal, Guard), LoadError> {
    let person = stream::load::<Person>(log, id.into()).await?;
    let roles = match person.state {
        PersonState::Active(active) => active.roles,
        PersonState::Absent | PersonState::Disabled(_) => Vec::new(),
    };
    let guard = Guard { stream: id.into(), version: person.version };
    Ok((Principal { actor: Actor::user(id), roles }, guard))
}

struct Start<'a> {
    log: &'a Log,
    pool: &'a PgPool,
    asker: PersonId,
    run: RunId,
}

impl Prepare<Change> for Start<'_> {
    async fn prepare(&self, state: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let (asker, is_still) = asker(self.log, self.asker).await?;
        let Looked { at, mut in_the_way, mut guards } = match About::of(state) {
            Some(about) => calendar::look(self.log, &about).await?,
            None => Looked::nothing(),
        };
        guards.push(is_still);
        let (waits_for, own) = waits_for(self.log, state).await?;
        in_the_way.waits_for = waits_for;
        guards.extend(own);
        let (meets, others) = meeting::first(self.pool, self.log, state).await?;
        in_the_way.meets = meets;
        guards.extend(others);
        let command = ChangeCommand::StartScheduled { run: self.run, asker, in_the_way };
        Ok(Prepared { command, at: Some(at), guards })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}
