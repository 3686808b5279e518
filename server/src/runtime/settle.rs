//! What became of an intent without an answer.
//!
//! No new intent is made here. A target that remembers keys is asked again with the same one, which may
//! be the first time that it hears of it: that waits for the end of a freeze, and so does the run.

use std::time::Duration;

use nexplane_connectors::sdk::{AnyAction, Produced as Secret, Snapshot};
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::Field;
use nexplane_core::run::event::Finding;
use nexplane_core::run::{Intent, RunCommand, Running};

use super::engine::Left;
use super::step::{At, Undone, Why};
use super::targets::Opened;

impl At<'_> {
    /// Settles an intent without an answer by reading the target; for targets that remember
    /// idempotency keys, by asking again with the same one.
    pub(super) async fn settle(&self, intent: &Intent) -> Result<Option<Running>, Left> {
        match self.step.effect_class {
            EffectClass::Unprotected => return Ok(None),
            EffectClass::Keyed | EffectClass::Fenced | EffectClass::Verifiable => {}
        }
        let undone = self.undone().await?;
        let before = self.before_of(intent, undone.as_ref()).await?;
        self.hold.pause(self.hold.options.settle).await?;
        // Asking again may be the first time that the target hears of it.
        if self.step.effect_class == EffectClass::Keyed {
            self.hold.wait_for_thaw().await?;
        }

        let mut waited = Duration::ZERO;
        let mut wait = Duration::from_millis(500);
        let found = loop {
            match self.look(intent, &before, undone.as_ref()).await {
                Ok(found) => break found,
                Err(why) if why.is_ours => return Err(Left::Away),
                Err(_) if waited < self.hold.options.patience => {
                    self.hold.pause(wait).await?;
                    waited += wait;
                    wait = (wait * 2).min(Duration::from_secs(10));
                }
                // It stays unknown: a person has to settle it.
                Err(_) => return Ok(None),
            }
        };
        let produced = self.keep(found.secrets).await?;
        self.hold.time_left()?;
        let command = RunCommand::Reconcile {
            step: self.step.no,
            epoch: self.hold.epoch,
            finding: found.finding,
            evidence: found.evidence,
            observed: found.observed,
            produced,
        };
        self.hold.tell(command).await.map(Some)
    }

    async fn look(
        &self,
        intent: &Intent,
        before: &Snapshot,
        undone: Option<&Undone>,
    ) -> Result<Found, Why> {
        let (action, opened) = self.open().await?;
        if self.step.effect_class == EffectClass::Keyed {
            return self.ask_again(action, &opened, intent, before, undone).await;
        }
        let now = self.read(action, &opened, undone).await?;
        if now.fingerprint == before.fingerprint && undone.is_none() {
            return Ok(Found::nothing(
                "The target is as it was before: nothing was done.",
                now.fields,
            ));
        }
        match undone {
            None => {
                let verification = action
                    .verify(
                        &*opened.session,
                        &self.step.target,
                        &self.step.parameters,
                        before,
                        None,
                    )
                    .await?;
                Ok(if verification.satisfied {
                    Found {
                        finding: Finding::Applied,
                        evidence: "The target was read and has the intended state.".to_owned(),
                        observed: verification.observed,
                        secrets: verification.produced,
                    }
                } else {
                    Found::conflict(verification.observed)
                })
            }
            Some(undone) if now.fingerprint == undone.before.fingerprint => Ok(Found {
                finding: Finding::Applied,
                evidence: "The target was read and has the state before the change.".to_owned(),
                observed: now.fields,
                secrets: Vec::new(),
            }),
            Some(undone) if now.fingerprint == undone.verified.fingerprint => Ok(Found::nothing(
                "The target is still as the change left it: nothing was undone.",
                now.fields,
            )),
            Some(_) => Ok(Found::conflict(now.fields)),
        }
    }

    /// The same key again is the same effect: the target answers what it answered the first time.
    async fn ask_again(
        &self,
        action: &dyn AnyAction,
        opened: &Opened,
        intent: &Intent,
        before: &Snapshot,
        undone: Option<&Undone>,
    ) -> Result<Found, Why> {
        let deadline = self
            .hold
            .time_left()
            .map_err(|_| Why::new("lease", "the lease may have run out".to_owned()))?
            .min(self.hold.options.effect);
        let (key, precondition) = (intent.key.clone(), intent.before.fingerprint.clone());
        let cx = self.context(key, precondition, deadline, undone);
        let answer = match undone {
            None => action.execute(&*opened.session, &cx, before).await.map(|done| done.produced),
            Some(undone) => action
                .rollback(
                    &*opened.session,
                    &cx,
                    &undone.before,
                    undone.verified.effect.outcome.as_ref(),
                )
                .await
                .map(|_| Vec::new()),
        };
        match answer {
            Ok(secrets) => Ok(Found {
                finding: Finding::Applied,
                evidence: "Asked again with the same key, the target answered that it is done."
                    .to_owned(),
                observed: Vec::new(),
                secrets,
            }),
            Err(error) if error.is_outcome_unknown() => Err(error.into()),
            Err(error) => Ok(Found {
                finding: Finding::Conflict,
                evidence: format!(
                    "Asked again with the same key, the target answered: {}",
                    error.message
                ),
                observed: Vec::new(),
                secrets: Vec::new(),
            }),
        }
    }
}

/// What was found at a target whose outcome was unknown.
struct Found {
    finding: Finding,
    evidence: String,
    observed: Vec<Field>,
    secrets: Vec<Secret>,
}

impl Found {
    fn nothing(evidence: &str, observed: Vec<Field>) -> Self {
        let evidence = evidence.to_owned();
        Self { finding: Finding::NotApplied, evidence, observed, secrets: Vec::new() }
    }

    fn conflict(observed: Vec<Field>) -> Self {
        let evidence = "The target is neither as it was before nor as intended.".to_owned();
        Self { finding: Finding::Conflict, evidence, observed, secrets: Vec::new() }
    }
}
