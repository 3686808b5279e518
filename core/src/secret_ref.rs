//! Where a secret is, instead of the secret: what may stand in a secret field of a connection's credentials.
//!
//! `{"secret_ref": {"file": "orders-db"}}`, or `{"secret_ref": {"vault": {"connection": "…", "mount": "secret",
//! "path": "app/db", "field": "password"}}}`. A reference is no secret: it is stored and shown like a setting. What is
//! there is read when a session is opened, and by the server only.
//!
//! Deliberately absent: reading, and where what was read may be sent. Both are for the server.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The one key of the object that stands instead of a secret.
pub const KEY: &str = "secret_ref";

/// What a file is called that says where the secret beside it may be sent: its name, and this.
pub const HOSTS_SUFFIX: &str = ".hosts";

const MAX_FILE: usize = 200;
const MAX_PATH: usize = 500;
const MAX_FIELD: usize = 200;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// A file in the folder of secrets that the server's operator configured: names of `A-Z a-z 0-9 . _ -` that begin
    /// with no dot, separated by `/`; at most 200 characters.
    File(String),
    /// A value of a secret of KV version 2 in Vault or OpenBao.
    Vault(VaultRef),
}

/// One value of a secret of KV version 2, read by a connection to the server that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultRef {
    /// Id of a connection of type `vault`. Where a person gives a reference, its name will do.
    pub connection: String,
    /// Where the secrets engine is mounted, such as `secret`; may have slashes.
    pub mount: String,
    /// Of the secret below its mount, such as `app/db`.
    pub path: String,
    /// Key of the value in the secret, such as `password`. The value has to be a text.
    pub field: String,
    /// The newest unless given. From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) from the field that the reference stands in.
    pub pointer: &'static str,
    pub reason: String,
}

impl SecretRef {
    /// The reference that stands in a field, or what is wrong with it. `None` for everything that is no object: that is
    /// the secret itself, or nothing.
    pub fn of(value: &Value) -> Option<Result<Self, Fault>> {
        let map = value.as_object()?;
        let inner = map.get(KEY).filter(|_| map.len() == 1);
        // The error's own text could quote what somebody took for the place of the secret itself.
        let form = || Fault {
            pointer: "",
            reason: format!(
                "must be a text, or {{\"{KEY}\": {{\"file\": …}}}}, or {{\"{KEY}\": {{\"vault\": {{\"connection\", \
                 \"mount\", \"path\", \"field\"}}}}}}"
            ),
        };
        let parsed = inner.and_then(|inner| serde_json::from_value::<Self>(inner.clone()).ok());
        Some(parsed.ok_or_else(form).and_then(|reference| reference.check().map(|()| reference)))
    }

    /// As it stands in a field.
    pub fn to_field(&self) -> Value {
        serde_json::json!({ KEY: self })
    }

    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::File(name) => {
                check_file(name).map_err(|reason| Fault { pointer: "/secret_ref/file", reason })
            }
            Self::Vault(vault) => vault.check(),
        }
    }
}

impl VaultRef {
    fn check(&self) -> Result<(), Fault> {
        let fault = |pointer, reason: String| Err(Fault { pointer, reason });
        if self.connection.trim().is_empty() {
            return fault("/secret_ref/vault/connection", "must not be empty".to_owned());
        }
        for (pointer, path) in
            [("/secret_ref/vault/mount", &self.mount), ("/secret_ref/vault/path", &self.path)]
        {
            if let Err(reason) = check_path(path) {
                return fault(pointer, reason);
            }
        }
        if self.field.is_empty() || self.field.len() > MAX_FIELD {
            return fault("/secret_ref/vault/field", format!("1 to {MAX_FIELD} characters"));
        }
        if self.version == Some(0) {
            return fault("/secret_ref/vault/version", "versions begin with 1".to_owned());
        }
        Ok(())
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Vault(VaultRef { mount, path, field, version, .. }) => {
                write!(f, "{field} of {mount}/{path}")?;
                version.map_or(Ok(()), |version| write!(f, ", version {version}"))?;
                f.write_str(" in Vault")
            }
        }
    }
}

