//! From a request's headers to a person and what they may do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, header};
use futures_util::{StreamExt as _, TryStreamExt as _};
use nexplane_core::actor::{Actor, Role};
use nexplane_core::aggregate::Principal;
use nexplane_core::id::{PersonId, StreamId};
use nexplane_core::person::{Person, PersonState};
use nexplane_core::time::Timestamp;
use nexplane_store::log::Log;
use uuid::Uuid;

use super::jwt::{Claims, JwtError, JwtKey};
use crate::directory::Directory;
use crate::problem::{ApiError, ApiResult};
use crate::replay;
use crate::stream::{self, LoadError, Loaded};

/// Name of the cookie with the session token.
const COOKIE: &str = "nexplane_session";
/// The same in a replay: browsers give cookies to all ports of a host, and a look at the past must
/// not sign anybody out of the present.
const REPLAY_COOKIE: &str = "nexplane_replay";

/// Somebody who is asking, with proof.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Principal,
    pub person: PersonId,
    /// The version of the person's stream at which the roles are theirs; none for who is in no log.
    pub seen: Option<u64>,
    pub credential: Credential,
}

/// What the proof was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A session token, in a cookie when `cookie`.
    Session {
        claims: Claims,
        cookie: bool,
    },
    Token {
        id: Uuid,
        machine: bool,
    },
}

impl Caller {
    pub const fn is_machine(&self) -> bool {
        matches!(self.credential, Credential::Token { machine: true, .. })
    }

    pub fn has_any(&self, roles: &[Role]) -> bool {
        self.principal.has_any(roles)
    }
}

/// The people, as their streams say: who they are allowed to be.
#[derive(Clone, Debug)]
pub struct People {
    log: Log,
    directory: Directory,
    jwt: Arc<JwtKey>,
    /// Folded streams. Each look-up reads only what came since: one indexed query.
    known: Arc<Mutex<HashMap<PersonId, Loaded<Person>>>>,
    /// In a replay: who may look at it, without being anybody in it.
    guest: Option<PersonId>,
}

/// The most people whose folded streams are kept.
const KNOWN_LIMIT: usize = 10_000;
/// Of many people, so many are read at the same time.
const LOADED_AT_ONCE: usize = 16;

impl People {
    pub fn new(log: Log, directory: Directory, jwt: Arc<JwtKey>) -> Self {
        Self { log, directory, jwt, known: Arc::default(), guest: None }
    }

    /// The same people, and a guest who is in no log and has no session.
    #[must_use]
    pub fn with_guest(&self, guest: PersonId) -> Self {
        Self { guest: Some(guest), ..self.clone() }
    }

    pub fn jwt(&self) -> &JwtKey {
        &self.jwt
    }

    /// The state of a person's stream now.
    pub async fn load(&self, person: PersonId) -> Result<Loaded<Person>, LoadError> {
        let known = self.known().get(&person).cloned();
        let start = known.unwrap_or(Loaded { state: PersonState::default(), version: 0 });
        let loaded = stream::catch_up::<Person>(&self.log, person.into(), start).await?;
        let mut known = self.known();
        if known.len() >= KNOWN_LIMIT {
            known.clear();
        }
        known.insert(person, loaded.clone());
        Ok(loaded)
    }

    /// The states of many people's streams now. Of those who are known already, only the versions are asked for.
    pub async fn load_each(
        &self,
        people: &[PersonId],
    ) -> Result<HashMap<PersonId, PersonState>, LoadError> {
        let streams: Vec<StreamId> = people.iter().map(|person| (*person).into()).collect();
        let versions = self.log.versions(&streams).await?;
        let each = people.iter().copied().map(|person| {
            let version = versions.get(&person.into()).copied().unwrap_or(0);
            async move {
                let known = self.known().get(&person).cloned();
                let loaded = match known {
                    Some(known) if known.version == version => known,
                    Some(_) | None => self.load(person).await?,
                };
                Ok((person, loaded.state))
            }
        });
        futures_util::stream::iter(each).buffer_unordered(LOADED_AT_ONCE).try_collect().await
    }

    /// The roles of a person who may sign in; `None` for those who may not.
    pub async fn roles(&self, person: PersonId) -> Result<Option<Vec<Role>>, LoadError> {
        Ok(match self.load(person).await?.state {
            PersonState::Active(active) => Some(active.roles.into_iter().collect()),
            PersonState::Absent | PersonState::Disabled(_) => None,
        })
    }

    /// The roles of a person who may sign in, and the version of their stream that says so.
    async fn enabled(&self, person: PersonId) -> ApiResult<(Vec<Role>, u64)> {
        let Loaded { state, version } = self.load(person).await?;
        match state {
            PersonState::Active(active) => Ok((active.roles, version)),
            PersonState::Absent | PersonState::Disabled(_) => Err(disabled()),
        }
    }

    /// Everybody of the directory.
    pub async fn ids(&self) -> Result<Vec<PersonId>, sqlx::Error> {
        Ok(self.directory.list().await?.into_iter().map(|entry| entry.id).collect())
    }

