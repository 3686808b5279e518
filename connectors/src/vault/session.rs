//! An open way to one server: an HTTP client that is logged in.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::Account;
use super::credentials::Credentials;
use crate::sdk::http::{Base, Http, Reply, Request};
use crate::sdk::tls::bare;
use crate::sdk::{Advice, ConnectorError, ErrorKind, OpenContext, Redactor, SecretText};

const TOKEN: &str = "x-vault-token";
const NAMESPACE: &str = "x-vault-namespace";
/// Servers may insist on it, against requests that a browser was tricked into.
/// <https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent#require_request_header>
const REQUEST: &str = "x-vault-request";

/// A session.
pub struct Session {
    http: Http,
    pub account: Account,
    /// Its own: given with the credentials, or by the login.
    pub(super) token: SecretText,
}

/// What came of a question.
pub enum Answer {
    Found(Reply),
    /// There is nothing. The reply may still say more, as of a version that was deleted.
    Absent(Reply),
    /// The policies of our token do not allow the question.
    Denied,
    /// The server does not answer such a question, whoever asks.
    Refused(Reply),
}

impl Session {
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let ca = credentials.ca_certificate.as_deref();
        let base = Base::of_url("address", &credentials.address, ca)?;
        if !base.tls && !is_this_machine(&base.host) {
            let message = "address may be http only for a proxy on this machine (127.0.0.1, localhost): use https";
            return Err(ConnectorError::invalid(message));
        }
        let mut http = Http::try_new(&base, cx)?.with_header(REQUEST, "true")?;
        if let Some(namespace) = &credentials.namespace {
            http = http.with_header(NAMESPACE, namespace)?;
        }
        let token = match (credentials.token, credentials.role_id, credentials.secret_id) {
            (Some(token), None, None) => token,
            (None, Some(role), Some(secret)) => {
                let mount = credentials.approle_mount.as_deref().unwrap_or("approle");
                log_in(&http, mount, &role, &secret).await?
            }
            _ => {
                let message = "give either token, or role_id and secret_id";
                return Err(ConnectorError::invalid(message));
            }
        };
        let http = http.with_secret_header(TOKEN, &token)?;
        let hidden = |error| Redactor::new(vec![token.clone()]).error(error);
        let account = Account::of(&http).await.map_err(hidden)?;
        Ok(Self { http, account, token })
    }

    /// Reads what is at a path of the API, such as `sys/mounts`.
    pub async fn read(&self, path: &str) -> Result<Answer, ConnectorError> {
        self.read_version(path, None).await
    }

    /// The same of one version of a secret, the newest unless given.
    pub async fn read_version(
        &self,
        path: &str,
        version: Option<u64>,
    ) -> Result<Answer, ConnectorError> {
        let mut request = Request::get(parts(path));
        if let Some(version) = version {
            request = request.with_query("version", version.to_string());
        }
        let reply = self.http.send(request).await?;
        self.settle(reply, path, "read").await
    }

    /// The names at a path; folders end in a slash.
    pub async fn list(&self, path: &str) -> Result<Listing, ConnectorError> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let request = Request::get(parts(path)).with_query("list", "true");
        let reply = self.http.send(request).await?;
        Ok(match self.settle(reply, path, "list").await? {
            Answer::Found(reply) => Listing::Names(reply.json::<Answered<Keys>>()?.data.keys),
            // Nothing is there when the server says so, not when some page is not found.
            Answer::Absent(reply)
                if reply
                    .said()
                    .get("errors")
                    .and_then(Value::as_array)
                    .is_some_and(Vec::is_empty) =>
            {
                Listing::Names(Vec::new())
            }
            Answer::Absent(reply) => return Err(refusal(&reply)),
            Answer::Denied => Listing::Denied,
            Answer::Refused(reply) => return Err(refusal(&reply)),
        })
    }

    /// Asks what the API wants to be asked with a body. It is no effect.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Answer, ConnectorError> {
        let reply = self.http.send(Request::ask(parts(path)).with_body(body)?).await?;
        self.settle(reply, path, "update").await
    }

    /// Changes the target. A refusal is an error: `Invalid` for what the server does not accept, which may be
    /// because the target moved.
    pub async fn write(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Reply, ConnectorError> {
        let request = Request::effect(Method::POST, parts(path)).with_body(body)?;
        let reply = self.http.send(request).await?;
        if reply.is_success() {
            return Ok(reply);
        }
        if reply.status == 403 {
            // It had no effect: whatever is found out now, that stays true.
            Account::of(&self.http).await.map_err(|error| ConnectorError {
                advice: if error.is_outcome_unknown() { Advice::Later } else { error.advice },
                ..error
            })?;
            let message = format!("the connection's policies do not allow to update {path}");
            return Err(ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message));
        }
        Err(refusal(&reply))
    }

    /// What our token may do at each of the paths. It needs no more than the policy `default`.
    pub async fn capabilities(
        &self,
        paths: &[&str],
    ) -> Result<std::collections::BTreeMap<String, Vec<String>>, ConnectorError> {
        let body = json!({ "paths": paths });
        let request = Request::ask(["v1", "sys", "capabilities-self"]).with_body(&body)?;
        let reply = self.http.send(request).await?;
        match reply.status {
            200..300 => Ok(reply.json::<Answered<_>>()?.data),
            403 => {
                // Either the token is not valid any more, or it has not even that right.
                Account::of(&self.http).await?;
                let message = "the token may not ask what it may do: give it the policy default, or \
                               add to the connection's policy: path \"sys/capabilities-self\" \
                               { capabilities = [\"update\"] }";
                Err(ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message))
            }
            _ => Err(refusal(&reply)),
        }
    }

    /// A 403 can mean that the path is denied, that the token is not valid any more, or, from some versions, that
    /// what was asked about is not there: the token is asked what it may do.
    async fn settle(
        &self,
        reply: Reply,
        path: &str,
        capability: &str,
    ) -> Result<Answer, ConnectorError> {
        match reply.status {
            200..300 => Ok(Answer::Found(reply)),
            404 => Ok(Answer::Absent(reply)),
            400 => Ok(Answer::Refused(reply)),
            403 => {
                let held = self.capabilities(&[path]).await?.remove(path).unwrap_or_default();
                let may = held.iter().any(|held| held == capability || held == "root");
                Ok(if may { Answer::Refused(reply) } else { Answer::Denied })
            }
            _ => Err(refusal(&reply)),
        }
    }
}

