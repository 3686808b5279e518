//! What the server keeps of a role's password, and new passwords.

use nexplane_core::plan::Field;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scram;
use super::session::Reader;
use super::sql::{Name, literal};
use crate::sdk::{ConnectorError, DigestKey, SecretText, sealed};

/// Whether the account may read stored passwords in this database.
pub const MAY_READ: &str = "SELECT has_column_privilege('pg_authid', 'rolname', 'SELECT') \
     AND has_column_privilege('pg_authid', 'rolpassword', 'SELECT')";

/// `pg_authid.rolpassword`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Password {
    /// The role has none: nobody can log in with one.
    Absent,
    /// There may be one, but the connection's account may not read it.
    Unreadable,
    /// A verifier or hash, never a clear password.
    Stored(#[serde(with = "sealed")] SecretText),
}

impl Password {
    pub async fn read(reader: &Reader, name: &Name) -> Result<Self, ConnectorError> {
        // Rights on catalogs belong to each database, so the question is asked here and not taken
        // from the session.
        if !reader.row(MAY_READ, &[]).await?.get::<bool>(0)? {
            return Ok(Self::Unreadable);
        }
        let sql = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
        let stored: Option<String> = match reader.optional(sql, &[&name.as_str()]).await? {
            Some(row) => row.get(0)?,
            None => None,
        };
        Ok(stored.map_or(Self::Absent, |text| Self::Stored(SecretText::new(text))))
    }

    /// For `CREATE ROLE` and `ALTER ROLE`; none when it is not known.
    pub fn clause(&self) -> Option<String> {
        match self {
            Self::Absent => Some("PASSWORD NULL".to_owned()),
            Self::Unreadable => None,
            Self::Stored(stored) => Some(format!("PASSWORD {}", literal(stored.expose()))),
        }
    }

    pub fn field(&self) -> Field {
        match self {
            Self::Absent => Field::new("password", Value::Null),
            Self::Unreadable => Field::redacted("password", "not readable by the connection"),
            Self::Stored(stored) => Field::redacted(
                "password",
                if stored.expose().starts_with("SCRAM-SHA-256$") {
                    "SCRAM-SHA-256 verifier"
                } else {
                    "MD5 hash"
                },
            ),
        }
    }

    pub fn fingerprinted(&self, key: &DigestKey) -> Value {
        match self {
            Self::Absent => Value::Null,
            Self::Unreadable => json!("unreadable"),
            Self::Stored(stored) => json!({ "digest": key.digest(stored) }),
        }
    }

    pub fn is(&self, verifier: &SecretText) -> bool {
        matches!(self, Self::Stored(stored) if stored == verifier)
    }
}

/// A password that was made up before the effect, with the verifier that the server will keep.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[serde(with = "sealed")]
    pub clear: SecretText,
    #[serde(with = "sealed")]
    pub verifier: SecretText,
}

impl NewPassword {
    pub fn generate() -> Result<Self, ConnectorError> {
        let clear = SecretText::generate()?;
        let verifier = scram::verifier(&clear)?;
        Ok(Self { clear, verifier })
    }
}
