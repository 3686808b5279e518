//! Proof of one event, from the tiles and the newest checkpoint.

use nexplane_core::api::EventProof;
use nexplane_core::proof::tree;
use nexplane_store::log::seal::{SealError, Seals};
use nexplane_store::log::{Log, ReadError};

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("could not read the log")]
    Log(#[from] ReadError),
    #[error("could not read the checkpoints")]
    Seal(#[from] SealError),
    #[error("the tiles that prove position {position} in the tree of size {size} are missing")]
    Tiles { position: u64, size: u64 },
}

/// `None` when there is no such event, or no checkpoint over it yet.
pub async fn of(log: &Log, seals: &Seals, position: u64) -> Result<Option<EventProof>, ProofError> {
    let Some(stored) = log.read(position, 1).await?.pop() else { return Ok(None) };
    let Some(sealed) = seals.newest().await?.filter(|sealed| position < sealed.size) else {
        return Ok(None);
    };
    let size = sealed.size;
    let missing = ProofError::Tiles { position, size };
    let Ok(nodes) = tree::inclusion_nodes(position, size) else { return Err(missing) };
    let Some(known) = seals.nodes(&nodes, size).await? else { return Err(missing) };
    let read = |node| known.get(&node).copied().ok_or(());
    let Ok(path) = tree::inclusion_proof(position, size, read) else { return Err(missing) };
    Ok(Some(EventProof {
        position,
        record: stored.record.to_string(),
        leaf_hash: hex::encode(stored.leaf_hash),
        size,
        root: hex::encode(sealed.root),
        path: path.iter().map(hex::encode).collect(),
        checkpoint: sealed.note,
    }))
}