/// The names at a path.
pub enum Listing {
    Names(Vec<String>),
    /// The policies of our token do not allow to list it.
    Denied,
}

/// Whether nothing that is said there leaves this machine.
fn is_this_machine(host: &str) -> bool {
    let address = bare(host).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What the API wraps its answers in.
#[derive(Deserialize)]
pub struct Answered<T> {
    pub data: T,
}

/// The error of an answer that is none of the expected ones.
pub fn refusal(reply: &Reply) -> ConnectorError {
    reply.refusal(&words(&reply.said()))
}

/// What the server says of an error, in one line.
/// <https://developer.hashicorp.com/vault/api-docs#error-response>
pub fn words(said: &Value) -> String {
    let errors = said.get("errors").and_then(Value::as_array).into_iter().flatten();
    let words: Vec<_> = errors.filter_map(Value::as_str).flat_map(str::split_whitespace).collect();
    words.join(" ")
}

/// The parts of a path of the API.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once("v1").chain(path.split('/'))
}

/// <https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle>
async fn log_in(
    http: &Http,
    mount: &str,
    role_id: &str,
    secret_id: &SecretText,
) -> Result<SecretText, ConnectorError> {
    #[derive(Serialize)]
    struct Login<'a> {
        role_id: &'a str,
        secret_id: &'a str,
    }
    #[derive(Deserialize)]
    struct Answer {
        auth: Auth,
    }
    #[derive(Deserialize)]
    struct Auth {
        client_token: SecretText,
    }
    let path = format!("auth/{}/login", mount.trim_matches('/'));
    let login = Login { role_id, secret_id: secret_id.expose() };
    let reply = http.send(Request::ask(parts(&path)).with_body(&login)?).await?;
    match reply.status {
        200..300 => Ok(reply.json::<Answer>()?.auth.client_token),
        400 | 401 | 403 | 404 => {
            let message = format!("the server does not accept role_id and secret_id at {path}");
            Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message)
                .because(refusal(&reply)))
        }
        _ => Err(refusal(&reply)),
    }
}
