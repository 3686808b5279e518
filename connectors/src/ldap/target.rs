//! Entries as targets: finding one, and the questions that every action asks about it.

use nexplane_core::plan::{Check, TargetRef};
use uuid::Uuid;

use super::entry::Entry;
use super::error::{FORBIDDEN, NO_SUCH_ATTRIBUTE, refused};
use super::line::Part;
use super::session::{Kind, Session};
use crate::sdk::{Advice, ConnectorError, ErrorKind, check};

/// Asset type of users; external key `user/<id>`.
pub const USER: &str = "ldap_user";
/// Asset type of groups; external key `group/<id>`.
pub const GROUP: &str = "ldap_group";
/// Asset type of organisational units; external key `ou/<id>`.
pub const UNIT: &str = "ldap_ou";

pub const ANY: &str = "(objectClass=*)";

/// The three sorts of entries that are assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    User,
    Group,
    Unit,
}

impl Sort {
    pub const fn asset_type(self) -> &'static str {
        match self {
            Self::User => USER,
            Self::Group => GROUP,
            Self::Unit => UNIT,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::User => "user/",
            Self::Group => "group/",
            Self::Unit => "ou/",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Unit => "organisational unit",
        }
    }

    pub fn key(self, id: Uuid) -> String {
        format!("{}{id}", self.prefix())
    }

    /// Which entries are of this sort. In Active Directory computers are users, too, by class.
    pub const fn filter(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::User, Kind::OpenLdap { .. }) => {
                "(|(objectClass=person)(objectClass=account)(objectClass=posixAccount)\
                 (objectClass=simpleSecurityObject))"
            }
            (Self::User, Kind::ActiveDirectory) => "(&(objectCategory=person)(objectClass=user))",
            (Self::Group, Kind::OpenLdap { .. }) => {
                "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)\
                 (objectClass=posixGroup))"
            }
            (Self::Group, Kind::ActiveDirectory) => "(objectClass=group)",
            (Self::Unit, _) => "(objectClass=organizationalUnit)",
        }
    }

    /// The id in an external key of this sort.
    pub fn id_in(self, key: &str) -> Option<Uuid> {
        Uuid::try_parse(key.strip_prefix(self.prefix())?).ok()
    }
}

/// The entry that a target is; none when it is gone. `attributes` are what is read of it.
pub async fn find(
    session: &Session,
    target: &TargetRef,
    sort: Sort,
    attributes: &[&str],
) -> Result<Option<Entry>, ConnectorError> {
    let id = sort.id_in(&target.external_key).ok_or_else(|| {
        let message = format!("the external key must be {}<id of the entry>", sort.prefix());
        ConnectorError::invalid(message)
    })?;
    by_id(session, id, sort, attributes).await
}

/// The entry of this sort with an id.
pub async fn by_id(
    session: &Session,
    id: Uuid,
    sort: Sort,
    attributes: &[&str],
) -> Result<Option<Entry>, ConnectorError> {
    let filter = format!("(&{}{})", session.id_filter(id), sort.filter(session.kind));
    let found = session.line().search(&session.base, &filter, attributes).await?;
    Ok(found.into_iter().next())
}

/// What an action is going to write of an entry: an attribute, and a value that it could have. The
/// value is never written.
pub type Written = (&'static str, &'static str);

