//! What adding and removing share: one value of a group, and the entry that it stands for.

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entry::Entry;
use super::error::{ENTRY_EXISTS, NO_SUCH_ATTRIBUTE, UNWILLING, VALUE_EXISTS, refused};
use super::line::Part;
use super::name::{escape, normal};
use super::session::{Kind, Session};
use super::target::{ANY, Sort, by_id, find, gone, moved, target_checks};
use crate::sdk::{
    Advice, ConnectorError, DigestKey, Effect, ErrorKind, StepContext, TargetState, check,
};

/// Which entry is, or is to be, a member: a DN, or a key of the inventory.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a>(pub &'a str);

/// How a group names its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Naming {
    /// `groupOfNames` (RFC 4519 §3.5), and Active Directory: by DN.
    #[serde(rename = "member")]
    Dn,
    /// `groupOfUniqueNames` (RFC 4519 §3.6): by DN.
    #[serde(rename = "uniqueMember")]
    UniqueDn,
    /// `posixGroup` (RFC 2307 §2.3): by login name.
    #[serde(rename = "memberUid")]
    Uid,
}

impl Naming {
    fn of(session: &Session, group: &Entry) -> Self {
        match session.kind {
            Kind::ActiveDirectory => Self::Dn,
            Kind::OpenLdap { .. } if group.has_class("groupOfNames") => Self::Dn,
            Kind::OpenLdap { .. } if group.has_class("groupOfUniqueNames") => Self::UniqueDn,
            Kind::OpenLdap { .. } => Self::Uid,
        }
    }

    const fn attribute(self) -> &'static str {
        match self {
            Self::Dn => "member",
            Self::UniqueDn => "uniqueMember",
            Self::Uid => "memberUid",
        }
    }

    /// Whether a group of this sort must have a member (RFC 4519: `member` and `uniqueMember` are MUST).
    fn is_never_empty(self, session: &Session) -> bool {
        session.kind != Kind::ActiveDirectory && self != Self::Uid
    }
}

/// Whether the entry is a member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Absent when there is no such group.
    naming: Option<Naming>,
    /// What stands for the member in the group; absent when there is no such member.
    pub value: Option<String>,
    pub is_member: bool,
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl TargetState for Membership {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("member", self.value.clone()), Field::new("is_member", self.is_member)]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "group": self.naming, "member": self.value, "is_member": self.is_member })
    }
}

async fn member_of(session: &Session, member: Member<'_>) -> Result<Option<Entry>, ConnectorError> {
    let wanted = member.0;
    for sort in [Sort::User, Sort::Group] {
        if let Some(id) = sort.id_in(wanted) {
            return by_id(session, id, sort, &["uid"]).await;
        }
    }
    if !wanted.contains('=') {
        return Err(ConnectorError::invalid(
            "member must be a DN, such as uid=ada,ou=people,dc=example,dc=org, or a key of the \
             inventory, such as user/<id>",
        ));
    }
    session.line().entry(wanted, ANY, &["uid"]).await
}

async fn read(
    session: &Session,
    target: &TargetRef,
    member: Member<'_>,
) -> Result<(Option<String>, Membership), ConnectorError> {
    let group = find(session, target, Sort::Group, &["objectClass"]).await?;
    let entry = member_of(session, member).await?;
    let Some(group) = group else {
        let value = entry.map(|entry| entry.dn);
        return Ok((None, Membership { naming: None, value, is_member: false }));
    };
    let naming = Naming::of(session, &group);
    let value = entry.and_then(|entry| match naming {
        Naming::Dn | Naming::UniqueDn => Some(entry.dn),
        Naming::Uid => entry.text("uid").map(str::to_owned),
    });
    let is_member = match &value {
        Some(value) => holds(session, &group.dn, naming, value).await?,
        None => false,
    };
    Ok((Some(group.dn), Membership { naming: Some(naming), value, is_member }))
}

/// Asked of the server, which knows when two spellings are one name, and has no need to send all members.
async fn holds(
    session: &Session,
    group: &str,
    naming: Naming,
    value: &str,
) -> Result<bool, ConnectorError> {
    let filter = format!("({}={})", naming.attribute(), escape(value.as_bytes()));
    Ok(session.line().entry(group, &filter, &["1.1"]).await?.is_some())
}

