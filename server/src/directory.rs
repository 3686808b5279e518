//! People's names, passwords, sessions and tokens: what can be erased. Nothing here says what
//! anybody may do; that is in the `person` streams.

use std::collections::BTreeMap;

use nexplane_core::api::SavedView;
use nexplane_core::id::PersonId;
use nexplane_core::time::Timestamp;
use nexplane_store::log::ReadError;
use sha2::{Digest, Sha256};
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use crate::stream::LoadError;

#[derive(Clone, Debug)]
pub struct Directory {
    pool: PgPool,
}

/// One entry. The password hash stays here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: PersonId,
    pub email: String,
    pub name: String,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: Uuid,
    pub person: PersonId,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct ApiToken {
    pub id: Uuid,
    pub person: PersonId,
    pub name: String,
    pub machine: bool,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// The e-mail address belongs to somebody already.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("somebody with this e-mail address exists already")]
    Taken,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

const ENTRY: &str =
    "person_id, email, name, (extract(epoch FROM created_at) * 1000000)::bigint AS at";

impl Directory {
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    pub async fn add(
        &self,
        id: PersonId,
        email: &str,
        name: &str,
        password_hash: Option<&str>,
        at: Timestamp,
    ) -> Result<(), AddError> {
        let done = sqlx::query(
            "INSERT INTO nexplane.people (person_id, email, name, password_hash, created_at)
             VALUES ($1, $2, $3, $4, $5::text::timestamptz)
             ON CONFLICT DO NOTHING",
        )
        .bind(id.0)
        .bind(email)
        .bind(name)
        .bind(password_hash)
        .bind(at.to_string())
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(AddError::Taken) }
    }

    /// Takes an entry back whose person was refused by the domain.
    pub async fn remove(&self, id: PersonId) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM nexplane.people WHERE person_id = $1")
            .bind(id.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub async fn list(&self) -> Result<Vec<Entry>, sqlx::Error> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {ENTRY} FROM nexplane.people ORDER BY lower(name), person_id"
        )))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(entry).collect()
    }

    pub async fn by_id(&self, id: PersonId) -> Result<Option<Entry>, sqlx::Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {ENTRY} FROM nexplane.people WHERE person_id = $1"
        )))
        .bind(id.0)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(entry).transpose()
    }

    /// The views that somebody saved, in their order; none for who has no entry.
    pub async fn views(&self, id: PersonId) -> Result<Vec<SavedView>, sqlx::Error> {
        let views: Option<Json<Vec<SavedView>>> =
            sqlx::query_scalar("SELECT views FROM nexplane.people WHERE person_id = $1")
                .bind(id.0)
                .fetch_optional(&self.pool)
                .await?;
        Ok(views.map(|Json(views)| views).unwrap_or_default())
    }

    /// Keeps these instead; false for who has no entry.
    pub async fn save_views(&self, id: PersonId, views: &[SavedView]) -> Result<bool, sqlx::Error> {
        let done = sqlx::query("UPDATE nexplane.people SET views = $2 WHERE person_id = $1")
            .bind(id.0)
            .bind(Json(views))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The person with this address, in any case, and the password hash.
    pub async fn by_email(
        &self,
        email: &str,
    ) -> Result<Option<(Entry, Option<String>)>, sqlx::Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {ENTRY}, password_hash FROM nexplane.people WHERE lower(email) = lower($1)"
        )))
        .bind(email)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok((entry(&row)?, row.try_get("password_hash")?))).transpose()
    }

    /// Whom these names mean: e-mail addresses in lower case, or ids. What means nobody is not there.
    pub async fn called(&self, names: &[String]) -> Result<BTreeMap<String, PersonId>, LoadError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT person_id, lower(email) FROM nexplane.people
             WHERE lower(email) = ANY($1) OR person_id::text = ANY($1)",
        )
        .bind(names)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| LoadError::Log(ReadError::Unavailable(error)))?;
        let mut people = BTreeMap::new();
        for (id, email) in rows {
            for name in [email, id.to_string()] {
                if names.contains(&name) {
                    people.insert(name, PersonId(id));
                }
            }
        }
        Ok(people)
    }

    /// Names of people, for display.
    pub async fn names(&self, ids: &[Uuid]) -> Result<BTreeMap<Uuid, String>, sqlx::Error> {
        sqlx::query_as::<_, (Uuid, String)>(
            "SELECT person_id, name FROM nexplane.people WHERE person_id = ANY($1)",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await
        .map(|rows| rows.into_iter().collect())
    }

    pub async fn rename(&self, id: PersonId, name: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE nexplane.people SET name = $2 WHERE person_id = $1")
            .bind(id.0)
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Sets the password and ends every session of the person.
    pub async fn set_password(&self, id: PersonId, hash: &str) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("UPDATE nexplane.people SET password_hash = $2 WHERE person_id = $1")
            .bind(id.0)
            .bind(hash)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE nexplane.sessions SET ended_at = now() WHERE person_id = $1 AND ended_at IS NULL")
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    pub async fn is_empty(&self) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM nexplane.people)")
            .fetch_one(&self.pool)
            .await
    }

    pub async fn open_session(
        &self,
        id: Uuid,
        person: PersonId,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO nexplane.sessions (session_id, person_id, created_at, expires_at)
             VALUES ($1, $2, $3::text::timestamptz, $4::text::timestamptz)",
        )
        .bind(id)
        .bind(person.0)
        .bind(at.to_string())
        .bind(expires_at.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The session, if it has not ended and its time is not over.
    pub async fn session(&self, id: Uuid) -> Result<Option<Session>, sqlx::Error> {
        let row: Option<(Uuid, i64)> = sqlx::query_as(
            "SELECT person_id, (extract(epoch FROM expires_at) * 1000000)::bigint
             FROM nexplane.sessions
             WHERE session_id = $1 AND ended_at IS NULL AND expires_at > now()",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(person, expires)| Session {
            id,
            person: PersonId(person),
            expires_at: Timestamp::from_micros(expires),
        }))
    }

    pub async fn end_session(&self, id: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE nexplane.sessions SET ended_at = now() WHERE session_id = $1 AND ended_at IS NULL",
        )
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub async fn end_sessions_of(&self, person: PersonId) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE nexplane.sessions SET ended_at = now() WHERE person_id = $1 AND ended_at IS NULL",
        )
        .bind(person.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub async fn add_token(&self, token: &ApiToken, secret: &str) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO nexplane.api_tokens
                 (token_id, person_id, token_hash, name, kind, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz, $7::text::timestamptz)",
        )
        .bind(token.id)
        .bind(token.person.0)
        .bind(token_hash(secret).to_vec())
        .bind(&token.name)
        .bind(if token.machine { "machine" } else { "user" })
        .bind(token.created_at.to_string())
        .bind(token.expires_at.map(|at| at.to_string()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The token with this secret, if it is valid now.
    pub async fn token(&self, secret: &str) -> Result<Option<ApiToken>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT token_id, person_id, name, kind,
                    (extract(epoch FROM created_at) * 1000000)::bigint AS at,
                    (extract(epoch FROM expires_at) * 1000000)::bigint AS until
             FROM nexplane.api_tokens
             WHERE token_hash = $1 AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > now())",
        )
        .bind(token_hash(secret).to_vec())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(api_token).transpose()
    }

    /// Tokens that are not revoked; of one person, or of all.
    pub async fn tokens(&self, of: Option<PersonId>) -> Result<Vec<ApiToken>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT token_id, person_id, name, kind,
                    (extract(epoch FROM created_at) * 1000000)::bigint AS at,
                    (extract(epoch FROM expires_at) * 1000000)::bigint AS until
             FROM nexplane.api_tokens
             WHERE revoked_at IS NULL AND ($1::uuid IS NULL OR person_id = $1)
             ORDER BY created_at DESC, token_id",
        )
        .bind(of.map(|person| person.0))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(api_token).collect()
    }

    pub async fn revoke_token(&self, id: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE nexplane.api_tokens SET revoked_at = now() WHERE token_id = $1")
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Remembers the token of a one-time link for the first admin; earlier links stop working.
    pub async fn offer_first_run(&self, token: &str, until: Timestamp) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("DELETE FROM nexplane.first_run").execute(&mut *tx).await?;
        sqlx::query(
            "INSERT INTO nexplane.first_run (token_hash, expires_at)
             VALUES ($1, $2::text::timestamptz)",
        )
        .bind(token_hash(token).to_vec())
        .bind(until.to_string())
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Uses up the one-time link. False when it is unknown, used or too old.
    pub async fn redeem_first_run(&self, token: &str) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "DELETE FROM nexplane.first_run WHERE token_hash = $1 AND expires_at > now()",
        )
        .bind(token_hash(token).to_vec())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A named value of the installation, made by `make` the first time. Of several servers that
    /// start at once, one's value wins and all get that.
    pub async fn installation(
        &self,
        name: &str,
        make: impl AsyncFnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let read = || async {
            sqlx::query_scalar::<_, String>(
                "SELECT value FROM nexplane.installation WHERE name = $1",
            )
            .bind(name)
            .fetch_optional(&self.pool)
            .await
        };
        if let Some(value) = read().await? {
            return Ok(value);
        }
        let made = make().await?;
        sqlx::query(
            "INSERT INTO nexplane.installation (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(made)
        .execute(&self.pool)
        .await?;
        read()
            .await?
            .ok_or_else(|| anyhow::anyhow!("'{name}' vanished from the installation table"))
    }
}

/// SHA-256: tokens are random with 256 bits, so a slow hash would add nothing.
pub fn token_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn entry(row: &sqlx::postgres::PgRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: PersonId(row.try_get("person_id")?),
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        created_at: Timestamp::from_micros(row.try_get("at")?),
    })
}

fn api_token(row: &sqlx::postgres::PgRow) -> Result<ApiToken, sqlx::Error> {
    Ok(ApiToken {
        id: row.try_get("token_id")?,
        person: PersonId(row.try_get("person_id")?),
        name: row.try_get("name")?,
        machine: row.try_get::<String, _>("kind")? == "machine",
        created_at: Timestamp::from_micros(row.try_get("at")?),
        expires_at: row.try_get::<Option<i64>, _>("until")?.map(Timestamp::from_micros),
    })
}
