//! Enrolment tokens: 256 random bits, used once, stored as a hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexplane_core::id::{HostId, PersonId};
use nexplane_core::refusal::Cause;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

/// Why a token buys nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("there is no such token")]
    Unknown,
    /// With another key, by the host that has it.
    #[error("the token was used before")]
    Used(HostId),
    #[error("the token has expired")]
    Expired,
    #[error("the token is for another host name")]
    OtherHostname,
    #[error("the machine has no randomness")]
    Random,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TokenError {
    /// Why somebody is refused, and in the name of which host.
    pub const fn refusal(&self) -> Option<(Option<HostId>, Cause)> {
        match self {
            Self::Unknown => Some((None, Cause::TokenUnknown)),
            Self::Used(host) => Some((Some(*host), Cause::TokenUsed)),
            Self::Expired => Some((None, Cause::TokenExpired)),
            Self::OtherHostname => Some((None, Cause::TokenForAnother)),
            Self::Random | Self::Database(_) => None,
        }
    }
}

/// Makes a token. It is in the answer and nowhere else.
pub async fn create(
    pool: &PgPool,
    hostname: Option<&str>,
    ttl_s: u32,
    created_by: PersonId,
) -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Random)?;
    let token = format!("npx_enroll_{}", URL_SAFE_NO_PAD.encode(bytes));
    sqlx::query(
        "INSERT INTO nexplane.enrollment_tokens (token_hash, host_id, hostname, created_by, expires_at)
         VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5))",
    )
    .bind(hash(&token))
    .bind(Uuid::now_v7())
    .bind(hostname)
    .bind(created_by.0)
    .bind(f64::from(ttl_s))
    .execute(pool)
    .await?;
    Ok(token)
}

/// The host that there will be once this token was used.
pub async fn host(pool: &PgPool, token: &str) -> Result<HostId, TokenError> {
    let host: Option<Uuid> =
        sqlx::query_scalar("SELECT host_id FROM nexplane.enrollment_tokens WHERE token_hash = $1")
            .bind(hash(token))
            .fetch_optional(pool)
            .await?;
    host.map(HostId).ok_or(TokenError::Unknown)
}

/// Takes a token for a key. The same key may take it again until it expires; nobody else can.
/// A wrong host name does not use it up.
pub async fn redeem(
    pool: &PgPool,
    token: &str,
    hostname: &str,
    key_hash: &str,
) -> Result<HostId, TokenError> {
    let taken: Option<Uuid> = sqlx::query_scalar(
        "UPDATE nexplane.enrollment_tokens
         SET used_at = coalesce(used_at, now()), used_by_key = $3
         WHERE token_hash = $1 AND expires_at > now()
           AND (hostname IS NULL OR lower(hostname) = lower($2))
           AND (used_at IS NULL OR used_by_key = $3)
         RETURNING host_id",
    )
    .bind(hash(token))
    .bind(hostname)
    .bind(key_hash)
    .fetch_optional(pool)
    .await?;
    match taken {
        Some(host) => Ok(HostId(host)),
        None => Err(why_not(pool, token).await?),
    }
}

/// Gives a token back that bought nothing, because the host was refused for another reason.
pub async fn release(pool: &PgPool, token: &str, key_hash: &str) -> Result<(), TokenError> {
    sqlx::query(
        "UPDATE nexplane.enrollment_tokens SET used_at = NULL, used_by_key = NULL
         WHERE token_hash = $1 AND used_by_key = $2",
    )
    .bind(hash(token))
    .bind(key_hash)
    .execute(pool)
    .await?;
    Ok(())
}

/// Whoever has the token may know why it does not work.
async fn why_not(pool: &PgPool, token: &str) -> Result<TokenError, sqlx::Error> {
    let found: Option<(bool, bool, Uuid)> = sqlx::query_as(
        "SELECT used_at IS NOT NULL, expires_at <= now(), host_id FROM nexplane.enrollment_tokens
         WHERE token_hash = $1",
    )
    .bind(hash(token))
    .fetch_optional(pool)
    .await?;
    Ok(match found {
        None => TokenError::Unknown,
        Some((true, _, host)) => TokenError::Used(HostId(host)),
        Some((false, true, _)) => TokenError::Expired,
        Some((false, false, _)) => TokenError::OtherHostname,
    })
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.trim()).to_vec()
}
