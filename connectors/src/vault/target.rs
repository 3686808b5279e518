//! Things of a server as targets: their asset types and external keys.
//!
//! A mount may have slashes in its path, as a secret has: in keys the mount is one part, its slashes escaped.

use nexplane_core::plan::TargetRef;

use crate::sdk::ConnectorError;

/// Asset type of secrets of KV version 2; external key `secret/<mount>/<path>`.
pub const SECRET: &str = "vault_kv_path";
/// Asset type of mounts of KV version 2; external key `mount/<mount>`.
pub const KV_MOUNT: &str = "vault_kv_mount";
/// Asset type of ACL policies; external key `policy/<name>`.
pub const POLICY: &str = "vault_policy";
/// Asset type of auth methods; external key `auth/<mount>`.
pub const AUTH_METHOD: &str = "vault_auth_method";
/// Asset type of database secrets engines; external key `mount/<mount>`.
pub const DATABASE_MOUNT: &str = "vault_database_mount";
/// Asset type of static roles of database secrets engines; external key `database/<mount>/<role>`.
pub const DATABASE_ROLE: &str = "vault_database_role";

/// Something below a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Without slashes at its ends.
    pub mount: String,
    pub path: String,
}

impl Place {
    pub fn new(mount: &str, path: &str) -> Self {
        Self { mount: mount.to_owned(), path: path.to_owned() }
    }

    /// The API's path of `part` of it, such as `data`.
    pub fn api(&self, part: &str) -> String {
        format!("{}/{part}/{}", self.mount, self.path)
    }

    /// As people write it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.mount, self.path)
    }

    pub fn key(&self, kind: &str) -> String {
        format!("{kind}/{}/{}", escape(&self.mount), self.path)
    }
}

pub fn secret_of(target: &TargetRef) -> Result<Place, ConnectorError> {
    place_of(target, "secret")
}

pub fn database_role_of(target: &TargetRef) -> Result<Place, ConnectorError> {
    place_of(target, "database")
}

pub fn policy_of(target: &TargetRef) -> Result<&str, ConnectorError> {
    rest_of(target, "policy")
}

/// The path of the auth method's mount, without slashes at its ends.
pub fn auth_method_of(target: &TargetRef) -> Result<&str, ConnectorError> {
    rest_of(target, "auth")
}

pub fn escape(mount: &str) -> String {
    mount.replace('%', "%25").replace('/', "%2F")
}

fn place_of(target: &TargetRef, kind: &str) -> Result<Place, ConnectorError> {
    match rest_of(target, kind)?.split_once('/') {
        Some((mount, path)) if !mount.is_empty() && !path.is_empty() => {
            let mount = mount.replace("%2F", "/").replace("%25", "%");
            Ok(Place { mount, path: path.to_owned() })
        }
        _ => {
            Err(ConnectorError::invalid(format!("the external key must be {kind}/<mount>/<path>")))
        }
    }
}

fn rest_of<'a>(target: &'a TargetRef, kind: &str) -> Result<&'a str, ConnectorError> {
    let rest = target.external_key.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/'));
    // Neither would reach the server as it is here: URLs lose control characters, and Vault trims names.
    let fits =
        |rest: &&str| !rest.is_empty() && rest.trim() == *rest && !rest.contains(char::is_control);
    rest.filter(fits).ok_or_else(|| {
        ConnectorError::invalid(format!("the external key must begin with {kind}/ and a name"))
    })
}

#[cfg(test)]
mod tests {
    use nexplane_core::id::AssetId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn keys_come_back_as_they_were() {
        for (mount, path) in [("secret", "app/db"), ("team/kv", "a/b c"), ("50%2F/x", "%2F")] {
            let place = Place::new(mount, path);
            let target = TargetRef {
                asset: AssetId(Uuid::nil()),
                kind: SECRET.to_owned(),
                external_key: place.key("secret"),
                name: place.name(),
            };
            assert_eq!(secret_of(&target).unwrap(), place, "{}", target.external_key);
            assert!(database_role_of(&target).is_err() && policy_of(&target).is_err());
        }
    }
}
