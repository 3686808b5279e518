//! What is in a directory: users, groups, organisational units, and who belongs to what.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::entry::Entry;
use super::lock::ACCOUNT_DISABLE;
use super::name;
use super::session::{Kind, Session};
use super::target::Sort;
use crate::sdk::{ConnectorError, DiscoveredAsset, Discovery, Relation};

/// `ADS_UF_LOCKOUT` and `ADS_UF_PASSWORD_EXPIRED` of `msDS-User-Account-Control-Computed`.
/// <https://learn.microsoft.com/windows/win32/adschema/a-msds-user-account-control-computed>
const LOCKED_OUT: i64 = 0x10;
const PASSWORD_EXPIRED: i64 = 0x80_0000;
/// Seconds between 1601, where the times of Active Directory begin, and 1970.
const SECONDS_1601_TO_1970: i64 = 11_644_473_600;

/// An entry that is an asset.
struct Found {
    sort: Sort,
    key: String,
    entry: Entry,
}

/// Everything below the base. An entry without an id that lasts is left out: nothing could ever find it again.
pub async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
    let mut all = Vec::new();
    for sort in [Sort::Unit, Sort::Group, Sort::User] {
        let mut attributes = wanted(sort, session.kind).to_vec();
        attributes.push(session.id_attribute());
        let found =
            session.line().search(&session.base, sort.filter(session.kind), &attributes).await?;
        all.extend(found.into_iter().filter_map(|entry| {
            let key = sort.key(session.id_of(&entry)?);
            Some(Found { sort, key, entry })
        }));
    }
    let mut by_dn = HashMap::new();
    let mut by_uid = HashMap::new();
    for (index, found) in all.iter().enumerate() {
        // An entry that is both counts as the first, in relations: a unit before a group before a user.
        by_dn.entry(name::normal(&found.entry.dn)).or_insert(index);
        if let (Sort::User, Some(uid)) = (found.sort, found.entry.text("uid")) {
            by_uid.insert(uid.to_owned(), index);
        }
    }
    let mut relations: Vec<Vec<Relation>> = all.iter().map(|_| Vec::new()).collect();
    let mut relate = |from: usize, kind: &str, to: usize| {
        if let (Some(list), Some(to)) = (relations.get_mut(from), all.get(to)) {
            list.push(Relation {
                kind: kind.to_owned(),
                to_kind: to.sort.asset_type().to_owned(),
                to_external_key: to.key.clone(),
            });
        }
    };
    for (index, found) in all.iter().enumerate() {
        let entry = &found.entry;
        let at = |dn: &str| by_dn.get(&name::normal(dn)).copied();
        if let Some(unit) = name::parent(&entry.dn).and_then(at) {
            relate(index, "contained_in", unit);
        }
        match session.kind {
            Kind::ActiveDirectory => {
                for group in entry.texts("memberOf").filter_map(at) {
                    relate(index, "member_of", group);
                }
            }
            Kind::OpenLdap { .. } => {
                let members = entry.texts("member").chain(entry.texts("uniqueMember"));
                for member in members.filter_map(at) {
                    relate(member, "member_of", index);
                }
                for member in entry.texts("memberUid").filter_map(|uid| by_uid.get(uid)) {
                    relate(*member, "member_of", index);
                }
            }
        }
    }
    let assets = all.into_iter().zip(relations).map(|(found, relations)| DiscoveredAsset {
        kind: found.sort.asset_type().to_owned(),
        name: shown(&found, session.kind),
        metadata: metadata(&found, session.kind),
        external_key: found.key,
        relations,
    });
    Ok(Discovery { assets: assets.collect() })
}

const fn wanted(sort: Sort, kind: Kind) -> &'static [&'static str] {
    match (sort, kind) {
        (Sort::Unit, _) => &["ou", "description"],
        (Sort::Group, Kind::OpenLdap { .. }) => {
            &["objectClass", "cn", "description", "member", "uniqueMember", "memberUid"]
        }
        (Sort::Group, Kind::ActiveDirectory) => {
            &["cn", "sAMAccountName", "description", "groupType", "memberOf"]
        }
        (Sort::User, Kind::OpenLdap { .. }) => &[
            "objectClass",
            "uid",
            "cn",
            "mail",
            "pwdAccountLockedTime",
            "pwdReset",
            "pwdChangedTime",
        ],
        (Sort::User, Kind::ActiveDirectory) => &[
            "cn",
            "sAMAccountName",
            "userPrincipalName",
            "mail",
            "memberOf",
            "userAccountControl",
            "msDS-User-Account-Control-Computed",
            "pwdLastSet",
        ],
    }
}

