//! References to secrets in the credentials of connections: what may stand where, and what is there now.
//!
//! What was read lives as long as the session that it was read for, and no longer: whoever changes a secret where it is
//! kept has changed it for the next session. A session that has it reaches only the hosts that go with it.

use std::sync::Arc;

use nexplane_connectors::sdk::{
    AnyConnector, ConnectorError, Egress, ErrorKind, FieldError, Lent, SecretJson,
};
use nexplane_connectors::vault::secret;
use nexplane_core::connection::Purpose;
use nexplane_core::id::{ChangeId, ConnectionId};
use nexplane_core::secret_ref::{SecretRef, VaultRef};
use serde_json::Value;

use super::targets::{OpenError, Opened, Targets};
use crate::stream::{Request, StreamError};

/// Connector of the connections that read secrets for others. Their own credentials never refer to Vault, so that no
/// chain of references is longer than two.
pub const READER: &str = "vault";

/// The references in credentials, each with the JSON pointer of its field. Errors: those that are none, at their fields.
pub fn references(
    connector: &dyn AnyConnector,
    credentials: &Value,
) -> Result<Vec<(String, SecretRef)>, Vec<FieldError>> {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for pointer in connector.secret_pointers() {
        match credentials.pointer(pointer).and_then(SecretRef::of) {
            None => {}
            Some(Ok(SecretRef::Vault(_))) if connector.spec().id == READER => {
                let reason = "a connection that reads secrets for others cannot have its own in Vault: \
                              enter it, or keep it in a file";
                faults.push(FieldError::new(pointer, reason));
            }
            Some(Ok(reference)) => found.push((pointer.clone(), reference)),
            Some(Err(fault)) => {
                faults.push(FieldError::new(format!("{pointer}{}", fault.pointer), fault.reason));
            }
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// For what, and by whose request, credentials are opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'a> {
    pub connection: ConnectionId,
    pub purpose: Purpose,
    pub change: Option<ChangeId>,
    pub request: &'a Request,
}

impl Targets {
    /// Puts into credentials what their references refer to. The guard is the one that a session with them needs.
    pub(super) async fn resolve(
        &self,
        connector: &dyn AnyConnector,
        credentials: &mut SecretJson,
        used: Use<'_>,
    ) -> Result<Arc<Egress>, OpenError> {
        let found = references(connector, credentials.expose()).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            ConnectorError::invalid(format!("the credentials do not fit: {}", faults.join("; ")))
        })?;
        let mut egress = Arc::clone(&self.egress);
        // The last connection that read, for the next field of the same secret.
        let mut reader = None;
        for (pointer, reference) in found {
            let what = format!("{} ({reference})", pointer.trim_start_matches('/'));
            let lent = match &reference {
                SecretRef::File(name) => self.folder.read(name).await.map_err(OpenError::from),
                SecretRef::Vault(vault) => self.lent(vault, &mut reader, used).await,
            };
            let Lent { text, destinations } = lent.map_err(|error| of_reference(error, &what))?;
            credentials.put(&pointer, &text);
            egress = Arc::new((*egress).clone().only_to(what, destinations));
        }
        Ok(egress)
    }

    async fn lent(
        &self,
        vault: &VaultRef,
        reader: &mut Option<(ConnectionId, Opened)>,
        used: Use<'_>,
    ) -> Result<Lent, OpenError> {
        let id = vault
            .connection
            .parse()
            .map_err(|_| ConnectorError::invalid("the connection is not named by its id"))?;
        let opened = match reader.take().filter(|(open, _)| *open == id) {
            Some((_, opened)) => opened,
            None => self.open_reader(id, used).await?,
        };
        let VaultRef { mount, path, field, version, .. } = vault;
        let lent = secret::read(&*opened.session, mount, path, field, *version).await;
        *reader = Some((id, opened));
        Ok(lent?)
    }

    async fn open_reader(&self, id: ConnectionId, used: Use<'_>) -> Result<Opened, OpenError> {
        let connection = self.connection(id).await?;
        if connection.connector != READER {
            let message = format!("the connection '{}' is not one to Vault", connection.name);
            return Err(ConnectorError::invalid(message).into());
        }
        // Its own references are to files, so this goes no deeper.
        Box::pin(self.open_as(id, used.purpose, used.change, Some(used.connection), used.request))
            .await
    }
}

