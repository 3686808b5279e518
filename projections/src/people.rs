//! Who may approve, and for whom: what is needed to find people. What they may do at the moment of an
//! approval is what their streams say.

use std::collections::BTreeMap;

use async_trait::async_trait;
use nexplane_core::actor::Role;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{Category, PersonId};
use nexplane_core::person::event::PersonEvent;
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::page::QueryError;
use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation, Table, column};

const PEOPLE: Table = Table {
    name: "rm_people",
    columns: &[
        column("id", "uuid"),
        column("enabled", "boolean"),
        column("approver", "boolean"),
        column("admin", "boolean"),
        // Whom they let approve for them, once for each delegation.
        column("delegates", "uuid[]"),
        column("delegations", "jsonb"),
    ],
    key: &["id"],
    indexes: &["(id) WHERE enabled AND approver", "USING gin (delegates)"],
};

/// The projection `people`.
#[derive(Clone, Copy, Debug)]
pub struct People;

#[derive(Serialize)]
struct Row {
    id: Uuid,
    enabled: bool,
    approver: bool,
    admin: bool,
    delegates: Vec<PersonId>,
    /// Those that nobody ended, by id; one that has run out may be among them.
    delegations: BTreeMap<Uuid, PersonId>,
}

impl Row {
    fn set_roles(&mut self, roles: &[Role]) {
        self.approver = roles.contains(&Role::Approver);
        self.admin = roles.contains(&Role::Admin);
        if !self.approver {
            self.delegations.clear();
        }
    }

    /// As the aggregate has it.
    fn apply(&mut self, event: &PersonEvent) {
        use PersonEvent as E;
        match event {
            E::Added { roles } | E::RolesChanged { roles } => self.set_roles(roles),
            E::Disabled {} => {
                self.enabled = false;
                self.delegations.clear();
            }
            E::Enabled {} => self.enabled = true,
            E::ApprovalsDelegated { delegation, to, .. } => {
                self.delegations.insert(*delegation, *to);
            }
            E::DelegationEnded { delegation } => {
                self.delegations.remove(delegation);
            }
            E::PasswordSet {}
            | E::SignedIn { .. }
            | E::SignedOut { .. }
            | E::TokenCreated { .. }
            | E::TokenRevoked { .. }
            | E::AgentInvited { .. } => {}
        }
        self.delegates = self.delegations.values().copied().collect();
    }
}

/// Whether the event changes a row: most of them are sessions.
const fn matters(event: &PersonEvent) -> bool {
    use PersonEvent as E;
    match event {
        E::Added { .. }
        | E::RolesChanged { .. }
        | E::Disabled {}
        | E::Enabled {}
        | E::ApprovalsDelegated { .. }
        | E::DelegationEnded { .. } => true,
        E::PasswordSet {}
        | E::SignedIn { .. }
        | E::SignedOut { .. }
        | E::TokenCreated { .. }
        | E::TokenRevoked { .. }
        | E::AgentInvited { .. } => false,
    }
}

#[async_trait]
impl Projection for People {
    fn name(&self) -> &'static str {
        "people"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Person]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PEOPLE]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let events: Vec<(Uuid, &PersonEvent)> = events
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::Person(event) if matters(event) => Some((recorded.header.stream.id, event)),
                Event::Asset(_)
                | Event::Calendar(_)
                | Event::Change(_)
                | Event::Connection(_)
                | Event::Gateway(_)
                | Event::Host(_)
                | Event::Manifest(_)
                | Event::Person(_)
                | Event::Policy(_)
                | Event::Project(_)
                | Event::Rollout(_)
                | Event::Run(_)
                | Event::Schedule(_) => None,
            })
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        let stored: Vec<(Uuid, bool, bool, bool, Value)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT id, enabled, approver, admin, delegations FROM {} WHERE id = ANY($1)",
            at.of(&PEOPLE)
        )))
        .bind(events.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let mut rows = BTreeMap::new();
        for (id, enabled, approver, admin, delegations) in stored {
            let delegations = serde_json::from_value(delegations).map_err(|source| {
                ApplyError::Row { table: PEOPLE.name, id: id.to_string(), source }
            })?;
            let row = Row { id, enabled, approver, admin, delegates: Vec::new(), delegations };
            rows.insert(id, row);
        }
        for (id, event) in events {
            let new = || Row {
                id,
                enabled: true,
                approver: false,
                admin: false,
                delegates: Vec::new(),
                delegations: BTreeMap::new(),
            };
            rows.entry(id).or_insert_with(new).apply(event);
        }
        let rows: Vec<_> = rows.into_values().collect();
        table::upsert(db, at, &PEOPLE, &rows).await?;
        Ok(())
    }
}

/// An enabled account with the approver role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approver {
    pub id: PersonId,
    pub admin: bool,
}

/// People who have the approver role, other than these: those among `only` when that is not empty; at most
/// `limit`, admins first.
pub async fn approvers(
    pool: &PgPool,
    but: &[PersonId],
    only: &[PersonId],
    limit: u32,
) -> Result<Vec<Approver>, QueryError> {
    let rows: Vec<(Uuid, bool)> = sqlx::query_as(
        "SELECT id, admin FROM nexplane.rm_people WHERE enabled AND approver \
         AND id <> ALL($1) AND (cardinality($2) = 0 OR id = ANY($2)) ORDER BY admin DESC, id LIMIT $3",
    )
    .bind(but.iter().map(|person| person.0).collect::<Vec<_>>())
    .bind(only.iter().map(|person| person.0).collect::<Vec<_>>())
    .bind(i64::from(limit))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(id, admin)| Approver { id: PersonId(id), admin }).collect())
}

/// Who let this person approve for them, and has not ended it; whether it stands now is for their streams to
/// say. At most `limit`.
pub async fn delegators(
    pool: &PgPool,
    to: PersonId,
    limit: u32,
) -> Result<Vec<PersonId>, QueryError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_people WHERE delegates @> $1 AND enabled ORDER BY id LIMIT $2",
    )
    .bind(vec![to.0])
    .bind(i64::from(limit))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(PersonId).collect())
}