fn check_file(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_segment =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed);
    if !name.split('/').all(is_segment) {
        return Err(
            "use names of letters, digits, '.', '_' and '-' that begin with no dot, and '/' between them"
                .to_owned(),
        );
    }
    if name.len() > MAX_FILE {
        return Err(format!("at most {MAX_FILE} characters"));
    }
    if name.ends_with(HOSTS_SUFFIX) {
        return Err(format!(
            "names that end in {HOSTS_SUFFIX} say where a secret may go, and are none"
        ));
    }
    Ok(())
}

/// Neither would reach Vault as it is here: URLs lose parts that are dots, and Vault trims names.
fn check_path(path: &str) -> Result<(), String> {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.trim() == part;
    if !path.split('/').all(is_part) || path.contains(char::is_control) {
        return Err("give names with single slashes between them, none at the ends".to_owned());
    }
    if path.len() > MAX_PATH {
        return Err(format!("at most {MAX_PATH} characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(name: &str) -> Result<SecretRef, Fault> {
        SecretRef::of(&json!({ "secret_ref": { "file": name } })).unwrap()
    }

    fn vault(change: impl FnOnce(&mut Value)) -> Result<SecretRef, Fault> {
        let mut vault = json!({
            "connection": "safe", "mount": "secret", "path": "app/db", "field": "password",
        });
        change(&mut vault);
        SecretRef::of(&json!({ "secret_ref": { "vault": vault } })).unwrap()
    }

    #[test]
    fn a_secret_is_no_reference() {
        for value in [json!("secret_ref"), json!(null), json!(["file"]), json!(1)] {
            assert_eq!(SecretRef::of(&value), None);
        }
    }

    #[test]
    fn a_file_is_named_by_plain_names() {
        for name in ["orders-db", "shared/ldap.password", "a/b/c", "_x", "-x", "x..y"] {
            let reference = file(name).unwrap();
            assert_eq!(SecretRef::of(&reference.to_field()), Some(Ok(reference)));
        }
        let long = "x".repeat(201);
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            ".x",
            "a/.b",
            "..data/x",
            "a b",
            "a\\b",
            "a\0",
            "ä",
            "x.hosts",
            &long,
        ] {
            assert_eq!(file(name).unwrap_err().pointer, "/secret_ref/file", "{name}");
        }
    }

    #[test]
    fn a_value_in_vault_is_named_by_mount_path_and_field() {
        let shown = vault(|vault| vault["version"] = json!(3)).unwrap();
        assert_eq!(shown.to_string(), "password of secret/app/db, version 3 in Vault");
        assert!(vault(|vault| vault["mount"] = json!("team/kv")).is_ok());
        for (field, value) in [
            ("connection", json!(" ")),
            ("mount", json!("")),
            ("mount", json!("secret/")),
            ("path", json!("../../sys/seal")),
            ("path", json!("a/./b")),
            ("path", json!("/a")),
            ("path", json!("a \u{7}")),
            ("path", json!("a/ b")),
            ("field", json!("")),
            ("version", json!(0)),
        ] {
            let fault = vault(|vault| vault[field] = value.clone()).unwrap_err();
            assert_eq!(fault.pointer, format!("/secret_ref/vault/{field}"), "{value}");
        }
    }

    /// What somebody put where the reference should be may be the secret.
    #[test]
    fn a_fault_of_form_quotes_nothing() {
        for value in [
            json!({}),
            json!({ "secret_ref": "hunter22" }),
            json!({ "secret_ref": { "hunter22": 1 } }),
            json!({ "secret_ref": { "file": ["hunter22"] } }),
            json!({ "secret_ref": { "file": "x", "vault": {} } }),
            json!({ "secret_ref": { "file": "x" }, "hunter22": 1 }),
            json!({ "secret_ref": { "vault": { "connection": "hunter22" } } }),
        ] {
            let fault = SecretRef::of(&value).unwrap().unwrap_err();
            assert_eq!(fault.pointer, "");
            assert!(!fault.reason.contains("hunter22"), "{fault:?}");
        }
        assert!(vault(|vault| vault["other"] = json!(1)).is_err());
    }
}
