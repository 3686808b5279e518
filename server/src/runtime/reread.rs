//! Reads a target once more, right before a person says what became of it.
//!
//! The run is over and has given up; the target may be back since. What it says is not recorded and
//! settles nothing here: it keeps a person from saying the opposite.

use nexplane_connectors::sdk::{SecretBytes, Snapshot};
use nexplane_core::catalog::EffectClass;
use nexplane_core::change::event::Found;
use nexplane_core::connection::Purpose;
use nexplane_core::id::{ChangeId, RolloutId, RunId};
use nexplane_core::plan::Step;
use nexplane_core::rollout::{Rollout, RolloutState};
use nexplane_core::run::{Intent, Run, RunState, StepPhase};

use super::earlier::{earlier, verified_at};
use super::targets::{OpenError, Targets, change_owner};
use crate::problem::chain;
use crate::stream::{self, Request};

/// What the target says of the step that the run lost sight of; none when it cannot be read, or says
/// neither.
pub async fn reread(
    targets: &Targets,
    change: ChangeId,
    run: RunId,
    request: &Request,
) -> Option<Found> {
    match look(targets, change, run, request).await {
        Ok(found) => found,
        Err(error) => {
            let cause = chain(&error);
            tracing::info!(change.id = %change, %cause, "the target cannot be read again");
            None
        }
    }
}

/// Of a rollout: as a whole it is not applied when any target failed or was left out. The unknown ones are
/// not read again.
async fn rest_of(targets: &Targets, rollout: RolloutId) -> Result<Option<Found>, OpenError> {
    let state = stream::load::<Rollout>(&targets.log, rollout.into()).await?.state;
    let RolloutState::Finished(rolling, _) = state else { return Ok(None) };
    let rest = rolling.outcome().map(|(.., tally)| tally.failed + tally.not_started);
    Ok(rest.filter(|rest| *rest > 0).map(|_| Found::NotApplied))
}

async fn look(
    targets: &Targets,
    change: ChangeId,
    run: RunId,
    request: &Request,
) -> Result<Option<Found>, OpenError> {
    let RunState::Finished(finished) = stream::load::<Run>(&targets.log, run.into()).await?.state
    else {
        return rest_of(targets, run.into()).await;
    };
    let mut steps = finished.run.plan.steps.iter().zip(&finished.run.steps);
    let Some((step, StepPhase::Unknown { intent, .. } | StepPhase::Reconciled { intent, .. })) =
        steps.find(|(_, phase)| !matches!(phase, StepPhase::Verified(_)))
    else {
        return Ok(None);
    };
    if step.effect_class == EffectClass::Unprotected {
        return Ok(None);
    }
    let action = targets.action(&step.action)?;
    let opened = targets.open(step.connection, Purpose::Execute, Some(change), request).await?;
    let left = match step.undoes {
        None => None,
        Some(undoes) => {
            let Some((change, left)) = verified_at(&targets.log, undoes).await? else {
                return Ok(None);
            };
            let before = captured(targets, change, &left.effect.intent).await?;
            Some((left, before))
        }
    };
    let undoes = left.as_ref().map(|(left, before)| earlier(left, Some(before)));
    let Step { target, parameters, .. } = step;
    let now = action.read(&*opened.session, target, parameters, undoes.as_ref()).await?.fingerprint;
    let (done, undone) = match left {
        None => {
            let before = captured(targets, change, intent).await?;
            let verified = action
                .verify(&*opened.session, &step.target, &step.parameters, &before, None)
                .await?;
            (verified.satisfied, now == before.fingerprint)
        }
        Some((left, _)) => (now == left.effect.intent.before.fingerprint, now == left.fingerprint),
    };
    Ok(match (done, undone) {
        (true, false) => Some(Found::Applied),
        (false, true) => Some(Found::NotApplied),
        (true, true) | (false, false) => None,
    })
}

/// The snapshot that was stored with the intent.
async fn captured(
    targets: &Targets,
    change: ChangeId,
    intent: &Intent,
) -> Result<Snapshot, OpenError> {
    let sealed = match intent.before.sealed {
        Some(id) => targets.vault.open(&change_owner(change), id).await?.expose().to_vec(),
        None => Vec::new(),
    };
    Ok(Snapshot {
        fields: intent.before.fields.clone(),
        fingerprint: intent.before.fingerprint.clone(),
        sealed: SecretBytes::new(sealed),
    })
}
