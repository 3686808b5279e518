//! What an agent can do, and nothing else.
//!
//! An operation is a struct, one file, and one line in [`OPERATIONS`]. The struct *is* the typed
//! request: its doc comments and schema attributes become the form, the documentation and the
//! catalog. An operation speaks of a machine only through [`Host`].
//!
//! An operation knows three states of its target: as it is now ([`Operation::snapshot`]), as it
//! will be ([`Operation::intended`]), and as it was ([`Operation::revert`]). Everything else
//! (diff, fingerprint, what to do after a crash) follows from comparing them.

pub mod collect_facts;
pub mod hardening;
mod line;
pub mod local_account;
pub mod package;
mod package_change;
mod package_check;
mod package_state;
pub mod rotate_local_password;
pub mod service;
pub mod set_file_content;
pub mod set_file_permission;
pub mod set_sysctl;
pub mod update_agent;

use std::collections::BTreeSet;
use std::fmt::Debug;

use nexplane_core::catalog::{ActionSpec, EffectClass, Reversibility};
use nexplane_core::id::JobId;
use nexplane_core::job::Prepared;
use nexplane_core::plan::{Check, DiffLine, Field, Fingerprint, Step, fingerprint};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::host::{Host, HostError, HostPath};

/// Asset type that every operation acts on.
pub const TARGET_TYPE: &str = "host";

/// What an operation says of itself, besides its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Action id: `host.<operation>`.
    pub id: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub effect_class: EffectClass,
    /// 1–9, before environment and blast radius.
    pub base_risk: u8,
    /// What the agent's account must be allowed to do.
    pub permissions: &'static [&'static str],
}

/// One thing that can be done to a machine, and undone.
///
/// Promises, held by the conformance suite for every entry of [`OPERATIONS`]: parameters with an
/// unknown field are refused; `verify` is not satisfied before `apply`; applying twice is applying
/// once; `revert` restores exactly what `snapshot` captured; reverting twice is reverting once.
pub trait Operation:
    Serialize + DeserializeOwned + JsonSchema + Debug + Send + Sync + 'static
{
    const META: Meta;

    /// Names of the secrets that it makes. They are made up by the control plane and handed over by it; what
    /// the host needs of them comes with the order.
    const PRODUCES: &'static [&'static str] = &[];

    /// Everything that the operation reads and writes, enough to restore it.
    type State: Serialize + DeserializeOwned + PartialEq;

    /// Parameters that are valid on a host like the conformance suite's.
    fn example() -> Self;

    /// Takes what an order brings beside the parameters.
    ///
    /// # Errors
    /// A sentence, when it takes no such thing or that is not well formed.
    fn take(&mut self, _prepared: &Prepared) -> Result<(), String> {
        Err("it takes nothing that is prepared".to_owned())
    }

    /// Takes the approved step, for what can be known of the goal only from the plan.
    ///
    /// # Errors
    /// A sentence, when the plan does not say it.
    fn take_step(&mut self, _step: &Step) -> Result<(), String> {
        Ok(())
    }

    /// The files it reads or writes, for the host owner's policy.
    fn paths(&self) -> Vec<&HostPath>;

    /// Whether it may cut the agent's own line to the control plane. Then it stands only when the control
    /// plane was reached after it. An operation that does not say is taken to be one that may.
    fn may_cut_line(&self) -> bool {
        true
    }

    /// Whether the process that carries it out ends with it, so that the next one says what came of it.
    fn replaces_agent(&self) -> bool {
        false
    }

    /// One sentence: what will happen on the target of that name.
    fn summary(&self, target: &str) -> String;

    /// One sentence: how it is undone.
    fn rollback(&self) -> String;

    /// Questions asked of the host, with answers. Changes nothing.
    fn validate(&self, host: &dyn Host) -> Vec<Check>;

    /// The state now. Changes nothing.
    fn snapshot(&self, host: &dyn Host) -> Result<Self::State, HostError>;

    /// The state that [`Operation::apply`] leaves when it starts from `before`. Changes nothing.
    fn intended(&self, host: &dyn Host, before: &Self::State) -> Result<Self::State, HostError>;

    /// The state's named values, without secrets. Its fingerprint covers exactly these.
    fn fields(state: &Self::State) -> Vec<Field>;

    /// What differs between two states, for people.
    fn diff(target: &str, before: &Self::State, after: &Self::State) -> Vec<DiffLine> {
        field_diff(target, &Self::fields(before), &Self::fields(after))
    }

    /// Fetches and keeps what the effect needs from beyond the host, and what the way back from it needs:
    /// once it has begun, neither depends on anything else. `back_to` is the earlier state that is gone back
    /// to, if it is that. What is kept belongs to the job, and goes with its before-state. Changes nothing
    /// that a state covers.
    fn provide(
        &self,
        _host: &dyn Host,
        _job: &JobId,
        _before: &Self::State,
        _back_to: Option<&Self::State>,
    ) -> Result<(), HostError> {
        Ok(())
    }

    /// Makes the state as `to` says; without `from` whatever it is now.
    ///
    /// # Errors
    /// [`HostError::Moved`] when the state is not `from`; then nothing was changed. Any other error
    /// may leave a part of the effect behind.
    fn bring(
        &self,
        host: &dyn Host,
        from: Option<&Self::State>,
        to: &Self::State,
    ) -> Result<(), HostError>;

    /// Does it, from the state that was captured. Errors: as [`Operation::bring`].
    fn apply(&self, host: &dyn Host, before: &Self::State) -> Result<(), HostError> {
        let intended = self.intended(host, before)?;
        self.bring(host, Some(before), &intended)
    }

    /// Reads the target and answers from it alone whether the result is there.
    fn verify(&self, host: &dyn Host) -> Result<(bool, Self::State), HostError> {
        let now = self.snapshot(host)?;
        let satisfied = self.intended(host, &now)? == now;
        Ok((satisfied, now))
    }

    /// The state now of everything that `like` covers, which may be more than a snapshot of now would
    /// cover. Changes nothing.
    fn reread(&self, host: &dyn Host, _like: &Self::State) -> Result<Self::State, HostError> {
        self.snapshot(host)
    }

    /// Whether `now` is somewhere on the way between two states, so that nobody else was at it.
    fn is_between(now: &Self::State, from: &Self::State, to: &Self::State) -> bool {
        let [now, from, to] = [now, from, to].map(|state| observation::<Self>(state));
        now.is_between(&from, &to)
    }

    /// Brings to an end, or clears away, what an interruption left in the middle.
    fn settle(&self, host: &dyn Host) -> Result<(), HostError> {
        self.paths().into_iter().try_for_each(|path| host.discard_leftovers(path))
    }

    /// Restores `before`, from whatever the state is now. Errors: as [`Operation::bring`].
    fn revert(&self, host: &dyn Host, before: &Self::State) -> Result<(), HostError> {
        self.bring(host, None, before)
    }
}

