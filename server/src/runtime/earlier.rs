//! What an earlier run did, for a step that undoes it.

use nexplane_connectors::sdk::{EarlierEffect, Snapshot};
use nexplane_core::id::ChangeId;
use nexplane_core::plan::Undoes;
use nexplane_core::run::{Effect, Run, RunState, StepPhase, Verified};
use nexplane_store::log::Log;

use crate::stream::{self, LoadError};

/// What a step did, and what was captured before it, where that was opened; an agent answers with the job by which
/// it did.
pub(super) fn earlier(verified: &Verified, before: Option<&Snapshot>) -> EarlierEffect {
    let Effect { intent, outcome, .. } = &verified.effect;
    let job = || outcome.as_ref()?.get("job")?.as_str()?.parse().ok();
    // Of a step that captured nothing it is empty.
    let before = before.map(|before| before.sealed.clone()).filter(|it| !it.expose().is_empty());
    EarlierEffect { job: job(), key: intent.key.clone(), before }
}

/// The step that is undone, and the change of its run; none when it is not known to have been done.
pub(super) async fn verified_at(
    log: &Log,
    undoes: Undoes,
) -> Result<Option<(ChangeId, Verified)>, LoadError> {
    let state = stream::load::<Run>(log, undoes.run.into()).await?.state;
    let RunState::Finished(finished) = state else { return Ok(None) };
    let phase = finished.run.step(undoes.step).map(|(_, phase)| phase);
    let verified = phase.and_then(StepPhase::verified).cloned();
    Ok(verified.map(|verified| (finished.run.change, verified)))
}
