//! What a connection to a directory needs.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::sdk::{ConnectorError, SecretText};

/// How the connection is protected.
///
/// There is no way without TLS: a simple bind (RFC 4513 §5.1.3) sends the password as it is, and Active
/// Directory takes new passwords over TLS only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// TLS from the first byte, usually on port 636.
    Ldaps,
    /// TLS by the StartTLS operation (RFC 4511 §4.14), usually on port 389. Nothing is said before it but that.
    Starttls,
}

/// How to reach the directory and as whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// ldaps://host or ldaps://host:port; or, with starttls, ldap://host. The server's certificate must be for this
    /// host: a name or an IPv4 address.
    #[schemars(length(min = 8, max = 300))]
    pub url: String,
    /// TLS by the StartTLS operation, for ldap://. There is no way without TLS.
    #[serde(default)]
    pub starttls: bool,
    /// DN of the account to bind as; with Active Directory also its user principal name (user@domain).
    #[schemars(length(min = 1, max = 1024))]
    pub bind_dn: String,
    /// Password of that account.
    #[schemars(length(min = 1))]
    pub bind_password: SecretText,
    /// DN below which everything lies that is managed here; the directory's own naming context unless given.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub base_dn: Option<String>,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

/// Where a directory is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub protection: Protection,
}

impl Credentials {
    /// Errors: `Invalid`, for a URL that is none, or one without TLS.
    pub fn place(&self) -> Result<Place, ConnectorError> {
        let invalid = |message: &str| Err(ConnectorError::invalid(message));
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let protection = match (scheme.to_ascii_lowercase().as_str(), self.starttls) {
            ("ldaps", false) => Protection::Ldaps,
            ("ldap", true) => Protection::Starttls,
            ("ldaps", true) => {
                return invalid("ldaps:// has TLS from the beginning: leave starttls out");
            }
            ("ldap", false) => {
                return invalid(
                    "ldap:// without TLS would send the password as it is: use ldaps://, or set starttls",
                );
            }
            _ => return invalid("url must begin with ldaps://, or with ldap:// and starttls"),
        };
        let usual = match protection {
            Protection::Ldaps => 636,
            Protection::Starttls => 389,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
            None => (rest, Some(usual)),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match port {
            Some(port) if !host.is_empty() && host.chars().all(plain) => {
                Ok(Place { host: host.to_owned(), port, protection })
            }
            _ => invalid(
                "url must have a name or an IPv4 address, and nothing behind host and port: give a server with an \
                 IPv6 address a name",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, starttls: bool) -> Result<Place, ConnectorError> {
        let password = SecretText::new("x".to_owned());
        Credentials {
            url: url.to_owned(),
            starttls,
            bind_dn: "cn=a".to_owned(),
            bind_password: password,
            base_dn: None,
            ca_certificate: None,
        }
        .place()
    }

    #[test]
    fn a_url_has_a_host_and_tls() {
        for (url, starttls, host, port) in [
            ("ldaps://dc1.example", false, "dc1.example", 636),
            ("LDAPS://127.0.0.1:1636/", false, "127.0.0.1", 1636),
            ("ldap://dc1", true, "dc1", 389),
            ("ldap://dc1:1389", true, "dc1", 1389),
        ] {
            let place = place(url, starttls).unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port), "{url}");
        }
        for (url, starttls) in [
            ("ldap://dc1", false),
            ("ldaps://dc1", true),
            ("dc1", false),
            ("http://dc1", false),
            ("ldaps://", false),
            ("ldaps://dc1:0", false),
            ("ldaps://dc1:70000", false),
            ("ldaps://user@dc1", false),
            ("ldaps://dc1/dc=x", false),
            ("ldaps://[::1]:636", false),
        ] {
            assert!(place(url, starttls).is_err(), "{url}");
        }
    }
}