/// Every operation, in the order of their ids.
pub const OPERATIONS: &[Entry] = &[
    entry::<service::DisableService>(),
    entry::<service::EnableService>(),
    entry::<package::InstallPackage>(),
    entry::<local_account::LockLocalAccount>(),
    entry::<package::RemovePackage>(),
    entry::<rotate_local_password::RotateLocalPassword>(),
    entry::<hardening::RunHardeningProfile>(),
    entry::<set_file_content::SetFileContent>(),
    entry::<set_file_permission::SetFilePermission>(),
    entry::<set_sysctl::SetSysctl>(),
    entry::<local_account::UnlockLocalAccount>(),
    entry::<update_agent::UpdateAgent>(),
];

/// The operations as actions of the `host` connector.
pub fn catalog() -> Vec<ActionSpec> {
    OPERATIONS.iter().map(|entry| (entry.spec)()).collect()
}

/// The operation with this action id, such as `host.set_file_content`.
pub fn find(id: &str) -> Option<&'static Entry> {
    OPERATIONS.iter().find(|entry| entry.meta.id == id)
}

/// One registered operation.
#[derive(Debug)]
pub struct Entry {
    pub meta: Meta,
    bind: Bind,
    spec: fn() -> ActionSpec,
}

impl Entry {
    /// The operation with its parameters.
    ///
    /// # Errors
    /// Names the parameter that is unknown, missing or malformed.
    pub fn bind(&self, parameters: &Value) -> Result<Box<dyn Bound>, InvalidParameters> {
        (self.bind)(parameters, None)
    }

    /// The same, with what the order brings beside them.
    ///
    /// # Errors
    /// Also when the operation does not take what was prepared.
    pub fn bind_prepared(
        &self,
        parameters: &Value,
        prepared: Option<&Prepared>,
    ) -> Result<Box<dyn Bound>, InvalidParameters> {
        (self.bind)(parameters, prepared)
    }