/// As people know it: the login name of a user, the common name of a group.
fn shown(found: &Found, kind: Kind) -> String {
    let names: &[&str] = match (found.sort, kind) {
        (Sort::Unit, _) => &["ou"],
        (Sort::Group, Kind::OpenLdap { .. }) => &["cn"],
        (Sort::Group, Kind::ActiveDirectory) => &["sAMAccountName", "cn"],
        (Sort::User, Kind::OpenLdap { .. }) => &["uid", "cn"],
        (Sort::User, Kind::ActiveDirectory) => &["sAMAccountName", "cn"],
    };
    let name = names.iter().find_map(|name| found.entry.text(name));
    name.unwrap_or(&found.entry.dn).to_owned()
}

/// Nothing that moves by itself, such as the last login: every difference between two discoveries is drift.
fn metadata(found: &Found, kind: Kind) -> Value {
    let entry = &found.entry;
    let (dn, text) = (&entry.dn, |name| entry.text(name));
    match (found.sort, kind) {
        (Sort::Unit, _) => json!({ "dn": dn, "description": text("description") }),
        (Sort::Group, Kind::OpenLdap { .. }) => {
            let members =
                ["member", "uniqueMember", "memberUid"].map(|name| entry.values(name).len());
            json!({
                "dn": dn,
                "description": text("description"),
                "members": members.iter().sum::<usize>(),
            })
        }
        (Sort::Group, Kind::ActiveDirectory) => {
            // ADS_GROUP_TYPE_SECURITY_ENABLED is the sign bit.
            let security = entry.number("groupType").is_some_and(|kind| kind < 0);
            json!({ "dn": dn, "description": text("description"), "security_group": security })
        }
        (Sort::User, Kind::OpenLdap { .. }) => json!({
            "dn": dn,
            "full_name": text("cn"),
            "mail": text("mail"),
            "locked": text("pwdAccountLockedTime").is_some(),
            "must_change_password": entry.is_true("pwdReset"),
            "password_changed_at": text("pwdChangedTime").map(generalized),
        }),
        (Sort::User, Kind::ActiveDirectory) => {
            let [flags, computed, last_set] =
                ["userAccountControl", "msDS-User-Account-Control-Computed", "pwdLastSet"]
                    .map(|name| entry.number(name).unwrap_or_default());
            json!({
                "dn": dn,
                "full_name": text("cn"),
                "login": text("userPrincipalName"),
                "mail": text("mail"),
                "disabled": flags & ACCOUNT_DISABLE != 0,
                "locked": computed & LOCKED_OUT != 0,
                "must_change_password": last_set == 0,
                "password_expired": computed & PASSWORD_EXPIRED != 0,
                "password_changed_at": (last_set > 0).then(|| filetime(last_set)),
            })
        }
    }
}

/// `20260131235959Z` (RFC 4517 §3.3.13, as OpenLDAP writes it) as RFC 3339; anything else as it is.
fn generalized(text: &str) -> String {
    let part = |from: usize, to: usize| {
        text.get(from..to).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let parts = (part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14));
    match (parts, text.len(), text.ends_with('Z')) {
        ((Some(y), Some(mo), Some(d), Some(h), Some(mi), Some(s)), 15, true) => {
            format!("{y}-{mo}-{d}T{h}:{mi}:{s}Z")
        }
        _ => text.to_owned(),
    }
}

/// 100 ns since 1601 as RFC 3339, in whole seconds.
fn filetime(moment: i64) -> String {
    let unix = moment / 10_000_000 - SECONDS_1601_TO_1970;
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_directories_are_rfc_3339() {
        assert_eq!(generalized("20260131235959Z"), "2026-01-31T23:59:59Z");
        assert_eq!(generalized("20260131235959.5Z"), "20260131235959.5Z");
        assert_eq!(generalized("aé"), "aé");
        assert_eq!(filetime(SECONDS_1601_TO_1970 * 10_000_000), "1970-01-01T00:00:00Z");
        assert_eq!(filetime(133_537_248_000_000_000), "2024-03-01T00:00:00Z");
        assert_eq!(filetime(133_537_247_999_999_999), "2024-02-29T23:59:59Z");
    }
}
