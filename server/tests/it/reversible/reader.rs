//! What a target is, read without any of our own code: by SQL over the catalogs, and by system calls.
//!
//! Not compared is what no way back can restore: object ids of roles, inodes, and times of files.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nexplane_store::testing::TargetServer;
use sqlx::Row;

/// A name of something that can be read, and what is there.
pub type Snapshot = BTreeMap<String, String>;

/// What two readings do not agree in.
pub fn difference(one: &Snapshot, other: &Snapshot) -> BTreeMap<String, [String; 2]> {
    let value = |snapshot: &Snapshot, name: &str| {
        snapshot.get(name).cloned().unwrap_or_else(|| "(not there)".to_owned())
    };
    one.keys()
        .chain(other.keys())
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| (name.clone(), [value(one, name), value(other, name)]))
        .collect()
}

/// Everything beneath a directory.
pub fn files(root: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = format!("/{}", path.strip_prefix(root).unwrap().display());
            let mut put = |what: &str, value: String| {
                snapshot.insert(format!("{name} {what}"), value);
            };
            put("mode", format!("{:o}", meta.mode()));
            put("owner", format!("{}:{}", meta.uid(), meta.gid()));
            put("names", meta.nlink().to_string());
            for (attribute, value) in attributes(&path) {
                put(&attribute, value);
            }
            if meta.is_dir() {
                folders.push(path);
            } else {
                put("content", hex::encode(std::fs::read(&path).unwrap()));
            }
        }
    }
    snapshot
}

/// Extended attributes, access control lists among them.
fn attributes(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0_u8; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0_u8; 65_536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (String::from_utf8_lossy(name).into_owned(), hex::encode(&value[..length]))
        })
        .collect()
}

/// The roles of this test, and every privilege in its database.
pub async fn database(target: &TargetServer) -> Snapshot {
    let mut admin = target.admin().await;
    let rows = sqlx::query(CATALOGS).bind(target.role("")).fetch_all(&mut admin).await.unwrap();
    let count = rows.len();
    let snapshot: Snapshot = rows
        .into_iter()
        .map(|row| {
            let value: Option<String> = row.get(1);
            (row.get(0), value.unwrap_or_else(|| "NULL".to_owned()))
        })
        .collect();
    assert_eq!(snapshot.len(), count, "two things have one name");
    snapshot
}

/// Whole rows, so that a column of a later version is compared as well. Password verifiers are among
/// them. An access control list is compared as the set that it is, with grantors and options:
/// PostgreSQL appends what is granted, and writes the defaults down with the first grant.
const CATALOGS: &str = "
WITH own AS (SELECT * FROM pg_authid WHERE starts_with(rolname, $1)),
lists(name, kind, owner, acl) AS (
    SELECT 'database', 'd', datdba, datacl FROM pg_database WHERE datname = current_database()
  UNION ALL
    SELECT 'schema ' || nspname, 'n', nspowner, nspacl FROM pg_namespace
    WHERE nspname !~ '^pg_(temp|toast)'
  UNION ALL
    SELECT 'relation ' || oid::regclass, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END, relowner, relacl
    FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
  UNION ALL
    SELECT 'column ' || attrelid::regclass || '.' || attname, 'c', relowner, attacl
    FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
    WHERE attnum > 0 AND NOT attisdropped AND (c.oid >= 16384 OR attacl IS NOT NULL)
  UNION ALL
    SELECT 'routine ' || oid::regprocedure, 'f', proowner, proacl FROM pg_proc
    WHERE oid >= 16384 OR proacl IS NOT NULL
  UNION ALL
    SELECT 'type ' || oid::regtype, 'T', typowner, typacl FROM pg_type WHERE oid >= 16384
)
    SELECT 'role ' || rolname || ' ' || key, value
    FROM own, jsonb_each_text(to_jsonb(own) - 'oid')
UNION ALL
    SELECT 'role ' || rolname || ' comment', shobj_description(oid, 'pg_authid') FROM own
UNION ALL
    SELECT format('member %s of %s by %s', member::regrole, roleid::regrole, grantor::regrole),
           (to_jsonb(m) - '{oid,roleid,member,grantor}'::text[])::text
    FROM pg_auth_members m
    WHERE roleid IN (SELECT oid FROM own) OR member IN (SELECT oid FROM own)
UNION ALL
    SELECT format('settings of %s in %s', setrole::regrole, coalesce(datname, '(all)')), setconfig::text
    FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase
    WHERE setrole IN (SELECT oid FROM own)
UNION ALL
    SELECT format('rights of %s on %s', refobjid::regrole, classid::regclass) || ' as ' || deptype::text,
           count(*)::text
    FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND refobjid IN (SELECT oid FROM own)
    GROUP BY refobjid, classid, deptype
UNION ALL
    SELECT 'privileges on ' || name,
           (SELECT string_agg(format('%s from %s: %s%s', grantee::regrole, grantor::regrole,
                privilege_type, CASE WHEN is_grantable THEN ' with grant option' END), ', '
                ORDER BY grantee::regrole::text, grantor::regrole::text, privilege_type)
            FROM aclexplode(coalesce(acl, acldefault(kind::\"char\", owner))))
    FROM lists
UNION ALL
    SELECT format('default privileges of %s in %s on ', defaclrole::regrole, nspname) || defaclobjtype::text,
           defaclacl::text
    FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace";