    pub fn spec(&self) -> ActionSpec {
        (self.spec)()
    }
}

/// Makes an operation of its parameters, and of what the order brings beside them.
type Bind = fn(&Value, Option<&Prepared>) -> Result<Box<dyn Bound>, InvalidParameters>;

/// Parameters that the operation does not take.
#[derive(Debug, thiserror::Error)]
#[error("{operation} does not take these parameters: {source}")]
pub struct InvalidParameters {
    pub operation: &'static str,
    pub source: serde_json::Error,
}

const fn entry<T: Operation>() -> Entry {
    Entry { meta: T::META, bind: bind::<T>, spec: spec::<T> }
}

fn bind<T: Operation>(
    parameters: &Value,
    prepared: Option<&Prepared>,
) -> Result<Box<dyn Bound>, InvalidParameters> {
    let invalid = |source| InvalidParameters { operation: T::META.id, source };
    let mut operation = T::deserialize(parameters).map_err(invalid)?;
    if let Some(prepared) = prepared {
        operation.take(prepared).map_err(|why| invalid(serde::de::Error::custom(why)))?;
    }
    Ok(Box::new(operation))
}

fn spec<T: Operation>() -> ActionSpec {
    let schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>();
    ActionSpec {
        id: T::META.id.to_owned(),
        title: T::META.title.to_owned(),
        description: T::META.description.to_owned(),
        effect_class: T::META.effect_class,
        base_risk: T::META.base_risk,
        reversibility: Reversibility::Reversible,
        target_types: vec![TARGET_TYPE.to_owned()],
        permissions: T::META.permissions.iter().map(|&text| text.to_owned()).collect(),
        parameters: schema.to_value(),
        example: serde_json::to_value(T::example())
            .expect("an operation's parameters are a struct of JSON values"),
        produces: T::PRODUCES.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// A state of a target, read by an operation: what may be shown, and what restores it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The operation's own state. May hold file contents: never shown, only saved with mode 0600.
    pub(crate) state: Value,
    pub fields: Vec<Field>,
    pub fingerprint: Fingerprint,
}

impl Observation {
    /// Whether this is somewhere on the way from one state to another: each field has one of the two
    /// values, so nobody else was at it.
    pub fn is_between(&self, from: &Self, to: &Self) -> bool {
        let names: BTreeSet<&str> = [&from.fields, &self.fields, &to.fields]
            .into_iter()
            .flatten()
            .map(|field| field.name.as_str())
            .collect();
        names.into_iter().all(|name| {
            let found = value(&self.fields, name);
            found == value(&from.fields, name) || found == value(&to.fields, name)
        })
    }
}

impl Debug for Observation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observation")
            .field("fields", &self.fields)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// An operation with its parameters, of any type. See [`Operation`] for what each method promises.
pub trait Bound: Debug + Send + Sync {
    fn take_step(&mut self, step: &Step) -> Result<(), String>;
    fn replaces_agent(&self) -> bool;
    fn paths(&self) -> Vec<&HostPath>;
    fn may_cut_line(&self) -> bool;
    fn summary(&self, target: &str) -> String;
    fn rollback(&self) -> String;
    fn validate(&self, host: &dyn Host) -> Vec<Check>;
    fn snapshot(&self, host: &dyn Host) -> Result<Observation, HostError>;
    fn diff(
        &self,
        host: &dyn Host,
        target: &str,
        before: &Observation,
    ) -> Result<Vec<DiffLine>, HostError>;
    fn provide(
        &self,
        host: &dyn Host,
        job: &JobId,
        before: &Observation,
        back_to: Option<&Observation>,
    ) -> Result<(), HostError>;
    fn apply(&self, host: &dyn Host, before: &Observation) -> Result<(), HostError>;
    fn verify(&self, host: &dyn Host) -> Result<(bool, Observation), HostError>;
    fn revert(&self, host: &dyn Host, before: &Observation) -> Result<(), HostError>;
    fn intended(&self, host: &dyn Host, before: &Observation) -> Result<Observation, HostError>;
    fn reread(&self, host: &dyn Host, like: &Observation) -> Result<Observation, HostError>;
    fn is_between(&self, now: &Observation, from: &Observation, to: &Observation) -> bool;
    fn settle(&self, host: &dyn Host) -> Result<(), HostError>;
}

impl<T: Operation> Bound for T {
    fn take_step(&mut self, step: &Step) -> Result<(), String> {
        Operation::take_step(self, step)
    }

    fn replaces_agent(&self) -> bool {
        Operation::replaces_agent(self)
    }

    fn paths(&self) -> Vec<&HostPath> {
        Operation::paths(self)
    }

    fn may_cut_line(&self) -> bool {
        Operation::may_cut_line(self)
    }

    fn summary(&self, target: &str) -> String {
        Operation::summary(self, target)
    }

    fn rollback(&self) -> String {
        Operation::rollback(self)
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        Operation::validate(self, host)
    }

    fn snapshot(&self, host: &dyn Host) -> Result<Observation, HostError> {
        Operation::snapshot(self, host).map(|state| observation::<T>(&state))
    }

    fn diff(
        &self,
        host: &dyn Host,
        target: &str,
        before: &Observation,
    ) -> Result<Vec<DiffLine>, HostError> {
        let before = state::<T>(before)?;
        let after = Operation::intended(self, host, &before)?;
        Ok(T::diff(target, &before, &after))
    }

    fn provide(
        &self,
        host: &dyn Host,
        job: &JobId,
        before: &Observation,
        back_to: Option<&Observation>,
    ) -> Result<(), HostError> {
        let back_to = back_to.map(state::<T>).transpose()?;
        Operation::provide(self, host, job, &state::<T>(before)?, back_to.as_ref())
    }

    fn apply(&self, host: &dyn Host, before: &Observation) -> Result<(), HostError> {
        Operation::apply(self, host, &state::<T>(before)?)
    }

    fn verify(&self, host: &dyn Host) -> Result<(bool, Observation), HostError> {
        let (satisfied, state) = Operation::verify(self, host)?;
        Ok((satisfied, observation::<T>(&state)))
    }

    fn revert(&self, host: &dyn Host, before: &Observation) -> Result<(), HostError> {
        Operation::revert(self, host, &state::<T>(before)?)
    }

    fn intended(&self, host: &dyn Host, before: &Observation) -> Result<Observation, HostError> {
        let after = Operation::intended(self, host, &state::<T>(before)?)?;
        Ok(observation::<T>(&after))
    }

    fn reread(&self, host: &dyn Host, like: &Observation) -> Result<Observation, HostError> {
        Operation::reread(self, host, &state::<T>(like)?).map(|state| observation::<T>(&state))
    }

    fn is_between(&self, now: &Observation, from: &Observation, to: &Observation) -> bool {
        match [now, from, to].map(state::<T>) {
            [Ok(now), Ok(from), Ok(to)] => <T as Operation>::is_between(&now, &from, &to),
            _ => false,
        }
    }

    fn settle(&self, host: &dyn Host) -> Result<(), HostError> {
        Operation::settle(self, host)
    }
}

fn observation<T: Operation>(state: &T::State) -> Observation {
    let fields = T::fields(state);
    let named: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
    Observation {
        state: serde_json::to_value(state).expect("a state is a struct of JSON values"),
        fingerprint: fingerprint(&Value::Object(named)),
        fields,
    }
}

fn state<T: Operation>(observation: &Observation) -> Result<T::State, HostError> {
    T::State::deserialize(&observation.state)
        .map_err(|source| HostError::BadState(T::META.id, source))
}

fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a Value> {
    fields.iter().find(|field| field.name == name).map(|field| &field.value)
}

/// One line for every field that differs; `Null` where there is no such field.
fn field_diff(target: &str, before: &[Field], after: &[Field]) -> Vec<DiffLine> {
    let mut names: Vec<&str> = Vec::new();
    for field in before.iter().chain(after) {
        if !names.contains(&field.name.as_str()) {
            names.push(&field.name);
        }
    }
    names
        .into_iter()
        .filter(|name| value(before, name) != value(after, name))
        .map(|name| DiffLine {
            target: target.to_owned(),
            field: name.to_owned(),
            before: value(before, name).cloned().unwrap_or(Value::Null),
            after: value(after, name).cloned().unwrap_or(Value::Null),
        })
        .collect()
}

/// What a parameter is that is true when absent.
const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_no(value: &bool) -> bool {
    !*value
}

fn check(name: &str, result: Result<String, String>) -> Check {
    let ok = result.is_ok();
    let (Ok(detail) | Err(detail)) = result;
    Check { name: name.to_owned(), ok, detail }
}