/// What must hold of an entry before any action touches it. The list stops where asking on makes no sense.
pub async fn target_checks(
    session: &Session,
    sort: Sort,
    dn: Option<&str>,
    written: &[Written],
) -> Result<Vec<Check>, ConnectorError> {
    let word = sort.word();
    let attributes = ["objectSid", CRITICAL, "allowedAttributesEffective"];
    let entry = match dn {
        Some(dn) => session.line().entry(dn, ANY, &attributes).await?,
        None => None,
    };
    let Some(entry) = entry else {
        return Ok(vec![check(
            format!("the {word} exists"),
            false,
            format!(
                "there is no such {word} below {}, or the account may not see it: run discovery \
                 again",
                session.base
            ),
        )]);
    };
    let dn = &entry.dn;
    let mut checks = vec![check(format!("the {word} exists"), true, format!("{dn} is there"))];
    if sort == Sort::User {
        let own = session.is_own(&entry);
        checks.push(check(
            "the user is not the connection's own",
            !own,
            if own { is_ours(dn) } else { format!("the connection uses {}", session.account()) },
        ));
        let critical = entry.is_true(CRITICAL);
        checks.push(check(
            "the user is not the directory's own",
            !critical,
            if critical { is_built_in(dn) } else { format!("{dn} was made by people") },
        ));
    }
    for (attribute, value) in written {
        let may = may_write(session, &entry, attribute, value).await?;
        checks.push(check(
            format!("the connection may write {attribute} of the {word}"),
            may,
            if may {
                format!("{} has the rights", session.account())
            } else {
                format!(
                    "let the directory's administrator give {} the right to write {attribute} of \
                     {dn}",
                    session.account()
                )
            },
        ));
    }
    Ok(checks)
}

/// Marks what Active Directory has made for itself.
/// <https://learn.microsoft.com/windows/win32/adschema/a-iscriticalsystemobject>
const CRITICAL: &str = "isCriticalSystemObject";

fn is_ours(dn: &str) -> String {
    format!("{dn} is the account that Nexplane itself uses here: change it by hand")
}

fn is_built_in(dn: &str) -> String {
    format!("{dn} is built in ({CRITICAL}): it is never a target")
}

/// The last word on users that are never targets, whatever the prechecks said, and when: nothing may lock us out.
/// Errors: `Invalid`, and nothing was changed.
pub async fn not_protected(session: &Session, dn: &str) -> Result<(), ConnectorError> {
    let entry = session.line().entry(dn, ANY, &["objectSid", CRITICAL]).await?;
    let entry = entry.ok_or_else(|| gone(Sort::User))?;
    let why = if session.is_own(&entry) {
        is_ours(dn)
    } else if entry.is_true(CRITICAL) {
        is_built_in(dn)
    } else {
        return Ok(());
    };
    Err(ConnectorError::invalid(format!("{why}; nothing was changed")))
}

/// Whether the account may write an attribute. Active Directory says so. OpenLDAP does not, so it is asked to
/// delete one value twice in one modification: with the right that fails because the second deletion finds no
/// value any more (the first one neither, as a rule), without it for want of access, and nothing is changed in
/// either case (RFC 4511 §4.6: all or nothing).
pub async fn may_write(
    session: &Session,
    entry: &Entry,
    attribute: &str,
    value: &str,
) -> Result<bool, ConnectorError> {
    match session.kind {
        Kind::ActiveDirectory => Ok(entry.has("allowedAttributesEffective", attribute)),
        Kind::OpenLdap { .. } => {
            let delete = || Part::Delete(attribute, value.as_bytes().to_vec());
            match session.line().modify(&entry.dn, vec![delete(), delete()], None).await {
                Ok(Err(result)) if result.rc == NO_SUCH_ATTRIBUTE => Ok(true),
                Ok(Err(result)) if result.rc == FORBIDDEN => Ok(false),
                Ok(Err(result)) => Err(refused(&result)),
                Ok(Ok(())) => {
                    let message = "the directory deleted a value that was not there";
                    Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message))
                }
                // The question has no effect, whatever became of it.
                Err(error) => Err(ConnectorError { advice: Advice::Later, ..error }),
            }
        }
    }
}

pub fn gone(sort: Sort) -> ConnectorError {
    let message = format!("the {} is gone; nothing was changed", sort.word());
    ConnectorError::new(ErrorKind::NotFound, Advice::Never, message)
}

pub fn moved(dn: &str) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed {dn} since it was read; nothing was changed: plan again"
    ))
}

/// There is nothing to bring back.
pub fn nothing_before() -> ConnectorError {
    ConnectorError::invalid("there was no entry before: nothing to restore")
}
