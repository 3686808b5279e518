//! `host.update_agent`: the agent puts a newer, signed program in its own place.
//!
//! What is approved is the program by its hash, not only the version: the plan's difference names it, and an order
//! is for that one. The process that carries the order out ends with it; the next one is the new program, which
//! has to be answered by the control plane, see [`crate::update`].

use std::collections::BTreeMap;

use nexplane_core::catalog::EffectClass;
use nexplane_core::id::JobId;
use nexplane_core::plan::{Check, DiffLine, Field, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Meta, Operation, check};
use crate::host::{Build, Host, HostError, HostPath, OwnProgram, fake_program};
use crate::release::Version;

/// The field that tells programs apart.
const PROGRAM_FIELD: &str = "sha256";

/// Puts another version of the agent in place of the one that runs.
///
/// The version must be newer than every one that has run on the host, and signed by a release key that the host's
/// owner has pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateAgent {
    /// Version of a release that the control plane offers.
    #[schemars(example = &"0.2.0")]
    pub version: Version,
    /// What the plan says that differs, by field; known once there is a plan.
    #[serde(skip)]
    approved: Option<BTreeMap<String, Value>>,
}

impl UpdateAgent {
    /// What is to run, from what runs: as approved, or as the control plane offers it.
    fn goal(&self, host: &dyn Host, before: &Build) -> Result<Build, HostError> {
        if before.version == self.version {
            return Ok(before.clone());
        }
        match &self.approved {
            Some(approved) if approved.contains_key(PROGRAM_FIELD) => {
                approved_build(before, approved)
            }
            Some(_) => Err(self.refused("the plan does not say which program it is".to_owned())),
            None => host.own_program()?.release(&self.version),
        }
    }

    /// The release as it is offered now, if it is what was approved.
    fn offered(&self, host: &dyn Host, before: &Build) -> Result<Build, HostError> {
        let offered = host.own_program()?.release(&self.version)?;
        let approved = self.goal(host, before)?;
        if offered == approved {
            return Ok(offered);
        }
        Err(self.refused(format!(
            "the control plane offers another program of this version ({}) than was approved ({}): plan the change \
             again",
            offered.sha256, approved.sha256
        )))
    }

    fn release_check(&self, host: &dyn Host) -> Result<String, String> {
        let sentence = |error: HostError| error.sentence();
        let running = host.own_program().and_then(OwnProgram::running).map_err(sentence)?;
        if running.version == self.version {
            return Ok(format!("{} runs already", self.version));
        }
        let build = self.offered(host, &running).map_err(sentence)?;
        let key = build.signed_by.unwrap_or_default();
        Ok(format!(
            "{} is signed by release key {key}, and follows {}",
            self.version, running.version
        ))
    }

    /// What was approved, from the difference in the plan; without one the version runs already.
    fn take_difference(&mut self, diff: &[DiffLine]) -> Result<(), String> {
        let after = diff.iter().map(|line| (line.field.clone(), line.after.clone()));
        let approved: BTreeMap<_, _> = after.collect();
        if !approved.is_empty() && !approved.contains_key(PROGRAM_FIELD) {
            return Err("the plan does not say which program it is".to_owned());
        }
        self.approved = Some(approved);
        Ok(())
    }

    fn refused(&self, why: String) -> HostError {
        HostError::Item { item: format!("nexplane-agent {}", self.version), why }
    }
}

fn approved_build(before: &Build, approved: &BTreeMap<String, Value>) -> Result<Build, HostError> {
    let mut values: BTreeMap<String, Value> =
        fields(before).into_iter().map(|field| (field.name, field.value)).collect();
    values.extend(approved.clone());
    let value = Value::Object(values.into_iter().collect());
    serde_json::from_value(value)
        .map_err(|source| HostError::BadState(<UpdateAgent as Operation>::META.id, source))
}

fn fields(state: &Build) -> Vec<Field> {
    vec![
        Field::new("version", state.version.to_string()),
        Field::new(PROGRAM_FIELD, state.sha256.clone()),
        Field::new("size", state.size),
        Field::new("signed_by", state.signed_by.clone()),
    ]
}

