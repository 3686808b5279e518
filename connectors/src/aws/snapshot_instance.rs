//! `aws.snapshot_instance`: snapshots of all EBS volumes of an instance, of the same moment.
//!
//! CreateSnapshots has no client token. What tells our snapshots from others is a tag whose value is made up
//! and stored before the call, and which EC2 puts on them in the same call.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ec2::Form;
use super::error::{Failure, after_a_part, gone, moved};
use super::target::{INSTANCE, name_of};
use super::{Aws, Session, permission};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Name of the tag of our snapshots.
pub const TAG: &str = "nexplane-snapshot";

/// Makes a snapshot of every EBS volume of the instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotInstance {
    /// Description of the snapshots.
    #[serde(default = "default_description")]
    #[schemars(length(min = 1, max = 255))]
    pub description: String,
}

fn default_description() -> String {
    "Made by Nexplane".to_owned()
}

/// One of our snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    mark: String,
    volume: String,
    /// Cannot be restored, so not in the fingerprint.
    id: String,
    /// Moves by itself, so not in the fingerprint.
    state: String,
}

/// Volumes of the instance, and our snapshots of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// None when there is no such instance.
    volumes: Option<Vec<String>>,
    snapshots: Vec<Made>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let snapshots: Vec<_> = self
            .snapshots
            .iter()
            .map(|s| format!("{} of {} ({})", s.id, s.volume, s.state))
            .collect();
        vec![Field::new("volumes", json!(self.volumes)), Field::new("snapshots", json!(snapshots))]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        let snapshots: Vec<_> = self.snapshots.iter().map(|s| [&s.mark, &s.volume]).collect();
        json!({ "volumes": self.volumes, "snapshots": snapshots })
    }
}

impl State {
    /// The snapshots of one run of the action.
    fn of(&self, mark: &str) -> impl Iterator<Item = &Made> {
        self.snapshots.iter().filter(move |made| made.mark == mark)
    }

    /// Whether all volumes have one that did not fail.
    fn is_done(&self, mark: &str) -> bool {
        let volumes = self.volumes.as_deref().unwrap_or_default();
        let has =
            |volume: &String| self.of(mark).any(|s| s.volume == *volume && s.state != "error");
        !volumes.is_empty() && volumes.iter().all(has)
    }
}

/// The mark of the snapshots.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    mark: String,
}

/// The snapshots that are there now.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    snapshots: Vec<String>,
}

async fn read(session: &Session, id: &str) -> Result<State, ConnectorError> {
    let instance = session.ec2.instance(id).await.map_err(Failure::read)?;
    let instance = instance.filter(|instance| instance.state != "terminated");
    let Some(instance) = instance else {
        return Ok(State { volumes: None, snapshots: Vec::new() });
    };
    let found = session.ec2.snapshots(&instance.volumes, TAG).await.map_err(Failure::read)?;
    let made =
        |s: super::ec2::Snapshot| Made { mark: s.tag, volume: s.volume, id: s.id, state: s.state };
    let mut snapshots: Vec<_> = found.into_iter().map(made).collect();
    snapshots.sort();
    Ok(State { volumes: Some(instance.volumes), snapshots })
}

impl SnapshotInstance {
    fn form(&self, id: &str, mark: &str) -> Form {
        Form::default()
            .with("InstanceSpecification.InstanceId", id)
            .with("Description", &self.description)
            .with("TagSpecification.1.ResourceType", "snapshot")
            .with("TagSpecification.1.Tag.1.Key", TAG)
            .with("TagSpecification.1.Tag.1.Value", mark)
    }
}

impl Action for SnapshotInstance {
    type Connector = Aws;
    type State = State;
    type Prepared = Prepared;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "snapshot_instance",
        title: "Snapshot an EC2 instance",
        description: "Makes snapshots of all EBS volumes of the instance, all of the same moment. The instance \
                      goes on; what it has not written to its volumes yet is not in them. EC2 copies in the \
                      background: the snapshots are there at once, and completed later.",
        effect_class: EffectClass::Verifiable,
        base_risk: 3,
        target_types: &[INSTANCE],
        permissions: &[
            "ec2:DescribeInstances",
            "ec2:DescribeSnapshots",
            "ec2:CreateSnapshots",
            "ec2:CreateTags",
            "ec2:DeleteSnapshot",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "description": "Before the upgrade" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        read(session, &name_of(target, "instance/")?).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let id = name_of(target, "instance/")?;
        let mut checks = vec![permission::is_there("the instance", state.volumes.is_some())];
        if let Some(volumes) = &state.volumes {
            let ok = !volumes.is_empty();
            let detail = if ok { volumes.join(", ") } else { "it has none to snapshot".to_owned() };
            checks.push(check("the instance has EBS volumes", ok, detail));
            let form = self.form(&id, "dry-run");
            checks.push(permission::dry_run(session, "ec2:CreateSnapshots", &form).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<Prepared, ConnectorError> {
        Ok(Prepared { mark: uuid::Uuid::new_v4().simple().to_string() })
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let volumes = state.volumes.as_deref().unwrap_or_default();
        let new = |volume: &String| {
            line(target, format!("snapshot of {volume}"), Value::Null, self.description.as_str())
        };
        Description {
            diff: volumes.iter().map(new).collect(),
            summary: format!(
                "Snapshots of the {} volumes of instance {} are made.",
                volumes.len(),
                target.name
            ),
            rollback: "The snapshots are deleted.".to_owned(),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let id = name_of(&cx.step.target, "instance/")?;
        let mark = &before.prepared.mark;
        let now = read(session, &id).await?;
        if now.volumes.is_none() {
            return Err(gone(&format!("the instance {id}")));
        }
        if now.volumes != before.state.volumes {
            return Err(moved(&format!("the volumes of {id}")));
        }
        let outcome = |state: &State| Outcome {
            snapshots: state.of(mark).map(|snapshot| snapshot.id.clone()).collect(),
        };
        if now.is_done(mark) {
            return Ok(Effect { changed: false, outcome: outcome(&now) });
        }
        if now.of(mark).next().is_some() {
            let message = "some snapshots of this run failed: undo it, and plan again";
            return Err(after_a_part(ConnectorError::conflict(message)));
        }
        let form = self.form(&id, mark);
        session.ec2.change("ec2:CreateSnapshots", &form).await.map_err(Failure::effect)?;
        let now = read(session, &id).await.map_err(after_a_part)?;
        Ok(Effect { changed: true, outcome: outcome(&now) })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.volumes == before.state.volumes && now.is_done(&before.prepared.mark)
    }
}

impl Reversible for SnapshotInstance {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let id = name_of(&cx.step.target, "instance/")?;
        let now = read(session, &id).await?;
        if now.volumes != before.state.volumes {
            return Err(moved(&format!("the volumes of {id}")));
        }
        let mut changed = false;
        for snapshot in now.of(&before.prepared.mark) {
            let form = Form::default().with("SnapshotId", &snapshot.id);
            match session.ec2.change("ec2:DeleteSnapshot", &form).await {
                Ok(()) => changed = true,
                Err(failure) if failure.is_absent() => {}
                Err(failure) if changed => return Err(after_a_part(failure.effect())),
                Err(failure) => return Err(failure.effect()),
            }
        }
        Ok(changed)
    }
}
