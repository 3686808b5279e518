//! The gate that changes under way are for each other, where the policy has the second one refused; and what a
//! run reads besides its targets.
//!
//! What meets what is looked up in the read models, once these are as far as the log is; which of the two
//! comes first is decided on the streams of both, which are guarded. Members of one open project are not in
//! each other's way: their project says which comes first.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use nexplane_core::asset::{Asset, AssetState};
use nexplane_core::change::{Change, ChangeState, comes_first};
use nexplane_core::freeze::Meeting;
use nexplane_core::id::AssetId;
use nexplane_core::policy::OnConflict;
use nexplane_core::project::{Project, ProjectState};
use nexplane_projections::changes;
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;

use crate::stream::{self, LoadError, Loaded};

/// Assets that are read at the same time.
const AT_ONCE: usize = 16;

/// How often, and how many times, it is asked whether the read models are as far as the log.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;

/// Changes that come before this one at something that both touch, and guards under which they do. Nothing
/// where the policy lets it wait for its turn.
pub async fn first(
    pool: &PgPool,
    log: &Log,
    state: &ChangeState,
) -> Result<(Vec<Meeting>, Vec<Guard>), LoadError> {
    if is_refused_for(state) {
        caught_up(pool, log).await?;
    }
    look(pool, log, state).await
}

/// The same as far as the read models are.
pub async fn look(
    pool: &PgPool,
    log: &Log,
    state: &ChangeState,
) -> Result<(Vec<Meeting>, Vec<Guard>), LoadError> {
    let (mut meets, mut guards) = (Vec::new(), Vec::new());
    let ChangeState::Approved(own) = state else { return Ok((meets, guards)) };
    if !is_refused_for(state) {
        return Ok((meets, guards));
    }
    let this = own.submission.plan.header.change;
    let mut project = ProjectState::default();
    if let Some(joined) = own.submission.subject.project {
        let Loaded { state, version } = stream::load::<Project>(log, joined.into()).await?;
        guards.push(Guard { stream: joined.into(), version });
        project = state;
    }
    for met in changes::may_come_first(pool, this).await? {
        if project.has(this) && project.has(met.id) {
            continue;
        }
        let Loaded { state, version } = stream::load::<Change>(log, met.id.into()).await?;
        guards.push(Guard { stream: met.id.into(), version });
        if comes_first((this, own), (met.id, &state)) {
            let (number, how) = (Some(met.number), met.how);
            meets.push(Meeting { change: met.id, number, state: state.name(), how });
        }
    }
    Ok((meets, guards))
}

const fn is_refused_for(state: &ChangeState) -> bool {
    match state {
        ChangeState::Approved(approval) => {
            matches!(approval.submission.quorum.on_conflict, OnConflict::Refuse)
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => false,
    }
}

/// Waits until the read models of changes and of the inventory are as far as the log is now.
pub async fn caught_up(pool: &PgPool, log: &Log) -> Result<(), LoadError> {
    let head = log.head().await?.next_position;
    for _ in 0..LOOKS {
        if changes::meetings_are_known(pool, head).await? {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(LoadError::Late)
}

/// What these assets are related to, as their own streams say, without themselves: what a run reads.
pub async fn reads(log: &Log, assets: &[AssetId]) -> Result<Vec<AssetId>, LoadError> {
    let mut found = BTreeSet::new();
    let mut loaded = iter(assets.iter().copied())
        .map(|asset: AssetId| async move { stream::load::<Asset>(log, asset.into()).await })
        .buffered(AT_ONCE);
    while let Some(asset) = loaded.next().await {
        match asset?.state {
            AssetState::Present(present) => {
                found.extend(present.facts.relations.iter().map(|relation| relation.to));
            }
            AssetState::Absent | AssetState::Gone(_) => {}
        }
    }
    for asset in assets {
        found.remove(asset);
    }
    Ok(found.into_iter().collect())
}
