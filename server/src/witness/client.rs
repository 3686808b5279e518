//! The log's side: shows every newest checkpoint to the witnesses of a policy and keeps what they
//! sign.
//!
//! The log does not wait for them: a witness that is away delays its cosignature and nothing else.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::proof::note::Note;
use nexplane_core::proof::tree;
use nexplane_core::proof::witness::{Witness, WitnessPolicy};
use nexplane_store::log::seal::{SealError, Seals};
use reqwest::StatusCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::problem::chain;
use crate::seal::Signed;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two checkpoints that are shown: a witness does not need every one.
const AT_LEAST_BETWEEN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(5);

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessesError {
    #[error("the witness {name} has no address in the policy")]
    NoAddress { name: String },
    #[error("the witness {name} cannot be reached")]
    Unreachable {
        name: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the witness {name} refused the checkpoint ({status}): {why}")]
    Refused { name: String, status: StatusCode, why: String },
    #[error(
        "the witness {name} answered with something that is not its signature of the checkpoint"
    )]
    NotItsSignature { name: String },
    #[error("the tiles for a proof are missing")]
    Tiles,
    #[error("could not keep a cosignature")]
    Seal(#[from] SealError),
}

/// The witnesses of a log.
#[derive(Debug)]
pub struct Witnesses {
    witnesses: Vec<Witness>,
    seals: Seals,
    http: reqwest::Client,
    /// The size that each was shown last.
    shown: HashMap<String, u64>,
}

impl Witnesses {
    /// `seals` must be able to add cosignatures.
    pub fn new(policy: &WitnessPolicy, seals: Seals) -> Result<Self, WitnessesError> {
        let witnesses = policy.witnesses().to_vec();
        if let Some(witness) = witnesses.iter().find(|witness| witness.url.is_none()) {
            return Err(WitnessesError::NoAddress { name: witness.name.clone() });
        }
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http =
            http.map_err(|source| WitnessesError::Unreachable { name: String::new(), source })?;
        Ok(Self { witnesses, seals, http, shown: HashMap::new() })
    }

    /// Shows checkpoints until `stop`.
    pub async fn run(mut self, mut signed: watch::Receiver<Signed>, stop: CancellationToken) {
        let showing = async {
            loop {
                let newest = signed.borrow_and_update().clone();
                if newest.size > 0 && self.show_all(&newest).await {
                    tokio::time::sleep(AT_LEAST_BETWEEN).await;
                } else if newest.size > 0 {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                if signed.changed().await.is_err() {
                    return;
                }
            }
        };
        stop.run_until_cancelled(showing).await;
    }

    /// Whether all of them signed.
    async fn show_all(&mut self, newest: &Signed) -> bool {
        let mut all = true;
        for witness in self.witnesses.clone() {
            if let Err(error) = self.show(&witness, newest).await {
                tracing::warn!(cause = %chain(&error), size = newest.size, "not cosigned");
                all = false;
            }
        }
        all
    }

    async fn show(&mut self, witness: &Witness, newest: &Signed) -> Result<(), WitnessesError> {
        let name = witness.name.clone();
        let mut old = self.shown.get(&name).copied().unwrap_or(0);
        // The second time with the size that the witness says it knows.
        for _ in 0..2 {
            if old > newest.size {
                return Ok(()); // another server was quicker
            }
            let (status, text) = self.ask(witness, old, newest).await?;
            if status == StatusCode::CONFLICT
                && let Ok(size) = text.trim().parse()
            {
                old = size;
                continue;
            }
            if status != StatusCode::OK {
                let why = text.chars().take(200).collect();
                return Err(WitnessesError::Refused { name, status, why });
            }
            let whole = Note::parse(format!("{}{text}", newest.note).as_bytes());
            let cosigned = whole.as_ref().is_ok_and(|note| note.verify(&[&witness.key]).is_ok());
            if !cosigned {
                return Err(WitnessesError::NotItsSignature { name });
            }
            self.seals.add_cosignature(newest.size, witness.key.name(), &text).await?;
            self.shown.insert(name, newest.size);
            return Ok(());
        }
        let why = "it does not know what it knows".to_owned();
        Err(WitnessesError::Refused { name, status: StatusCode::CONFLICT, why })
    }

    async fn ask(
        &self,
        witness: &Witness,
        old: u64,
        newest: &Signed,
    ) -> Result<(StatusCode, String), WitnessesError> {
        let nodes = tree::consistency_nodes(old, newest.size).map_err(|_| WitnessesError::Tiles)?;
        let known = self.seals.nodes(&nodes, newest.size).await?.ok_or(WitnessesError::Tiles)?;
        let read = |node| known.get(&node).copied().ok_or(());
        let proof =
            tree::consistency_proof(old, newest.size, read).map_err(|_| WitnessesError::Tiles)?;
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&STANDARD.encode(hash));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&newest.note);
        let unreachable =
            |source| WitnessesError::Unreachable { name: witness.name.clone(), source };
        let url = witness.url.as_deref().unwrap_or_default().trim_end_matches('/');
        let response = self.http.post(format!("{url}/add-checkpoint")).body(body).send().await;
        let response = response.map_err(unreachable)?;
        let status = response.status();
        Ok((status, response.text().await.map_err(unreachable)?))
    }
}
