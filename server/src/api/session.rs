//! `/auth`: signing in and out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::actor::Role;
use nexplane_core::aggregate::Principal;
use nexplane_core::api::{FirstRunRequest, LoginRequest, LoginResponse, Me};
use nexplane_core::id::PersonId;
use nexplane_core::person::{Person, PersonCommand};
use nexplane_core::time::Timestamp;
use uuid::Uuid;

use super::guard::{JsonBody, is_secure, placed};
use super::people::{add_person, check_password};
use crate::app::App;
use crate::auth::{self, Caller, Claims, Credential, SESSION_TTL_S, TOKEN_TTL_S};
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// `POST /auth/login`
pub async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginRequest>,
) -> ApiResult<Response> {
    let email = body.email.trim().to_lowercase();
    app.throttle.check(&email)?;
    if let Some(guest) = &app.guest {
        if !guest.is(&body) {
            app.throttle.failed(&email);
            return Err(ApiError::unauthenticated(
                "auth.invalid",
                "This is a replay: open the link that it printed when it started.",
            ));
        }
        let claims = claims(guest.id, Uuid::now_v7(), stream::now());
        return Ok(token(&app, &claims, Some(is_secure(&headers))));
    }
    let known = app.directory.by_email(&email).await?;
    let (entry, hash) = match known {
        Some((entry, hash)) => (Some(entry), hash),
        None => (None, None),
    };
    let right = auth::verify(body.password, hash).await.map_err(ApiError::internal)?;
    let Some(entry) = entry.filter(|_| right) else {
        app.throttle.failed(&email);
        return Err(wrong());
    };
    // Whether the person may sign in is the domain's to say; a disabled account looks like a
    // wrong password to whoever does not know the right one, and not to whoever does.
    app.throttle.succeeded(&email);
    open(&app, entry.id, is_secure(&headers)).await
}

fn wrong() -> ApiError {
    ApiError::unauthenticated("auth.invalid", "E-mail address or password is wrong.")
}

/// Opens a session and answers with its token.
async fn open(app: &App, person: PersonId, secure: bool) -> ApiResult<Response> {
    let now = stream::now();
    let session = Uuid::now_v7();
    let command = PersonCommand::SignIn { person, session };
    let request = Request::once(Principal::SYSTEM, now);
    stream::execute::<Person>(&app.log, person.into(), &request, command).await?;
    app.directory.open_session(session, person, now, now.plus_seconds(SESSION_TTL_S)).await?;
    Ok(token(app, &claims(person, session, now), Some(secure)))
}

fn claims(sub: PersonId, sid: Uuid, now: Timestamp) -> Claims {
    let iat = now.as_micros() / 1_000_000;
    Claims { sub, sid, iat, exp: iat + TOKEN_TTL_S }
}

/// The answer with a token; also as a cookie when `cookie` says whether it is a secure one.
fn token(app: &App, claims: &Claims, cookie: Option<bool>) -> Response {
    let access_token = app.people.jwt().sign(claims);
    let set_cookie = cookie
        .and_then(|secure| HeaderValue::try_from(app.people.cookie(&access_token, secure)).ok());
    let body = LoginResponse {
        access_token,
        token_type: "bearer".to_owned(),
        expires_in: u64::try_from(TOKEN_TTL_S).unwrap_or_default(),
    };
    let mut response = Json(body).into_response();
    response.headers_mut().extend(set_cookie.map(|value| (header::SET_COOKIE, value)));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `POST /auth/refresh`: another token for a session that lasts; the old one may have expired.
pub async fn refresh(State(app): State<App>, headers: HeaderMap) -> ApiResult<Response> {
    let (mut claims, cookie) = app.people.renewable(&headers)?;
    app.people.live_session(claims.clone(), cookie).await?;
    claims.iat = stream::now().as_micros() / 1_000_000;
    claims.exp = claims.iat + TOKEN_TTL_S;
    Ok(token(&app, &claims, cookie.then(|| is_secure(&headers))))
}

/// `POST /auth/logout`: works at once, for every copy of the token.
pub async fn logout(State(app): State<App>, caller: Caller) -> ApiResult<Response> {
    let Credential::Session { claims, .. } = &caller.credential else {
        return Err(ApiError::conflict(
            "auth.not_a_session",
            "An API token is not a session. Revoke it with DELETE /api/v1/tokens/{id}.",
        ));
    };
    // A guest has no session to end.
    if app.guest.is_none() {
        app.directory.end_session(claims.sid).await?;
        let command = PersonCommand::SignOut { person: caller.person, session: claims.sid };
        let request = Request::once(Principal::SYSTEM, stream::now());
        stream::execute::<Person>(&app.log, caller.person.into(), &request, command).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(
        HeaderValue::try_from(app.people.clear_cookie()).ok().map(|v| (header::SET_COOKIE, v)),
    );
    Ok(response)
}

/// `GET /auth/me`
pub async fn me(State(app): State<App>, caller: Caller) -> ApiResult<Json<Me>> {
    if let Some(guest) = &app.guest {
        return Ok(Json(guest.me()));
    }
    let entry = app.directory.by_id(caller.person).await?;
    let entry = entry.ok_or_else(|| ApiError::not_found("person"))?;
    Ok(Json(Me {
        id: caller.person,
        email: entry.email,
        name: entry.name,
        machine: caller.is_machine(),
        roles: caller.principal.roles,
        replay: None,
        demo: app.demo,
    }))
}

/// `POST /auth/first-run`: makes the first admin and signs them in. The link works once.
pub async fn first_run(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<FirstRunRequest>,
) -> ApiResult<Response> {
    check_password(&body.password)?;
    super::people::check_email(&body.email)?;
    // Somebody may have been added on the command line since the link was printed.
    let nobody = app.directory.is_empty().await?;
    if !nobody || !app.directory.redeem_first_run(&body.token).await? {
        return Err(ApiError::unauthenticated(
            "auth.invalid",
            "This first-run link was used already, or is too old. Restart the server for a new one, or run 'nexplane user add'.",
        ));
    }
    let request = Request::once(Principal::SYSTEM, stream::now());
    let roles = vec![Role::Admin, Role::Operator];
    let (person, added) = add_person(
        &app.log,
        &app.directory,
        &request,
        &body.email,
        &body.name,
        roles,
        Some(body.password),
    )
    .await?;
    Ok(placed(open(&app, person, is_secure(&headers)).await?, added.position))
}
