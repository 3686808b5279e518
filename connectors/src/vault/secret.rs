//! One value of a secret of KV version 2, for the server: a secret field of another connection refers to it.
//!
//! Where it may be sent is for whoever keeps the secret to say, in its custom metadata:
//! `bao kv metadata patch -mount=secret -custom-metadata=nexplane_hosts=db.example.org:5432 app/db`. The server answers
//! it together with the secret, so nobody needs a further right.
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Vault;
use super::kv::hidden;
use super::session::{Answer, Answered, Session, refusal};
use super::target::Place;
use crate::sdk::{
    Advice, AnySession, Call, ConnectorError, Destinations, ErrorKind, Lent, SecretText,
    TypedSession,
};

/// Key of the custom metadata that says where a secret may be sent, as [`Destinations`] read it.
pub const HOSTS: &str = "nexplane_hosts";

/// Reads one value, the newest unless a version is given. It changes nothing. Errors: `NotFound` (no such secret,
/// version or field), `Forbidden`, `Refused` (its metadata do not say where it may be used), `Invalid` (no text), and
/// what reaching the server can end with.
pub async fn read(
    session: &dyn AnySession,
    mount: &str,
    path: &str,
    field: &str,
    version: Option<u64>,
) -> Result<Lent, ConnectorError> {
    let session = TypedSession::<Vault>::of(session)?;
    let secret = Place::new(mount, path);
    let key = secret.key("secret");
    let call = Call {
        connector: "vault",
        action: None,
        target: Some(&key),
        act: "lend",
        limit: session.cx.call_timeout,
        effect: None,
    };
    call.run_again(&session.redactor, || lend(&session.inner, &secret, field, version)).await
}

async fn lend(
    session: &Session,
    secret: &Place,
    field: &str,
    version: Option<u64>,
) -> Result<Lent, ConnectorError> {
    #[derive(Deserialize)]
    struct Version {
        data: Option<BTreeMap<String, Box<RawValue>>>,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        custom_metadata: Option<BTreeMap<String, String>>,
    }
    let name = secret.name();
    let never = |kind, message| ConnectorError::new(kind, Advice::Never, message);
    let missing = || {
        let what = version.map_or_else(|| "secret".to_owned(), |no| format!("version {no}"));
        let message = format!("there is no {what} at {name} in KV version 2, or it is deleted");
        never(ErrorKind::NotFound, message)
    };
    let reply = match session.read_version(&secret.api("data"), version).await? {
        Answer::Found(reply) => reply,
        Answer::Absent(_) => return Err(missing()),
        Answer::Denied => return Err(hidden(&name)),
        Answer::Refused(reply) => return Err(refusal(&reply)),
    };
    let Version { data, metadata } = reply.json::<Answered<Version>>()?.data;
    let data = data.ok_or_else(missing)?;
    let absent = || never(ErrorKind::NotFound, format!("{name} has no field '{field}'"));
    let raw = data.get(field).ok_or_else(absent)?;
    // The error's own text would quote the value.
    let text: SecretText = serde_json::from_str(raw.get())
        .map_err(|_| never(ErrorKind::Invalid, format!("'{field}' of {name} is not a text")))?;
    let said = metadata.custom_metadata.unwrap_or_default().remove(HOSTS).unwrap_or_default();
    let destinations = Destinations::parse(&said).map_err(|why| {
        let message = format!(
            "{name} may not be used by other connections: its custom metadata {HOSTS} has to name the host:port that it \
             may be used at ({why})"
        );
        never(ErrorKind::Refused, message)
    })?;
    Ok(Lent { text, destinations })
}
