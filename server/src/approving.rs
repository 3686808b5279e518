//! Who may approve: whom a policy names, and who approves for somebody else.
//!
//! A delegation is a fact of the delegator's stream. Whoever approves for them does so with a guard on that
//! stream, so that of an approval and the end of a delegation, or of a role, exactly one comes first.
//!
//! Whom a policy names is looked up when a change is submitted. The targets' streams are guarded then, so
//! that the owners that are recorded are those of that moment; the directory is none of the log, and is not.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use nexplane_core::actor::Role;
use nexplane_core::asset::{Asset, AssetState};
use nexplane_core::change::{Change, ChangeCommand, ChangeState};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{AssetId, PersonId, StreamId};
use nexplane_core::person::{Person, PersonState};
use nexplane_core::policy::{Known, Owned, PolicyDocument};
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;

use crate::calendar::Gated;
use crate::directory::Directory;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared};

/// Targets that are looked at, at the same time.
const AT_ONCE: usize = 16;

/// Whom the rules of a policy may name, of these targets.
pub async fn known(
    log: &Log,
    directory: &Directory,
    document: &PolicyDocument,
    targets: &[AssetId],
) -> Result<Known, LoadError> {
    let mut known = Known::default();
    let mut names: BTreeSet<String> =
        document.pools().flat_map(|pool| &pool.people).map(|name| Known::key(name)).collect();
    if document.pools().any(|pool| pool.owners) {
        let mut assets = iter(targets.iter().copied())
            .map(|target| async move {
                Ok::<_, LoadError>((target, stream::load::<Asset>(log, target.into()).await?.state))
            })
            .buffered(AT_ONCE);
        while let Some(asset) = assets.next().await {
            let (target, state) = asset?;
            let (facts, annotations) = match state {
                AssetState::Absent => continue,
                AssetState::Present(present) => (present.facts, present.annotations),
                AssetState::Gone(gone) => (gone.last_facts, gone.annotations),
            };
            let owned = Owned { name: facts.name, owner: annotations.owner };
            names.extend(owned.owner.as_deref().map(Known::key));
            known.targets.insert(target, owned);
        }
    }
    let names: Vec<String> = names.into_iter().collect();
    known.people = directory.called(&names).await?;
    let people: BTreeSet<PersonId> = known.people.values().copied().collect();
    for person in people {
        if is_approver(&stream::load::<Person>(log, person.into()).await?.state) {
            known.approvers.insert(person);
        }
    }
    Ok(known)
}

fn is_approver(state: &PersonState) -> bool {
    matches!(state, PersonState::Active(active) if active.roles.contains(&Role::Approver))
}

/// Whom an address or an id means.
pub async fn person(directory: &Directory, pointer: &str, name: &str) -> ApiResult<PersonId> {
    let key = Known::key(name);
    let found =
        directory.called(std::slice::from_ref(&key)).await.map_err(ApiError::unavailable)?;
    found.get(&key).copied().ok_or_else(|| {
        ApiError::invalid_field(pointer, "nobody here has this e-mail address, or this id")
    })
}

/// An approval for somebody who delegated it, with what they have when it is appended.
#[derive(Debug)]
pub struct ApprovingFor<'a> {
    pub pool: &'a PgPool,
    pub log: &'a Log,
    pub delegator: PersonId,
    pub digest: String,
    pub comment: Option<String>,
}

impl Prepare<Change> for ApprovingFor<'_> {
    async fn prepare(&self, state: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let stream = self.delegator.into();
        let Loaded { state: account, version } = stream::load::<Person>(self.log, stream).await?;
        let command = |in_the_way: InTheWay| ChangeCommand::ApproveFor {
            delegator: self.delegator,
            account: Box::new(account.clone()),
            digest: self.digest.clone(),
            comment: self.comment.clone(),
            frozen: in_the_way.frozen,
        };
        let mut prepared = Gated { pool: self.pool, log: self.log, command }.prepare(state).await?;
        prepared.guards.push(Guard { stream, version });
        Ok(prepared)
    }

    fn is_decided_again(&self, _moved: StreamId) -> bool {
        true
    }
}