    /// Who sends these headers. Errors: 401 with `auth.invalid` or `auth.expired`.
    pub async fn caller(&self, headers: &HeaderMap, now: Timestamp) -> ApiResult<Caller> {
        if let Some(secret) = bearer(headers) {
            return if secret.starts_with("npt_") {
                self.by_token(secret).await
            } else {
                self.by_session(secret, false, now).await
            };
        }
        match cookie_value(headers, self.cookie_name()) {
            Some(token) => self.by_session(token, true, now).await,
            None => Err(ApiError::unauthenticated(
                "auth.invalid",
                "Sign in first: POST /api/v1/auth/login, or send an API token as 'Authorization: Bearer'.",
            )),
        }
    }

    /// The same for a bearer token that came another way (WebSocket subprotocol).
    pub async fn bearer(&self, secret: &str, now: Timestamp) -> ApiResult<Caller> {
        if secret.starts_with("npt_") {
            self.by_token(secret).await
        } else {
            self.by_session(secret, false, now).await
        }
    }

    async fn by_session(&self, token: &str, cookie: bool, now: Timestamp) -> ApiResult<Caller> {
        let claims = self.jwt.verify(token, now).map_err(|error| match error {
            JwtError::Invalid => ApiError::unauthenticated(
                "auth.invalid",
                "The session token is not valid here. Sign in again.",
            ),
            JwtError::Expired => ApiError::unauthenticated(
                "auth.expired",
                "The session token has expired. Renew it with POST /api/v1/auth/refresh, or sign in again.",
            ),
        })?;
        self.live_session(claims, cookie).await
    }

    /// The caller of a token whose signature is checked and whose session still lives.
    pub async fn live_session(&self, claims: Claims, cookie: bool) -> ApiResult<Caller> {
        if self.guest == Some(claims.sub) {
            let principal =
                Principal { actor: Actor::user(claims.sub), roles: replay::ROLES.to_vec() };
            let person = claims.sub;
            return Ok(Caller {
                principal,
                person,
                seen: None,
                credential: Credential::Session { claims, cookie },
            });
        }
        let session = self.directory.session(claims.sid).await?;
        if session.is_none_or(|session| session.person != claims.sub) {
            return Err(ApiError::unauthenticated(
                "auth.expired",
                "The session has ended. Sign in again.",
            ));
        }
        let person = claims.sub;
        let (roles, seen) = self.enabled(person).await?;
        let principal = Principal { actor: Actor::user(person), roles };
        let credential = Credential::Session { claims, cookie };
        Ok(Caller { principal, person, seen: Some(seen), credential })
    }

    /// Where a token for renewal is in these headers.
    pub fn renewable(&self, headers: &HeaderMap) -> ApiResult<(Claims, bool)> {
        let (token, cookie) = match (bearer(headers), cookie_value(headers, self.cookie_name())) {
            (Some(token), _) => (token, false),
            (None, Some(token)) => (token, true),
            (None, None) => {
                return Err(ApiError::unauthenticated(
                    "auth.invalid",
                    "There is no session to renew. Sign in.",
                ));
            }
        };
        let claims = self.jwt.verify_signature(token).map_err(|_| {
            ApiError::unauthenticated(
                "auth.invalid",
                "The session token is not valid here. Sign in again.",
            )
        })?;
        Ok((claims, cookie))
    }

    async fn by_token(&self, secret: &str) -> ApiResult<Caller> {
        let token = self.directory.token(secret).await?.ok_or_else(|| {
            ApiError::unauthenticated(
                "auth.invalid",
                "This API token is unknown, revoked or expired. Make a new one.",
            )
        })?;
        let (roles, seen) = self.enabled(token.person).await?;
        let actor =
            if token.machine { Actor::machine(token.person) } else { Actor::user(token.person) };
        Ok(Caller {
            principal: Principal { actor, roles },
            person: token.person,
            seen: Some(seen),
            credential: Credential::Token { id: token.id, machine: token.machine },
        })
    }

    fn cookie_name(&self) -> &'static str {
        if self.guest.is_some() { REPLAY_COOKIE } else { COOKIE }
    }

    /// The `Set-Cookie` value for a session token. `secure` when the browser came over HTTPS.
    pub fn cookie(&self, token: &str, secure: bool) -> String {
        let (name, max_age) = (self.cookie_name(), super::SESSION_TTL_S);
        let secure = if secure { "; Secure" } else { "" };
        format!("{name}={token}; Path=/api; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}")
    }

    /// The `Set-Cookie` value that takes the cookie away.
    pub fn clear_cookie(&self) -> String {
        format!("{}=; Path=/api; HttpOnly; SameSite=Strict; Max-Age=0", self.cookie_name())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PersonId, Loaded<Person>>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What somebody hears whose account is disabled.
pub fn disabled() -> ApiError {
    ApiError::unauthenticated("auth.invalid", "This account is disabled. Ask an admin.")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie_value<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == wanted).then_some(value))
}