/// Says which field of the credentials, and where its secret should be.
fn of_reference(error: OpenError, what: &str) -> OpenError {
    let error = match error {
        OpenError::Connector(error) => error,
        OpenError::NoConnection => ConnectorError::invalid(
            "the connection that reads it was removed: name another one in the credentials",
        ),
        OpenError::Connection(StreamError::Rejected(rejection)) => {
            ConnectorError::invalid(rejection.to_string())
        }
        // Our own database is away, or a part of us is missing: it is not about the reference.
        error @ (OpenError::Connection(_)
        | OpenError::NoConnector(_)
        | OpenError::NoAction(_)
        | OpenError::Load(_)
        | OpenError::Vault(_)) => return error,
    };
    // What is not there is the secret, not the target: whoever set the credentials has to act.
    let kind = match error.kind {
        ErrorKind::NotFound => ErrorKind::Invalid,
        kind @ (ErrorKind::Unauthorised
        | ErrorKind::Forbidden
        | ErrorKind::Conflict
        | ErrorKind::Invalid
        | ErrorKind::RateLimited
        | ErrorKind::Unreachable
        | ErrorKind::Timeout
        | ErrorKind::Refused
        | ErrorKind::Unexpected) => kind,
    };
    let message = format!("{what}: {}", error.message);
    OpenError::Connector(ConnectorError { kind, message, action: None, target: None, ..error })
}

#[cfg(test)]
mod tests {
    use nexplane_connectors::sdk::Registry;
    use serde_json::json;

    use super::*;

    fn of(kind: &str, credentials: &Value) -> Result<Vec<String>, Vec<String>> {
        let registry = Registry::standard();
        let found = references(registry.connector(kind).unwrap(), credentials);
        found
            .map(|found| {
                found.into_iter().map(|(pointer, what)| format!("{pointer}: {what}")).collect()
            })
            .map_err(|faults| faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn references_stand_in_secret_fields_and_nowhere_else() {
        let file = json!({ "secret_ref": { "file": "db" } });
        let credentials = json!({ "host": file, "username": "u", "password": file });
        assert_eq!(of("postgres", &credentials), Ok(vec!["/password: file db".to_owned()]));
        let typed = json!({ "host": "db", "username": "u", "password": "secret_ref" });
        assert_eq!(of("postgres", &typed), Ok(Vec::new()));
        let wrong = json!({ "password": { "secret_ref": { "file": "../db" } } });
        assert_eq!(of("postgres", &wrong), Err(vec!["/password/secret_ref/file".to_owned()]));
    }

    /// So there is no circle of connections that wait for each other.
    #[test]
    fn a_connection_that_reads_for_others_refers_to_files_only() {
        let vault = json!({ "secret_ref": { "vault": {
            "connection": "safe", "mount": "secret", "path": "a", "field": "b",
        } } });
        let file = json!({ "secret_ref": { "file": "token" } });
        assert_eq!(of("vault", &json!({ "token": vault })), Err(vec!["/token".to_owned()]));
        assert_eq!(of("vault", &json!({ "token": file })).unwrap().len(), 1);
        assert_eq!(of("redis", &json!({ "password": vault })).unwrap().len(), 1);
    }

    #[test]
    fn an_error_says_which_field_and_where_its_secret_should_be() {
        let of = |error: OpenError| {
            let OpenError::Connector(error) = of_reference(error, "password (file db)") else {
                return None;
            };
            Some((error.kind, error.message))
        };
        let gone = ConnectorError::new(
            ErrorKind::NotFound,
            nexplane_connectors::sdk::Advice::Never,
            "there is no such file",
        );
        let said = "password (file db): there is no such file".to_owned();
        assert_eq!(of(gone.into()), Some((ErrorKind::Invalid, said)));
        assert!(of(OpenError::NoConnection).unwrap().1.contains("was removed"));
        assert_eq!(of(OpenError::Vault(crate::vault::VaultError::Shape)), None);
    }
}
