//! Plans: reads the targets, changes nothing.

use nexplane_connectors::sdk::ConnectorError;
use nexplane_core::api::FieldError;
use nexplane_core::catalog::Reversibility;
use nexplane_core::change::{ChangeState, Subject};
use nexplane_core::connection::Purpose;
use nexplane_core::id::{ChangeId, RunId};
use nexplane_core::plan::{Check, DiffLine, Field, Plan, PlanHeader, Step, TargetRef, Undoes};
use nexplane_core::run::{Run, RunState, StepPhase, Verified};
use serde_json::Value;

use super::targets::{OpenError, Opened, Targets};
use crate::policy;
use crate::stream::{self, Request};

/// Makes plans.
#[derive(Clone, Debug)]
pub struct Planner {
    targets: Targets,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the parameters do not fit")]
    Parameters(Vec<FieldError>),
    /// `/targets/<n>` and what is wrong with it.
    #[error("a target does not fit")]
    Target(usize, String),
    #[error("the change to be undone has no finished execution")]
    NothingToUndo,
}

impl From<ConnectorError> for PlanError {
    fn from(error: ConnectorError) -> Self {
        Self::Open(error.into())
    }
}

impl From<stream::LoadError> for PlanError {
    fn from(error: stream::LoadError) -> Self {
        Self::Open(error.into())
    }
}

impl Planner {
    pub const fn new(targets: Targets) -> Self {
        Self { targets }
    }

    /// Plans a draft against its targets as they are now.
    pub async fn plan(
        &self,
        change: ChangeId,
        subject: &Subject,
        request: &Request,
    ) -> Result<Plan, PlanError> {
        // Before the target is read: a version that is published meanwhile asks for another plan.
        let policy_version = policy::current(&self.targets.log).await?.state.version;
        let draft = &subject.draft;
        let action = self.targets.action(&draft.change_type)?;
        action.validate(&draft.parameters).map_err(|errors| {
            PlanError::Parameters(
                errors
                    .into_iter()
                    .map(|e| FieldError::new(format!("/parameters{}", e.pointer), e.reason))
                    .collect(),
            )
        })?;
        let mut targets = Vec::with_capacity(draft.targets.len());
        for (index, asset) in draft.targets.iter().enumerate() {
            let (target, located) = match self.targets.target(*asset).await {
                Ok(found) => found,
                Err(OpenError::NoAsset(_)) => {
                    let why = "this asset is not in the inventory now; run discovery".to_owned();
                    return Err(PlanError::Target(index, why));
                }
                Err(error) => return Err(error.into()),
            };
            if located.connection != draft.connection {
                let why = format!("'{}' belongs to another connection", target.name);
                return Err(PlanError::Target(index, why));
            }
            if !action.spec().target_types.contains(&target.kind) {
                let wanted = action.spec().target_types.join(" or ");
                let why =
                    format!("'{}' is a {}, the action needs a {wanted}", target.name, target.kind);
                return Err(PlanError::Target(index, why));
            }
            targets.push(target);
        }

        let opened =
            self.targets.open(draft.connection, Purpose::Plan, Some(change), request).await?;
        let mut steps = Vec::with_capacity(targets.len());
        let mut checks = Vec::new();
        for (no, target) in (0..).zip(targets) {
            let inspection = action.inspect(&*opened.session, &target, &draft.parameters).await?;
            checks.extend(inspection.checks.into_iter().map(|check| Check {
                detail: format!("{}: {}", target.name, check.detail),
                ..check
            }));
            steps.push(Step {
                no,
                action: draft.change_type.clone(),
                connection: draft.connection,
                target,
                parameters: draft.parameters.clone(),
                effect_class: action.spec().effect_class,
                reversibility: action.spec().reversibility.clone(),
                before_fingerprint: inspection.before.fingerprint,
                summary: inspection.summary,
                rollback: inspection.rollback,
                diff: inspection.diff,
                undoes: None,
            });
        }
        Ok(Plan::new(header(change, subject, policy_version), steps, checks, stream::now()))
    }

