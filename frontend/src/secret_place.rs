//! Where a secret field's secret is, in a form: typed into it, in a file, or in Vault.
//!
//! What is chosen is a part of what is filled in, under the field's name with a `#`, which no field of a schema has.

use nexplane_core::secret_ref::{KEY, SecretRef, VaultRef};
use serde_json::Value;

use crate::schema::Filled;

/// What a reference to Vault has in a form, with label and whether it is needed.
pub const VAULT_PARTS: [(&str, &str, bool); 5] = [
    ("connection", "Connection", true),
    ("mount", "Mount", true),
    ("path", "Path", true),
    ("field", "Field", true),
    ("version", "Version", false),
];

/// Where KV version 2 is mounted, unless somebody mounts it elsewhere.
const USUAL_MOUNT: &str = "secret";

/// Where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Typed,
    File,
    Vault,
}

impl Place {
    pub const ALL: [Self; 3] = [Self::Typed, Self::File, Self::Vault];

    /// The chosen one.
    pub fn of(filled: &Filled, field: &str) -> Self {
        let chosen = filled.get(&key(field, "from")).map(String::as_str);
        Self::ALL.into_iter().find(|place| Some(place.as_str()) == chosen).unwrap_or_default()
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Typed => "typed",
            Self::File => "file",
            Self::Vault => "vault",
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Typed => "Enter it",
            Self::File => "In a file",
            Self::Vault => "In Vault",
        }
    }
}

/// The key of a part of a field.
pub fn key(field: &str, part: &str) -> String {
    format!("{field}#{part}")
}

/// What a part holds.
pub fn part<'a>(filled: &'a Filled, field: &str, part: &str) -> &'a str {
    let usual = if part == "mount" { USUAL_MOUNT } else { "" };
    filled.get(&key(field, part)).map_or(usual, String::as_str)
}

/// Fills in a reference, if that is what is there.
pub fn fill(filled: &mut Filled, field: &str, known: &Value) -> bool {
    let Some(Ok(reference)) = SecretRef::of(known) else { return false };
    let mut put = |part: &str, text: String| drop(filled.insert(key(field, part), text));
    match reference {
        SecretRef::File(name) => {
            put("from", Place::File.as_str().to_owned());
            put("file", name);
        }
        SecretRef::Vault(VaultRef { connection, mount, path, field, version }) => {
            put("from", Place::Vault.as_str().to_owned());
            put("connection", connection);
            put("mount", mount);
            put("path", path);
            put("field", field);
            put("version", version.map(|version| version.to_string()).unwrap_or_default());
        }
    }
    true
}

/// The reference that is filled in, or which part is wrong and why; nothing when the secret is typed.
pub fn value(filled: &Filled, field: &str) -> Option<Result<Value, (String, String)>> {
    let text = |name: &str| part(filled, field, name).trim().to_owned();
    let needed = |name: &str| Err((key(field, name), "This is needed.".to_owned()));
    let reference = match Place::of(filled, field) {
        Place::Typed => return None,
        Place::File if text("file").is_empty() => return Some(needed("file")),
        Place::File => SecretRef::File(text("file")),
        Place::Vault => {
            let missing =
                VAULT_PARTS.iter().find(|(name, _, needed)| *needed && text(name).is_empty());
            if let Some((name, ..)) = missing {
                return Some(needed(name));
            }
            let version = match text("version") {
                none if none.is_empty() => None,
                version => match version.parse() {
                    Ok(version) => Some(version),
                    Err(_) => {
                        let reason = "This has to be a whole number.".to_owned();
                        return Some(Err((key(field, "version"), reason)));
                    }
                },
            };
            SecretRef::Vault(VaultRef {
                connection: text("connection"),
                mount: text("mount"),
                path: text("path"),
                field: text("field"),
                version,
            })
        }
    };
    let value = reference.to_field();
    Some(match SecretRef::of(&value) {
        Some(Err(fault)) => {
            let name = fault.pointer.rsplit('/').next().unwrap_or_default();
            Err((key(field, name), crate::words::sentence(&fault.reason)))
        }
        Some(Ok(_)) | None => Ok(value),
    })
}

/// The input that an error of the server about a reference belongs to; `pointer` begins with the field's name.
pub fn input_of(pointer: &str) -> String {
    let mut parts = pointer.split('/');
    let field = parts.next().unwrap_or_default();
    match (parts.next(), parts.next_back()) {
        (Some(KEY), Some(name)) => key(field, name),
        _ => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(parts: &[(&str, &str)]) -> Filled {
        parts.iter().map(|(part, text)| (key("password", part), (*text).to_owned())).collect()
    }

    #[test]
    fn what_is_typed_is_no_reference() {
        assert_eq!(value(&filled(&[]), "password"), None);
        assert_eq!(value(&filled(&[("from", "typed"), ("file", "x")]), "password"), None);
    }

    #[test]
    fn a_reference_comes_back_as_it_was() {
        for reference in [
            json!({ "secret_ref": { "file": "shared/db" } }),
            json!({ "secret_ref": { "vault": {
                "connection": "safe", "mount": "kv", "path": "app/db", "field": "pin", "version": 3,
            } } }),
        ] {
            let mut form = Filled::new();
            assert!(fill(&mut form, "password", &reference));
            assert_eq!(value(&form, "password"), Some(Ok(reference)));
        }
        assert!(!fill(&mut Filled::new(), "password", &json!("text")));
    }

    #[test]
    fn what_is_wrong_is_said_at_its_input() {
        let wrong =
            |parts: &[(&str, &str)]| value(&filled(parts), "password").unwrap().unwrap_err().0;
        assert_eq!(wrong(&[("from", "file")]), "password#file");
        assert_eq!(wrong(&[("from", "file"), ("file", "../x")]), "password#file");
        let vault = [("from", "vault"), ("connection", "c"), ("path", "a"), ("field", "b")];
        assert!(value(&filled(&vault), "password").unwrap().is_ok(), "secret is the usual mount");
        assert_eq!(wrong(&vault[..3]), "password#field");
        assert_eq!(wrong(&[&vault[..], &[("version", "x")]].concat()), "password#version");
        assert_eq!(wrong(&[&vault[..], &[("mount", "/")]].concat()), "password#mount");
    }

    #[test]
    fn errors_of_the_server_find_their_inputs() {
        assert_eq!(input_of("password"), "password");
        assert_eq!(input_of("password/secret_ref/file"), "password#file");
        assert_eq!(input_of("password/secret_ref/vault/connection"), "password#connection");
    }
}