pub async fn snapshot(
    session: &Session,
    target: &TargetRef,
    member: Member<'_>,
) -> Result<Membership, ConnectorError> {
    Ok(read(session, target, member).await?.1)
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    member: Member<'_>,
    removes: bool,
) -> Result<Vec<Check>, ConnectorError> {
    let (group, state) = read(session, target, member).await?;
    let written: &[_] = match state.naming {
        // A value that the syntax of the attribute allows.
        Some(Naming::Dn) => &[("member", "cn=nexplane-asks-whether-it-may-write")],
        Some(Naming::UniqueDn) => &[("uniqueMember", "cn=nexplane-asks-whether-it-may-write")],
        Some(Naming::Uid) => &[("memberUid", "nexplane-asks-whether-it-may-write")],
        None => &[],
    };
    let mut checks = target_checks(session, Sort::Group, group.as_deref(), written).await?;
    checks.push(match &state.value {
        Some(value) => check("the member exists", true, format!("{value} is there")),
        None => check(
            "the member exists",
            false,
            format!(
                "{} cannot be found, or has no uid where the group names members by it: check \
                 the parameter member",
                member.0
            ),
        ),
    });
    let (Some(group), Some(naming), Some(value)) = (group, state.naming, &state.value) else {
        return Ok(checks);
    };
    let own = is_own(session, member).await?;
    checks.push(check(
        "the member is not the connection's own account",
        !own,
        if own { OWN } else { "it is another one" },
    ));
    if removes {
        if naming.is_never_empty(session) && state.is_member {
            let attribute = naming.attribute();
            let entry = session.line().entry(&group, ANY, &[attribute]).await?;
            let others = entry.map_or(0, |entry| entry.values(attribute).len()) > 1;
            checks.push(check(
                "the group keeps a member",
                others,
                if others {
                    "it has others".to_owned()
                } else {
                    format!("{group} must have a member: add another one first")
                },
            ));
        }
    } else {
        let itself = normal(&group) == normal(value);
        checks.push(check(
            "the member is not the group itself",
            !itself,
            if itself { "choose another member" } else { "it is another entry" },
        ));
    }
    Ok(checks)
}

const OWN: &str =
    "it is the account that Nexplane itself uses here, or a group of it: change that by hand";

/// Whether the connection would change its own rights.
async fn is_own(session: &Session, member: Member<'_>) -> Result<bool, ConnectorError> {
    let Some(entry) = member_of(session, member).await? else { return Ok(false) };
    let entry = session.line().entry(&entry.dn, ANY, &["objectSid"]).await?;
    Ok(entry.is_some_and(|entry| session.is_own(&entry)))
}

/// Brings the membership from `from` to the same with `is_member` as given.
pub async fn set(
    session: &Session,
    cx: &StepContext,
    member: Member<'_>,
    from: &Membership,
    is_member: bool,
) -> Result<Effect<Outcome>, ConnectorError> {
    let (group, now) = read(session, &cx.step.target, member).await?;
    let group = group.ok_or_else(|| gone(Sort::Group))?;
    let (Some(naming), Some(value)) = (now.naming, &now.value) else {
        let message = "the member is gone; nothing was changed";
        return Err(ConnectorError::new(ErrorKind::NotFound, Advice::Never, message));
    };
    if (now.naming, &now.value) != (from.naming, &from.value) {
        return Err(moved(&group));
    }
    if now.is_member == is_member {
        return Ok(Effect { changed: false, outcome: Outcome {} });
    }
    if is_own(session, member).await? {
        return Err(ConnectorError::invalid(OWN));
    }
    let octets = value.as_bytes().to_vec();
    let part = if is_member {
        Part::Add(naming.attribute(), octets)
    } else {
        Part::Delete(naming.attribute(), octets)
    };
    // Both are conditions in themselves: a value is not added twice, and none is deleted that is not there.
    match session.line().modify(&group, vec![part], None).await? {
        Ok(()) => Ok(Effect { changed: true, outcome: Outcome {} }),
        Err(result)
            if matches!(result.rc, VALUE_EXISTS | NO_SUCH_ATTRIBUTE | ENTRY_EXISTS | UNWILLING)
                && holds(session, &group, naming, value).await? == is_member =>
        {
            // Somebody else did the same in between.
            Ok(Effect { changed: false, outcome: Outcome {} })
        }
        Err(result) => Err(refused(&result)),
    }
}
