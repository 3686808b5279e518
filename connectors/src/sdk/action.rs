//! What one writes to add an action: one struct, one file, one registration line.

use std::future::Future;

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field, TargetRef};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connector::Connector;
use super::erased::{Produced, StepContext};
use super::error::ConnectorError;
use super::secret::DigestKey;

/// The session of the connector that an action belongs to.
pub type SessionOf<A> = <<A as Action>::Connector as Connector>::Session;

/// What an action says of itself; the schema comes from its struct, reversibility from its traits.
#[derive(Clone, Copy, Debug)]
pub struct ActionMeta {
    /// Without the connector: `lock_user`.
    pub id: &'static str,
    pub title: &'static str,
    /// What it does and what it leaves alone, in a few sentences.
    pub description: &'static str,
    pub effect_class: EffectClass,
    /// 1–9, before environment and blast radius.
    pub base_risk: u8,
    pub target_types: &'static [&'static str],
    /// What the connection's account must be allowed to do, in the target's own words.
    pub permissions: &'static [&'static str],
    /// Names of the secrets it makes.
    pub produces: &'static [&'static str],
}

/// One thing that a connector can do. The struct is the typed request: `deny_unknown_fields`, a doc
/// comment per field. It never names the target, which is an asset.
///
/// [`Action::snapshot`] is the only way in which an action reads its target: planning, drift
/// detection, verification ([`Action::observe`]) and the check after a rollback all see the same fields.
pub trait Action: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    type Connector: Connector;
    /// What is read and written of the target.
    type State: TargetState;
    /// What is made up before the effect and must survive a crash, such as a new password.
    type Prepared: Serialize + DeserializeOwned + Send + Sync;
    /// What the effect answers. Public: no secrets.
    type Outcome: Serialize + DeserializeOwned + Send + Sync;

    const META: ActionMeta;

    /// Parameters that are valid.
    fn example() -> Value;

    /// Reads the target. A target that is not there is a state, not an error.
    fn snapshot(
        &self,
        session: &SessionOf<Self>,
        target: &TargetRef,
    ) -> impl Future<Output = Result<Self::State, ConnectorError>> + Send;

    /// One line per question that must be answered yes before the step may run.
    fn precheck(
        &self,
        session: &SessionOf<Self>,
        target: &TargetRef,
        state: &Self::State,
    ) -> impl Future<Output = Result<Vec<Check>, ConnectorError>> + Send;

    /// Makes up what the effect needs. Called once per snapshot, stored with it before the effect.
    fn prepare(&self, target: &TargetRef) -> Result<Self::Prepared, ConnectorError>;

    /// What will happen, in words and lines. Pure.
    fn describe(&self, target: &TargetRef, state: &Self::State) -> Description;

    /// Does it. Calling twice with one `before` is the same as once. Refuses when the target is
    /// neither as `before` says nor as the effect leaves it.
    fn execute(
        &self,
        session: &SessionOf<Self>,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> impl Future<Output = Result<Effect<Self::Outcome>, ConnectorError>> + Send;

    /// Reads the target for [`Action::verify`]. The same as [`Action::snapshot`], unless the effect can be seen
    /// only by whoever knows what was prepared, such as a password that nobody can read back.
    fn observe(
        &self,
        session: &SessionOf<Self>,
        target: &TargetRef,
        _before: &Before<Self>,
    ) -> impl Future<Output = Result<Self::State, ConnectorError>> + Send {
        self.snapshot(session, target)
    }

    /// Reads the target to see whether it is as before again. The same as [`Action::snapshot`], unless a fresh look
    /// covers what has nothing to do with `before`, such as what else has become possible since.
    fn look_back(
        &self,
        session: &SessionOf<Self>,
        target: &TargetRef,
        _before: &Before<Self>,
    ) -> impl Future<Output = Result<Self::State, ConnectorError>> + Send {
        self.snapshot(session, target)
    }

    /// Whether `now`, freshly read, is what the effect leaves. There is no default, and `outcome` is
    /// absent after a crash.
    fn verify(
        &self,
        now: &Self::State,
        before: &Before<Self>,
        outcome: Option<&Self::Outcome>,
    ) -> bool;

    /// The secrets that the effect of `before` makes, under the names in [`ActionMeta::produces`].
    fn produced(&self, _before: &Before<Self>) -> Vec<Produced> {
        Vec::new()
    }

    /// The same where the target makes the secret up: read from the `outcome` right after the effect, or
    /// from the target as it is `now` when it was verified. One of the two is there. It must be possible
    /// without the outcome, or a crash would lose the secret.
    fn handed_over(
        &self,
        before: &Before<Self>,
        _now: Option<&Self::State>,
        _outcome: Option<&Self::Outcome>,
    ) -> Vec<Produced> {
        self.produced(before)
    }
}

/// An action that can restore exactly what was there.
pub trait Reversible: Action {
    /// Puts the before-state back; answers whether anything had to change. Refuses when the target
    /// is neither as the effect left it nor as before.
    fn rollback(
        &self,
        session: &SessionOf<Self>,
        cx: &StepContext,
        before: &Before<Self>,
        outcome: Option<&Self::Outcome>,
    ) -> impl Future<Output = Result<bool, ConnectorError>> + Send;
}

/// The state of a target, as far as an action reads or writes it.
pub trait TargetState: Serialize + DeserializeOwned + Send + Sync {
    /// For people. Secrets appear as [`Field::redacted`].
    fn fields(&self) -> Vec<Field>;

    /// Exactly what is read and written, as JSON without floating-point numbers, secrets as
    /// [`DigestKey::digest`]. Not in it: what moves by itself (sessions, counters) and what cannot
    /// be restored (object ids).
    fn fingerprinted(&self, key: &DigestKey) -> Value;
}

/// The before-state of one step: stored sealed, given back for `execute`, `verify`, `rollback`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Before<A: Action> {
    pub state: A::State,
    pub prepared: A::Prepared,
}

/// What will happen.
#[derive(Clone, Debug)]
pub struct Description {
    pub diff: Vec<DiffLine>,
    /// One sentence: what will happen.
    pub summary: String,
    /// One sentence: how it is undone, or why it cannot be.
    pub rollback: String,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Effect<O> {
    /// False when the target was as wanted already.
    pub changed: bool,
    pub outcome: O,
}

/// A check with its answer.
pub fn check(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Check {
    Check { name: name.into(), ok, detail: detail.into() }
}

/// One line of a diff of `target`.
pub fn line(
    target: &TargetRef,
    field: impl Into<String>,
    before: impl Into<Value>,
    after: impl Into<Value>,
) -> DiffLine {
    DiffLine {
        target: target.name.clone(),
        field: field.into(),
        before: before.into(),
        after: after.into(),
    }
}