impl Operation for UpdateAgent {
    const META: Meta = Meta {
        id: "host.update_agent",
        title: "Update agent",
        description: "Puts a newer version of the agent in place of the one that runs, if it is signed by a release \
                      key that the host's owner has pinned. When the control plane does not answer the new one in \
                      time, the earlier one comes back by itself. Undone by going back to the earlier one, as long \
                      as the host keeps it.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        permissions: &[
            "root to replace the agent's program",
            "a release key in the agent's config.toml",
        ],
    };

    type State = Build;

    fn example() -> Self {
        Self { version: "0.2.0".parse().expect("it is a version"), approved: None }
    }

    fn take_step(&mut self, step: &Step) -> Result<(), String> {
        self.take_difference(&step.diff)
    }

    fn paths(&self) -> Vec<&HostPath> {
        Vec::new()
    }

    /// It has a trial of its own.
    fn may_cut_line(&self) -> bool {
        false
    }

    fn replaces_agent(&self) -> bool {
        true
    }

    fn summary(&self, target: &str) -> String {
        format!("Updates the agent of {target} to version {}.", self.version)
    }

    fn rollback(&self) -> String {
        "Puts the earlier program of the agent back, as long as no other update followed."
            .to_owned()
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        let own = match host.own_program() {
            Ok(own) => own,
            Err(error) => return vec![check("service", Err(error.sentence()))],
        };
        let mut checks = own.checks();
        // What is refused anyway has no use for a question to the control plane.
        if checks.iter().all(|check| check.ok) {
            checks.push(check("release", self.release_check(host)));
        }
        checks
    }

    fn snapshot(&self, host: &dyn Host) -> Result<Build, HostError> {
        host.own_program()?.running()
    }

    fn intended(&self, host: &dyn Host, before: &Build) -> Result<Build, HostError> {
        self.goal(host, before)
    }

    fn fields(state: &Build) -> Vec<Field> {
        fields(state)
    }

    fn provide(
        &self,
        host: &dyn Host,
        _job: &JobId,
        before: &Build,
        back_to: Option<&Build>,
    ) -> Result<(), HostError> {
        let own = host.own_program()?;
        match back_to {
            Some(earlier) if own.is_kept(earlier)? => Ok(()),
            Some(earlier) => Err(self.refused(format!(
                "the program of version {} is not kept on this host any more",
                earlier.version
            ))),
            None if before.version == self.version => Ok(()),
            None => own.fetch(&self.offered(host, before)?),
        }
    }

    fn bring(&self, host: &dyn Host, from: Option<&Build>, to: &Build) -> Result<(), HostError> {
        let own = host.own_program()?;
        let now = own.running()?;
        if from.is_some_and(|from| *from != now) {
            return Err(HostError::Moved { path: fake_program::path() });
        }
        if now == *to {
            return Ok(());
        }
        own.replace(&now, to)
    }

    /// By the version, which whoever only asks knows; by every byte, where the plan is known.
    fn verify(&self, host: &dyn Host) -> Result<(bool, Build), HostError> {
        let now = self.snapshot(host)?;
        let approved = self.approved.as_ref().and_then(|approved| approved.get(PROGRAM_FIELD));
        let is_approved = approved.is_none_or(|sha256| *sha256 == now.sha256.as_str());
        Ok((now.version == self.version && is_approved, now))
    }

    fn settle(&self, _host: &dyn Host) -> Result<(), HostError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::FakeHost;
    use crate::operation::Bound;

    fn lines(diff: &[(&str, Value)]) -> Vec<DiffLine> {
        let line = |(field, after): &(&str, Value)| DiffLine {
            target: "h".to_owned(),
            field: (*field).to_owned(),
            before: Value::Null,
            after: after.clone(),
        };
        diff.iter().map(line).collect()
    }

    #[test]
    fn an_order_is_for_the_program_that_was_approved() {
        let host = FakeHost::furnished();
        let job: JobId = "01900000-0000-7000-8000-000000000001".parse().unwrap();
        let mut update = UpdateAgent::example();
        let before = Bound::snapshot(&update, &host).unwrap();
        let offered = "2".repeat(64);
        let mut planned = [
            ("version", json!("0.2.0")),
            ("sha256", json!(offered)),
            ("signed_by", json!("00112233aabbccdd")),
        ];
        update.take_difference(&lines(&planned)).unwrap();
        Bound::provide(&update, &host, &job, &before, None).unwrap();

        // The control plane's directory has another program of that version since.
        planned[1].1 = json!("3".repeat(64));
        update.take_difference(&lines(&planned)).unwrap();
        let refused = Bound::provide(&update, &host, &job, &before, None).unwrap_err().sentence();
        assert!(refused.contains("than was approved") && refused.contains(&offered), "{refused}");
        let checks = Bound::validate(&update, &host);
        assert!(checks.iter().any(|check| !check.ok), "{checks:?}");
        Bound::apply(&update, &host, &before).unwrap();
        let (done, _) = Bound::verify(&UpdateAgent::example(), &host).unwrap();
        assert!(done, "the version is what whoever only asks knows");

        let no_program = update.take_difference(&lines(&[("version", json!("0.2.0"))]));
        assert!(no_program.unwrap_err().contains("which program"));
    }

    #[test]
    fn what_runs_already_is_done_and_asks_nobody() {
        let host = FakeHost::furnished();
        let mut update = UpdateAgent { version: "0.1.0".parse().unwrap(), approved: None };
        update.take_difference(&[]).unwrap();
        assert!(Bound::verify(&update, &host).unwrap().0);
        let before = Bound::snapshot(&update, &host).unwrap();
        assert!(Bound::diff(&update, &host, "h", &before).unwrap().is_empty());
        Bound::apply(&update, &host, &before).unwrap();
        let checks = Bound::validate(&update, &host);
        assert!(checks.iter().all(|check| check.ok), "{checks:?}");
        // A plan that found it there is none for a host that has another one meanwhile.
        let other = UpdateAgent { version: "0.2.0".parse().unwrap(), ..update };
        assert!(Bound::apply(&other, &host, &before).is_err());
    }
}
