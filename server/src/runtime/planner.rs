//! Plans: reads the targets, changes nothing.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use nexplane_connectors::sdk::{
    Advice, AnyAction, ConnectorError, Inspection, SecretBytes, Snapshot,
};
use nexplane_core::api::FieldError;
use nexplane_core::catalog::Reversibility;
use nexplane_core::change::{ChangeState, Execution, Subject};
use nexplane_core::connection::Purpose;
use nexplane_core::id::{ChangeId, RolloutId, RunId};
use nexplane_core::manifest::ManifestRejection;
use nexplane_core::plan::{Check, DiffLine, Field, Plan, PlanHeader, Step, TargetRef, Undoes};
use nexplane_core::run::{Run, RunState, Verified};
use serde_json::Value;

use super::earlier::{earlier, verified_at};
use super::parts::{self, Found, Reads};
use super::targets::{OpenError, Opened, Targets};
use crate::policy;
use crate::stream::{self, Request, StreamError};

/// Targets that are looked up at the same time.
const AT_ONCE: usize = 16;

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
    #[error("the steps cannot be written")]
    Write(#[from] StreamError<ManifestRejection>),
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
        for (index, located) in self.targets.locate(&draft.targets).await?.into_iter().enumerate() {
            let located = located.ok_or_else(|| {
                let why = "this asset is not in the inventory now; run discovery".to_owned();
                PlanError::Target(index, why)
            })?;
            located.fits(draft, action.spec()).map_err(|why| PlanError::Target(index, why))?;
            targets.push((located.connection, located.target));
        }

        let step = |no, connection, target: TargetRef, found: Inspection| Step {
            no,
            action: draft.change_type.clone(),
            connection,
            target,
            parameters: draft.parameters.clone(),
            effect_class: action.spec().effect_class,
            reversibility: action.spec().reversibility.clone(),
            before_fingerprint: found.before.fingerprint,
            summary: found.summary,
            rollback: found.rollback,
            diff: found.diff,
            undoes: None,
        };
        let header = header(change, subject, policy_version);
        if draft.rollout.is_some() {
            let inspect = Inspect { action, parameters: &draft.parameters };
            let (found, faults) =
                parts::read_each(&self.targets, change, targets, request, &inspect).await?;
            let mut checks: Vec<_> = faults.into_iter().map(Check::from).collect();
            let mut steps = Vec::with_capacity(found.len());
            for (_, (connection, target), mut found) in found {
                checks.extend(found.checks.drain(..).map(|check| named(&target, check)));
                steps.push(step(0, connection, target, found));
            }
            return parts::plan(&self.targets, header, steps, checks, None).await;
        }
        let opened =
            self.targets.open(draft.connection, Purpose::Plan, Some(change), request).await?;
        let mut steps = Vec::with_capacity(targets.len());
        let mut checks = Vec::new();
        for (no, (connection, target)) in (0..).zip(targets) {
            let mut found = action.inspect(&*opened.session, &target, &draft.parameters).await?;
            checks.extend(found.checks.drain(..).map(|check| named(&target, check)));
            steps.push(step(no, connection, target, found));
        }
        Ok(Plan::of_a_run(header, steps, checks, stream::now()))
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
        let action = self.targets.action(&subject.draft.change_type)?;
        let done = self.verified_steps(&finish.execution).await?;
        if done.is_empty() {
            return Err(PlanError::NothingToUndo);
        }
        let is_in_parts = finish.execution.plan.parts.is_some();
        let header = header(change, subject, policy_version);
        let done: Vec<_> = done.into_iter().rev().collect();
        let located = done.iter().map(|(_, step, _)| (step.connection, step.target.clone()));
        let read = Reread { action, done: &done };
        let (found, faults) =
            parts::read_each(&self.targets, change, located.collect(), request, &read).await?;
        // Of many targets those that can be read do not wait for the others.
        if let Some(fault) = faults.first()
            && (!is_in_parts || found.is_empty())
        {
            let error = ConnectorError::new(fault.kind, Advice::Later, &fault.detail);
            return Err(error.into());
        }
        if is_in_parts {
            let (steps, unread) = (steps_back(&done, found), parts::named(&faults));
            let checks = steps.iter().map(|step| captured(&step.target.name)).collect();
            return parts::plan(&self.targets, header, steps, checks, unread).await;
        }
        let mut checks = Vec::with_capacity(found.len());
        let mut steps = Vec::with_capacity(found.len());
        for (no, (index, _, now)) in (0..).zip(found) {
            let Some((run, step, verified)) = done.get(index) else { continue };
            checks.push(captured(&step.target.name));
            steps.push(step_back(no, *run, step, verified, now));
        }
        Ok(Plan::of_a_run(header, steps, checks, stream::now()))
    }

    /// The steps of an execution whose effect is known and was read back, in their order, each with its run.
    async fn verified_steps(
        &self,
        execution: &Execution,
    ) -> Result<Vec<(RunId, Step, Verified)>, PlanError> {
        let Some(parts) = &execution.plan.parts else {
            let run = execution.run;
            return verified_of(&self.targets, run).await?.ok_or(PlanError::NothingToUndo);
        };
        let rollout = RolloutId::from(execution.run);
        let mut runs = futures_util::stream::iter(0..parts.count)
            .map(|no| verified_of(&self.targets, RunId::of_part(rollout, no)))
            .buffered(AT_ONCE);
        let mut steps = Vec::new();
        while let Some(part) = runs.next().await {
            // One that was not started has nothing to undo.
            steps.extend(part?.unwrap_or_default());
        }
        Ok(steps)
    }

    /// The names of the targets that are no longer as the plan says; empty when all still are. Those of a
    /// rollout are not read: each is compared right before its own effect.
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
            let undoes = match step.undoes {
                Some(undoes) => verified_at(&self.targets.log, undoes).await?,
                None => None,
            };
            let undoes = undoes.as_ref().map(|(_, verified)| earlier(verified, None));
            let Step { target, parameters, .. } = step;
            let now = action.read(&*opened.session, target, parameters, undoes.as_ref()).await?;
            if now.fingerprint != step.before_fingerprint {
                moved.push(step.target.name.clone());
            }
        }
        Ok(moved)
    }
}

