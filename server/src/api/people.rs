//! `/users` and `/tokens`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use nexplane_core::actor::Role;
use nexplane_core::api::{EditUserRequest, NewUserRequest, Page, TokenView, UserView};
use nexplane_core::id::{PersonId, StreamId};
use nexplane_core::person::event::TokenKind;
use nexplane_core::person::{Person, PersonCommand, PersonState};
use nexplane_core::time::Timestamp;
use nexplane_projections::QueryError;
use nexplane_store::log::{Guard, Log};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::guard::{Id, JsonBody, answer, placed};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::directory::{AddError, ApiToken, Directory, Entry};
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, Request};

/// A new user, with the password when one was made for them.
#[derive(Serialize)]
#[cfg_attr(test, derive(Deserialize))]
struct NewUser {
    #[serde(flatten)]
    user: UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// `GET /users`
pub async fn list(State(app): State<App>) -> ApiResult<Json<Page<UserView>>> {
    let entries = app.directory.list().await?;
    let ids: Vec<PersonId> = entries.iter().map(|entry| entry.id).collect();
    let mut states = app.people.load_each(&ids).await?;
    let items = entries.into_iter().filter_map(|entry| {
        let state = states.remove(&entry.id)?;
        shown_as(entry, state)
    });
    Ok(Json(Page { items: items.collect(), next_cursor: None }))
}

/// `POST /users`
pub async fn add(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<NewUserRequest>,
) -> ApiResult<Response> {
    let made = body.password.is_none().then(auth::generate_password);
    let password = body.password.or_else(|| made.clone());
    let NewUserRequest { email, name, roles, .. } = body;
    let (person, done) =
        add_person(&app.log, &app.directory, &request, &email, &name, roles, password).await?;
    let user = one(&app, person).await?;
    let new = NewUser { user, password: made };
    Ok(answer(StatusCode::CREATED, &new, done.version, done.position))
}

/// `PATCH /users/{id}`
pub async fn edit(
    State(app): State<App>,
    request: Request,
    Id(person): Id<PersonId>,
    JsonBody(body): JsonBody<EditUserRequest>,
) -> ApiResult<Response> {
    one(&app, person).await?;
    let EditUserRequest { name, roles, disabled, password } = body;
    if let Some(password) = &password {
        check_password(password)?;
    }
    if let Some(name) = &name {
        check_name(name)?;
    }
    let tell = async |purpose: &str, command| {
        stream::execute::<Person>(&app.log, person.into(), &request.also(purpose), command).await
    };
    let mut position = None;
    if let Some(roles) = roles {
        let command =
            |other_admins| PersonCommand::ChangeRoles { roles: roles.clone(), other_admins };
        let least = LeastOne { app: &app, person, command: &command };
        let asked = request.also("roles");
        let done = stream::execute_prepared(&app.log, person.into(), &asked, &least).await?;
        position = done.position.or(position);
    }
    match disabled {
        Some(true) => {
            let command = |other_admins| PersonCommand::Disable { other_admins };
            let least = LeastOne { app: &app, person, command: &command };
            let asked = request.also("disable");
            let done = stream::execute_prepared(&app.log, person.into(), &asked, &least).await?;
            position = done.position.or(position);
            app.directory.end_sessions_of(person).await?;
        }
        Some(false) => {
            position = tell("enable", PersonCommand::Enable).await?.position.or(position);
        }
        None => {}
    }
    if let Some(password) = password {
        let done = tell("password", PersonCommand::SetPassword { person }).await?;
        position = done.position.or(position);
        let hash = auth::hash(password).await.map_err(ApiError::internal)?;
        app.directory.set_password(person, &hash).await?;
    }
    if let Some(name) = name {
        app.directory.rename(person, name.trim()).await?;
    }
    let version = app.people.load(person).await?.version;
    Ok(answer(StatusCode::OK, &one(&app, person).await?, version, position))
}

/// What may take an admin away, as long as another one is one.
struct LeastOne<'a> {
    app: &'a App,
    person: PersonId,
    /// Of how many other people are enabled admins.
    command: &'a (dyn Fn(u32) -> PersonCommand + Sync),
}

