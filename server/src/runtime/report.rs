//! What came of an effect, on its way into the log.
//!
//! A report is the same however often it is made: its command id follows from run, step, epoch and attempt. It is
//! told by the worker that made it, or out of the spool by a later life of the server, and is in the log
//! once. When its epoch was fenced off meanwhile it is late: evidence that changes nothing.

use nexplane_connectors::sdk::{ConnectorError, Produced as Secret};
use nexplane_core::change::event::Produced;
use nexplane_core::id::{ChangeId, CommandId, RunId, SecretId};
use nexplane_core::run::event::{LateReport, Reason};
use nexplane_core::run::{Run, RunCommand, RunRejection, RunState};
use nexplane_core::time::Timestamp;
use nexplane_store::log::Log;
use nexplane_store::secret::SealedSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::engine::Left;
use super::targets::{Targets, change_owner};
use crate::problem::chain;
use crate::stream::{self, Outcome, Request, StreamError};
use crate::vault::{Kind, Vault, VaultError};

/// What a worker has to say of one effect. Secrets in it are sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub change: ChangeId,
    pub run: RunId,
    pub step: u32,
    pub epoch: u32,
    /// One epoch may intend a step more than once, and each time has an outcome of its own.
    pub attempt: u32,
    pub command: CommandId,
    what: What,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum What {
    Succeeded {
        outcome: Value,
        secrets: Vec<Sealed>,
        #[serde(default)]
        undo_until: Option<Timestamp>,
    },
    Failed {
        reason: Reason,
    },
    Unknown {
        reason: Reason,
    },
}

/// A produced secret, under the key that it will have in the secret table.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sealed {
    id: SecretId,
    name: String,
    key_id: String,
    wrapped_key: Vec<u8>,
    sealed: Vec<u8>,
}

/// What became of a report.
#[derive(Debug)]
pub(super) enum Told {
    /// It is the step's outcome.
    InTime(Box<RunState>),
    /// Another epoch has the run, or it is over.
    Late(RunRejection),
}

impl Report {
    /// Of an effect that has returned.
    pub(super) fn of(
        vault: &Vault,
        (change, run): (ChangeId, RunId),
        (step, epoch, attempt): (u32, u32, u32),
        acted: Result<(Value, Vec<Secret>, Option<Timestamp>), ConnectorError>,
    ) -> Result<Self, VaultError> {
        let what = match acted {
            Ok((outcome, secrets, undo_until)) => {
                let owner = change_owner(change);
                let seal = |secret: Secret| {
                    let value = secret.value.expose().as_bytes();
                    let SealedSecret { id, key_id, wrapped_key, sealed } =
                        vault.seal_apart(&owner, value)?;
                    Ok(Sealed { id, name: secret.name, key_id, wrapped_key, sealed })
                };
                let secrets = secrets.into_iter().map(seal).collect::<Result<_, VaultError>>()?;
                What::Succeeded { outcome, secrets, undo_until }
            }
            Err(error) => {
                let is_unknown = error.is_outcome_unknown();
                let kind = error.kind.as_str().to_owned();
                let reason = Reason { kind, message: error.message };
                if is_unknown { What::Unknown { reason } } else { What::Failed { reason } }
            }
        };
        let command = request(change, run, (step, epoch, attempt)).command;
        Ok(Self { change, run, step, epoch, attempt, command, what })
    }

    /// Whether it is of what it says that it is of.
    pub(super) fn is_coherent(&self) -> bool {
        self.command == self.request().command
    }

    /// Tells the log, once; asked again, it is told already.
    pub(super) async fn tell(&self, targets: &Targets) -> Result<Told, Left> {
        let produced = self.store(&targets.vault).await?;
        self.tell_log(&targets.log, produced).await
    }

    async fn tell_log(&self, log: &Log, produced: Vec<Produced>) -> Result<Told, Left> {
        let (step, epoch) = (self.step, self.epoch);
        let command = match self.what.clone() {
            What::Succeeded { outcome, undo_until, secrets: _ } => {
                let produced = produced.clone();
                RunCommand::Succeed { step, epoch, outcome, produced, undo_until }
            }
            What::Failed { reason } => RunCommand::Fail { step, epoch, reason },
            What::Unknown { reason } => RunCommand::LoseSight { step, epoch, reason },
        };
        let request = self.request();
        let no = match self.give(log, &request, command).await {
            Ok(done) => return Ok(Told::InTime(Box::new(done.state))),
            Err(StreamError::Rejected(
                no @ (RunRejection::Fenced { .. }
                | RunRejection::Finished
                | RunRejection::StepNotInState { .. }),
            )) => no,
            Err(error) => return Err(Left::Write(error)),
        };
        let report = match self.what.clone() {
            What::Succeeded { outcome, .. } => LateReport::Succeeded { outcome, produced },
            What::Failed { reason } => LateReport::Failed { reason },
            What::Unknown { reason } => LateReport::Unknown { reason },
        };
        let command = RunCommand::ReportLate { step, epoch, report };
        match self.give(log, &request.also("late"), command).await {
            // It has been told, or there is nothing that it could be evidence of.
            Ok(_)
            | Err(StreamError::Rejected(
                RunRejection::NotLate { .. } | RunRejection::NothingDue { .. },
            )) => Ok(Told::Late(no)),
            Err(error) => Err(Left::Write(error)),
        }
    }

    /// What cannot be stored is told without what the target said: it would not be stored later, either.
    async fn give(&self, log: &Log, request: &Request, command: RunCommand) -> Outcome<Run> {
        let bare = command.bare();
        match (stream::execute::<Run>(log, self.run.into(), request, command).await, bare) {
            (Err(error), Some(bare)) if error.is_unstorable() => {
                tracing::warn!(run.id = %self.run, cause = %chain(&error), "what came of an effect cannot be stored");
                let request = request.also("bare");
                stream::execute::<Run>(log, self.run.into(), &request, bare).await
            }
            (told, _) => told,
        }
    }

    fn request(&self) -> Request {
        request(self.change, self.run, (self.step, self.epoch, self.attempt))
    }

    async fn store(&self, vault: &Vault) -> Result<Vec<Produced>, VaultError> {
        let What::Succeeded { secrets, .. } = &self.what else { return Ok(Vec::new()) };
        let owner = change_owner(self.change);
        let mut produced = Vec::with_capacity(secrets.len());
        for Sealed { id, name, key_id, wrapped_key, sealed } in secrets.clone() {
            let secret = SealedSecret { id, key_id, wrapped_key, sealed };
            vault.put_sealed(&owner, Kind::Produced, &name, &secret).await?;
            produced.push(Produced { id, name });
        }
        Ok(produced)
    }
}

fn request(change: ChangeId, run: RunId, (step, epoch, attempt): (u32, u32, u32)) -> Request {
    let purpose = format!("report of attempt {attempt} of step {step} by epoch {epoch}");
    Request::following(run.0, change.0, &purpose, stream::now())
}

#[cfg(test)]
mod tests;
