//! An open, authenticated way to one directory, and what kind of directory it is.

use uuid::Uuid;

use super::credentials::{Credentials, Protection};
use super::entry::Entry;
use super::error::{INVALID_CREDENTIALS, PASSWORD_POLICY};
use super::line::{Line, Way};
use super::name;
use crate::sdk::{Advice, ConnectorError, ErrorKind, OpenContext, SecretText};

/// What only Active Directory says it can: `LDAP_CAP_ACTIVE_DIRECTORY_OID`.
/// <https://learn.microsoft.com/openspecs/windows_protocols/ms-adts/3ed61e6c-cfdc-487d-9f02-5a3397be3772>
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// Paged results (RFC 2696).
const PAGING: &str = "1.2.840.113556.1.4.319";
/// Assertion (RFC 4528).
const ASSERTION: &str = "1.3.6.1.1.12";

/// The kinds of directories, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenLDAP, and what has the same controls. `policies`: it enforces password policies (ppolicy).
    OpenLdap { policies: bool },
    /// Active Directory; Samba is one.
    ActiveDirectory,
}

/// A session. Effects use its one connection: each is a single modification, which the directory makes as a
/// whole or not at all, in whatever moment the connection breaks.
pub struct Session {
    way: Way,
    line: Line,
    pub kind: Kind,
    /// Everything that is managed lies below this DN.
    pub base: String,
    /// As the directory calls itself.
    pub vendor: String,
    own_dn: Option<String>,
    own_sids: Vec<Vec<u8>>,
}

impl Session {
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let way = Way::try_new(credentials, cx)?;
        let line = way.connect().await?;
        let (name, password) = (&way.credentials.bind_dn, &way.credentials.bind_password);
        line.bind(name, password).await?.map_err(|(refusal, code)| refusal.error(code))?;
        let attributes = [
            "supportedCapabilities",
            "supportedControl",
            "defaultNamingContext",
            "namingContexts",
            "vendorName",
            "structuralObjectClass",
            "tokenGroups",
        ];
        let root = line.entry("", "(objectClass=*)", &attributes).await?.ok_or_else(|| {
            let message =
                "the directory does not say what it can: let the account read the root DSE";
            ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
        })?;
        let kind = kind(&root)?;
        let base = match &way.credentials.base_dn {
            Some(base) => base.clone(),
            None => default_base(&root)?,
        };
        let own_dn =
            line.who_am_i().await?.and_then(|who| Some(who.strip_prefix("dn:")?.to_owned()));
        if own_dn.as_deref() == Some("") {
            let message = "the directory takes the account for anonymous";
            return Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message));
        }
        if line.entry(&base, "(objectClass=*)", &["1.1"]).await?.is_none() {
            let message =
                format!("there is no entry {base}, or the account may not read it: check base_dn");
            return Err(ConnectorError::new(ErrorKind::NotFound, Advice::Never, message));
        }
        let vendor = root.text("vendorName").unwrap_or(match kind {
            Kind::OpenLdap { .. } => "OpenLDAP",
            Kind::ActiveDirectory => "Active Directory",
        });
        let own_sids = root.values("tokenGroups").to_vec();
        Ok(Self { vendor: vendor.to_owned(), kind, base, own_dn, own_sids, line, way })
    }

    pub const fn line(&self) -> &Line {
        &self.line
    }

    pub const fn protection(&self) -> Protection {
        self.way.place.protection
    }

    pub fn account(&self) -> &str {
        &self.way.credentials.bind_dn
    }

    /// Whether an entry (with `objectSid`) is the one that this connection is bound as.
    pub fn is_own(&self, entry: &Entry) -> bool {
        let own_dn = self.own_dn.as_deref().unwrap_or(self.account());
        name::normal(own_dn) == name::normal(&entry.dn)
            || entry.values("objectSid").iter().any(|sid| self.own_sids.contains(sid))
    }

    /// Tries a password, on a connection of its own. A wrong one counts as a failed login of the user.
    pub async fn accepts(&self, dn: &str, password: &SecretText) -> Result<bool, ConnectorError> {
        let line = self.way.connect().await?;
        Ok(match line.bind(dn, password).await? {
            Ok(()) => true,
            Err((refusal, code)) => code == INVALID_CREDENTIALS && refusal.proves_password(),
        })
    }

    /// The attribute that holds an id which an entry keeps for good, also when it is renamed or moved:
    /// `entryUUID` (RFC 4530), `objectGUID`.
    pub const fn id_attribute(&self) -> &'static str {
        match self.kind {
            Kind::OpenLdap { .. } => "entryUUID",
            Kind::ActiveDirectory => "objectGUID",
        }
    }

    pub fn id_of(&self, entry: &Entry) -> Option<Uuid> {
        match self.kind {
            Kind::OpenLdap { .. } => Uuid::try_parse(entry.text("entryUUID")?).ok(),
            Kind::ActiveDirectory => Uuid::from_slice_le(entry.values("objectGUID").first()?).ok(),
        }
    }

    pub fn id_filter(&self, id: Uuid) -> String {
        match self.kind {
            Kind::OpenLdap { .. } => format!("(entryUUID={id})"),
            Kind::ActiveDirectory => format!("(objectGUID={})", name::escape(&id.to_bytes_le())),
        }
    }
}

fn kind(root: &Entry) -> Result<Kind, ConnectorError> {
    if root.has("supportedCapabilities", ACTIVE_DIRECTORY) {
        return Ok(Kind::ActiveDirectory);
    }
    for (control, what) in [(PAGING, "paged results, RFC 2696"), (ASSERTION, "assertion, RFC 4528")]
    {
        if !root.has("supportedControl", control) {
            let message = format!(
                "this is neither Active Directory nor a directory like OpenLDAP: it does not offer \
                 control {control} ({what})"
            );
            return Err(ConnectorError::invalid(message));
        }
    }
    Ok(Kind::OpenLdap { policies: root.has("supportedControl", PASSWORD_POLICY) })
}

fn default_base(root: &Entry) -> Result<String, ConnectorError> {
    if let Some(base) = root.text("defaultNamingContext") {
        return Ok(base.to_owned());
    }
    let contexts: Vec<_> = root.texts("namingContexts").collect();
    match *contexts {
        [one] => Ok(one.to_owned()),
        [] => Err(ConnectorError::invalid("the directory names no naming context: give base_dn")),
        _ => {
            let list = contexts.join("; ");
            Err(ConnectorError::invalid(format!(
                "the directory has several naming contexts, give one as base_dn: {list}"
            )))
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("kind", &self.kind)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}