/// What a check is about, in front of what it found.
fn named(target: &TargetRef, check: Check) -> Check {
    Check { detail: format!("{}: {}", target.name, check.detail), ..check }
}

/// What an action finds before it is planned.
struct Inspect<'a> {
    action: &'a dyn AnyAction,
    parameters: &'a Value,
}

impl Reads for Inspect<'_> {
    type Reading = Inspection;

    async fn read(
        &self,
        opened: &Opened,
        _: usize,
        target: &TargetRef,
    ) -> Result<Inspection, ConnectorError> {
        self.action.inspect(&*opened.session, target, self.parameters).await
    }
}

/// What targets of steps that were done are now.
struct Reread<'a> {
    action: &'a dyn AnyAction,
    done: &'a [(RunId, Step, Verified)],
}

impl Reads for Reread<'_> {
    type Reading = Snapshot;

    async fn read(
        &self,
        opened: &Opened,
        index: usize,
        target: &TargetRef,
    ) -> Result<Snapshot, ConnectorError> {
        let done = self.done.get(index);
        let parameters = done.map_or(&Value::Null, |(_, step, _)| &step.parameters);
        let undoes = done.map(|(.., verified)| earlier(verified, None));
        self.action.read(&*opened.session, target, parameters, undoes.as_ref()).await
    }
}

fn captured(name: &str) -> Check {
    Check {
        name: "captured state".to_owned(),
        ok: true,
        detail: format!("{name}: the state before the change was captured"),
    }
}

/// The steps back of many targets. Those that can be undone as things are come first: they are the canary, and
/// all of them have had their turn before the others are looked at again.
fn steps_back(done: &[(RunId, Step, Verified)], found: Vec<Found<Snapshot>>) -> Vec<Step> {
    let mut found: BTreeMap<_, _> = found.into_iter().map(|(index, _, now)| (index, now)).collect();
    let (mut first, mut last) = (Vec::with_capacity(done.len()), Vec::new());
    for (index, (run, step, verified)) in done.iter().enumerate() {
        match found.remove(&index) {
            Some(now) if is_settled(verified, &now) => {
                first.push(step_back(0, *run, step, verified, now));
            }
            Some(now) => last.push(step_back_moved(*run, step, verified, now)),
            None => last.push(step_back_unread(*run, step, verified)),
        }
    }
    first.append(&mut last);
    first
}

/// Whether a target is as the step left it, or as it was before.
fn is_settled(verified: &Verified, now: &Snapshot) -> bool {
    let before = &verified.effect.intent.before;
    now.fingerprint == verified.fingerprint || now.fingerprint == before.fingerprint
}

/// Of one that somebody moved since: it keeps no other from being undone.
fn step_back_moved(run: RunId, step: &Step, verified: &Verified, now: Snapshot) -> Step {
    let name = &step.target.name;
    let summary = format!(
        "{name} was moved since the change; unless that is put right before its turn, nothing is undone there"
    );
    Step { summary, ..step_back(0, run, step, verified, now) }
}

/// The same of a target that cannot be read: nothing is sent to it unless it is then as this step left it.
fn step_back_unread(run: RunId, step: &Step, verified: &Verified) -> Step {
    let left = Snapshot {
        fields: verified.observed.clone(),
        fingerprint: verified.fingerprint.clone(),
        sealed: SecretBytes::new(Vec::new()),
    };
    let name = &step.target.name;
    let summary = format!(
        "{name} cannot be read now; if it can be then, and is still as the change left it, put it back to the \
         state captured before the change"
    );
    Step { summary, ..step_back(0, run, step, verified, left) }
}

/// A step that puts a target back to what was captured before this one.
fn step_back(no: u32, run: RunId, step: &Step, verified: &Verified, now: Snapshot) -> Step {
    let before = &verified.effect.intent.before;
    let name = &step.target.name;
    let summary = if is_settled(verified, &now) {
        format!("put {name} back to the state captured before the change")
    } else {
        format!(
            "{name} is no longer as the change left it; unless that is put right, the rollback will stop there"
        )
    };
    Step {
        no,
        before_fingerprint: now.fingerprint,
        summary,
        rollback: "to go forward again, make a new change".to_owned(),
        reversibility: Reversibility::CompensateOnly {
            why: "a rollback is not rolled back; to go forward again, make a new change".to_owned(),
        },
        diff: difference(name, &now.fields, &before.fields),
        undoes: Some(Undoes { run, step: step.no }),
        ..step.clone()
    }
}

/// The steps of a run whose effect is known and was read back, in their order; none when it has not
/// ended.
async fn verified_of(
    targets: &Targets,
    id: RunId,
) -> Result<Option<Vec<(RunId, Step, Verified)>>, PlanError> {
    let state = stream::load::<Run>(&targets.log, id.into()).await?.state;
    let RunState::Finished(finished) = state else { return Ok(None) };
    let run = finished.run;
    let steps = run.plan.steps.into_iter().zip(&run.steps);
    let steps = steps.filter_map(|(step, phase)| Some((id, step, phase.verified()?.clone())));
    Ok(Some(steps.collect()))
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
        rollout: subject.draft.rollout,
        auto_rollback: subject.draft.auto_rollback,
        limit_s: None,
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