impl Prepare<Person> for LeastOne<'_> {
    /// One other admin is enough, and is guarded: of two who take the role from each other, or each from
    /// themselves, the second one finds none.
    async fn prepare(&self, _: &PersonState) -> Result<Prepared<PersonCommand>, LoadError> {
        let people = &self.app.people;
        for other in people.ids().await.map_err(QueryError::from)? {
            if other == self.person {
                continue;
            }
            let Loaded { state, version } = people.load(other).await?;
            if matches!(&state, PersonState::Active(active) if active.roles.contains(&Role::Admin))
            {
                let guards = vec![Guard { stream: other.into(), version }];
                return Ok(Prepared { command: (self.command)(1), at: None, guards });
            }
        }
        Ok(Prepared { command: (self.command)(0), at: None, guards: Vec::new() })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}

async fn one(app: &App, person: PersonId) -> ApiResult<UserView> {
    let entry = app.directory.by_id(person).await?.ok_or_else(|| ApiError::not_found("user"))?;
    let state = app.people.load(entry.id).await?.state;
    shown_as(entry, state).ok_or_else(|| ApiError::not_found("user"))
}

/// None when the domain does not know them.
fn shown_as(entry: Entry, state: PersonState) -> Option<UserView> {
    let (roles, disabled) = match state {
        PersonState::Absent => return None,
        PersonState::Active(active) => (active.roles, false),
        PersonState::Disabled(disabled) => (disabled.roles, true),
    };
    let Entry { id, email, name, created_at } = entry;
    Some(UserView { id, email, name, roles, disabled, created_at })
}

/// Adds a person: the domain first decides on roles, the directory keeps name and password.
pub async fn add_person(
    log: &Log,
    directory: &Directory,
    request: &Request,
    email: &str,
    name: &str,
    roles: Vec<Role>,
    password: Option<String>,
) -> ApiResult<(PersonId, stream::Done<Person>)> {
    check_email(email)?;
    check_name(name)?;
    let hash = match password {
        Some(password) => {
            check_password(&password)?;
            Some(auth::hash(password).await.map_err(ApiError::internal)?)
        }
        None => None,
    };
    let person = PersonId(request.command.0);
    let (email, name) = (email.trim(), name.trim());
    match directory.add(person, email, name, hash.as_deref(), request.at).await {
        Ok(()) => {}
        Err(AddError::Taken) => {
            return Err(ApiError::conflict(
                "person.exists",
                "Somebody with this e-mail address exists already.",
            ));
        }
        Err(AddError::Database(error)) => return Err(error.into()),
    }
    let command = PersonCommand::Add { roles };
    match stream::execute::<Person>(log, person.into(), request, command).await {
        Ok(done) => Ok((person, done)),
        Err(error) => {
            directory.remove(person).await?;
            Err(error.into())
        }
    }
}

pub fn check_email(email: &str) -> ApiResult<()> {
    let email = email.trim();
    let plausible = email.len() <= 254
        && email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && !email.contains(|c: char| c.is_whitespace() || c.is_control());
    if plausible {
        Ok(())
    } else {
        Err(ApiError::invalid_field("/email", "give an e-mail address, such as ada@example.org"))
    }
}

fn check_name(name: &str) -> ApiResult<()> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.contains(char::is_control) {
        return Err(ApiError::invalid_field("/name", "1 to 100 characters"));
    }
    Ok(())
}

pub fn check_password(password: &str) -> ApiResult<()> {
    let least = auth::MIN_PASSWORD;
    if password.chars().count() < least || password.len() > 1000 {
        return Err(ApiError::invalid_field("/password", format!("{least} to 1,000 characters")));
    }
    Ok(())
}