    /// Plans the undoing of what a run did: its verified steps, newest first, back to the state
    /// that was captured before each.
    pub async fn plan_rollback(
        &self,
        change: ChangeId,
        subject: &Subject,
        undone: &ChangeState,
        request: &Request,
    ) -> Result<Plan, PlanError> {
        let ChangeState::Finished(finish) = undone else {
            return Err(PlanError::NothingToUndo);
        };
        let policy_version = policy::current(&self.targets.log).await?.state.version;
        let run_id = finish.execution.run;
        let action = self.targets.action(&subject.draft.change_type)?;
        let done = verified_steps(&self.targets, run_id).await?;
        if done.is_empty() {
            return Err(PlanError::NothingToUndo);
        }
        let opened = self
            .targets
            .open(subject.draft.connection, Purpose::Plan, Some(change), request)
            .await?;
        let mut steps = Vec::with_capacity(done.len());
        let mut checks = Vec::new();
        for (no, (step, verified)) in (0..).zip(done.into_iter().rev()) {
            let now = read(action, &opened, &step.target, &step.parameters).await?;
            let before = &verified.effect.intent.before;
            let moved =
                now.fingerprint != verified.fingerprint && now.fingerprint != before.fingerprint;
            let summary = if moved {
                format!(
                    "{} is no longer as the change left it; unless that is put right, the rollback will stop there",
                    step.target.name
                )
            } else {
                format!("put {} back to the state captured before the change", step.target.name)
            };
            checks.push(Check {
                name: "captured state".to_owned(),
                ok: true,
                detail: format!("{}: the state before the change was captured", step.target.name),
            });
            let name = step.target.name.clone();
            steps.push(Step {
                no,
                before_fingerprint: now.fingerprint,
                summary,
                rollback: "to go forward again, make a new change".to_owned(),
                reversibility: Reversibility::CompensateOnly {
                    why: "a rollback is not rolled back; to go forward again, make a new change"
                        .to_owned(),
                },
                diff: difference(&name, &now.fields, &before.fields),
                undoes: Some(Undoes { run: run_id, step: step.no }),
                ..step
            });
        }
        Ok(Plan::new(header(change, subject, policy_version), steps, checks, stream::now()))
    }

    /// The names of the targets that are no longer as the plan says; empty when all still are.
    pub async fn moved(
        &self,
        change: ChangeId,
        plan: &Plan,
        request: &Request,
    ) -> Result<Vec<String>, PlanError> {
        let Some(first) = plan.steps.first() else { return Ok(Vec::new()) };
        let action = self.targets.action(&first.action)?;
        let opened =
            self.targets.open(first.connection, Purpose::Plan, Some(change), request).await?;
        let mut moved = Vec::new();
        for step in &plan.steps {
            let now = read(action, &opened, &step.target, &step.parameters).await?;
            if now.fingerprint != step.before_fingerprint {
                moved.push(step.target.name.clone());
            }
        }
        Ok(moved)
    }
}

async fn read(
    action: &dyn nexplane_connectors::sdk::AnyAction,
    opened: &Opened,
    target: &TargetRef,
    parameters: &Value,
) -> Result<nexplane_connectors::sdk::Snapshot, ConnectorError> {
    action.read(&*opened.session, target, parameters).await
}

/// The steps of a run whose effect is known and was read back, in their order.
async fn verified_steps(targets: &Targets, run: RunId) -> Result<Vec<(Step, Verified)>, PlanError> {
    let state = stream::load::<Run>(&targets.log, run.into()).await?.state;
    let RunState::Finished(finished) = state else { return Err(PlanError::NothingToUndo) };
    let run = finished.run;
    Ok(run
        .plan
        .steps
        .into_iter()
        .zip(run.steps)
        .filter_map(|(step, phase)| match phase {
            StepPhase::Verified(verified) => Some((step, verified)),
            StepPhase::Planned
            | StepPhase::Intended(_)
            | StepPhase::Succeeded(_)
            | StepPhase::Unverified { .. }
            | StepPhase::Failed { .. }
            | StepPhase::Unknown { .. }
            | StepPhase::Reconciled { .. }
            | StepPhase::Blocked { .. } => None,
        })
        .collect())
}

fn header(change: ChangeId, subject: &Subject, policy_version: u32) -> PlanHeader {
    PlanHeader {
        change,
        change_type: subject.draft.change_type.clone(),
        connection: subject.draft.connection,
        targets: subject.draft.targets.clone(),
        parameters: subject.draft.parameters.clone(),
        policy_version,
        author: subject.author,
        editors: subject.editors.iter().copied().collect(),
        rollback_of: subject.rollback_of,
        auto_rollback: subject.draft.auto_rollback,
    }
}

/// What differs between two readings of the same fields.
fn difference(target: &str, now: &[Field], then: &[Field]) -> Vec<DiffLine> {
    let value = |fields: &[Field], name: &str| {
        fields.iter().find(|f| f.name == name).map_or(Value::Null, |f| f.value.clone())
    };
    let mut names: Vec<&str> = now.iter().chain(then).map(|f| f.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| DiffLine {
            target: target.to_owned(),
            field: name.to_owned(),
            before: value(now, name),
            after: value(then, name),
        })
        .filter(|line| line.before != line.after)
        .collect()
}