/// `POST /tokens`
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenRequest {
    /// What the token is for.
    name: String,
    /// `machine` tokens draft and plan; `user` tokens do what their owner may do.
    #[serde(default)]
    kind: Option<TokenKindName>,
    /// Whose token it is; oneself when absent. Only admins make tokens for others.
    #[serde(default)]
    owner: Option<PersonId>,
    /// Seconds until it expires; never when absent.
    #[serde(default)]
    ttl_s: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TokenKindName {
    User,
    Machine,
}

/// `GET /tokens`: one's own; everybody's for admins.
pub async fn tokens(State(app): State<App>, caller: Caller) -> ApiResult<Json<Page<TokenView>>> {
    let of = (!caller.has_any(&[Role::Admin])).then_some(caller.person);
    let items = app.directory.tokens(of).await?.into_iter().map(|token| shown(token, None));
    Ok(Json(Page { items: items.collect(), next_cursor: None }))
}

/// `POST /tokens`
pub async fn add_token(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    JsonBody(body): JsonBody<NewTokenRequest>,
) -> ApiResult<Response> {
    let owner = body.owner.unwrap_or(caller.person);
    let kind = match body.kind {
        Some(TokenKindName::User) => TokenKind::User,
        Some(TokenKindName::Machine) | None => TokenKind::Machine,
    };
    let expires_at = body.ttl_s.map(|ttl| request.at.plus_seconds(i64::from(ttl)));
    let (view, done) =
        create_token(&app.log, &app.directory, &request, owner, &body.name, kind, expires_at)
            .await?;
    Ok(placed((StatusCode::CREATED, Json(view)), done.position))
}

/// A secret is handed over once, also to the same request.
pub fn secret_is_new(done: &stream::Done<Person>) -> ApiResult<()> {
    if !done.repeated {
        return Ok(());
    }
    Err(ApiError::conflict(
        "idempotency.secret_given",
        "This request was made before, and the secret was in that answer only. If it is lost, revoke what was made, and ask with another Idempotency-Key.",
    ))
}

/// Makes a token; its secret is in the answer and nowhere else.
pub async fn create_token(
    log: &Log,
    directory: &Directory,
    request: &Request,
    owner: PersonId,
    name: &str,
    kind: TokenKind,
    expires_at: Option<Timestamp>,
) -> ApiResult<(TokenView, stream::Done<Person>)> {
    check_name(name)?;
    let id = Uuid::now_v7();
    let command = PersonCommand::CreateToken { person: owner, token: id, kind, expires_at };
    let done = stream::execute::<Person>(log, owner.into(), request, command).await?;
    secret_is_new(&done)?;
    let token = ApiToken {
        id,
        person: owner,
        name: name.trim().to_owned(),
        machine: matches!(kind, TokenKind::Machine),
        created_at: request.at,
        expires_at,
    };
    let secret = auth::random_token("npt");
    directory.add_token(&token, &secret).await?;
    Ok((shown(token, Some(secret)), done))
}

/// `DELETE /tokens/{id}`
pub async fn revoke_token(
    State(app): State<App>,
    request: Request,
    Id(id): Id<Uuid>,
) -> ApiResult<Response> {
    let token = app.directory.tokens(None).await?.into_iter().find(|token| token.id == id);
    let token = token.ok_or_else(|| ApiError::not_found("token"))?;
    let command = PersonCommand::RevokeToken { person: token.person, token: id };
    let done = stream::execute::<Person>(&app.log, token.person.into(), &request, command).await?;
    app.directory.revoke_token(id).await?;
    Ok(placed(StatusCode::NO_CONTENT, done.position))
}

fn shown(token: ApiToken, secret: Option<String>) -> TokenView {
    TokenView {
        id: token.id,
        name: token.name,
        owner: token.person,
        kind: if token.machine { "machine" } else { "user" }.to_owned(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        token: secret,
    }
}
