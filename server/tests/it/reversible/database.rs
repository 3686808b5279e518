//! Actions on a real PostgreSQL.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::reader::{Snapshot, database};
use super::{Row, Stage};
use crate::harness::{Client, Shop, id, items};

pub const ROWS: [Row; 18] = [
    ("postgres.create_read_only_user", "no such role"),
    ("postgres.create_read_only_user", "no such role, and tables of several owners"),
    ("postgres.drop_user", "a role with nothing but its name"),
    ("postgres.drop_user", "attributes, password, comment, memberships, settings and privileges"),
    ("postgres.lock_user", "a role that is logged in"),
    ("postgres.lock_user", "a role whose password has expired"),
    ("postgres.revoke_all_privileges", "privileges on everything in the schema"),
    ("postgres.revoke_all_privileges", "privileges from several grantors"),
    ("postgres.rotate_user_password", "an MD5 hash"),
    ("postgres.rotate_user_password", "a SCRAM verifier"),
    ("postgres.rotate_user_password", "no password"),
    ("postgres.set_connection_limit", "a limit"),
    ("postgres.set_connection_limit", "no limit"),
    ("postgres.set_role_setting", "another value, in the middle of others"),
    ("postgres.set_role_setting", "no settings"),
    ("postgres.set_role_setting", "to be taken away from in front of others"),
    ("postgres.unlock_user", "a role whose password has expired"),
    ("postgres.unlock_user", "a locked role"),
];

/// What a row begins with, and what it asks for.
struct Case {
    before: String,
    parameters: Value,
    intended: Box<dyn Fn(&Snapshot)>,
}

impl Case {
    /// `role` is the target, but for the row that makes it.
    fn of(row: Row, role: &str, database: &str) -> Self {
        let has = |what: &'static str, value: &'static str| {
            let name = format!("role {role} {what}");
            Box::new(move |now: &Snapshot| assert_eq!(now[&name], value)) as Box<dyn Fn(&Snapshot)>
        };
        let case = |before: String, intended| Self { before, parameters: json!({}), intended };
        let schema = format!("{role}_schema");
        let in_schema = json!({ "schema": schema });
        let new_password: Box<dyn Fn(&Snapshot)> = {
            let name = format!("role {role} rolpassword");
            Box::new(move |now| assert!(now[&name].starts_with("SCRAM-SHA-256$"), "{name}"))
        };
        let nothing_left: Box<dyn Fn(&Snapshot)> = {
            let (role, schema) = (format!("{role} from"), schema.clone());
            Box::new(move |now| {
                let held: Vec<_> = now
                    .iter()
                    .filter(|(name, list)| {
                        name.starts_with("privileges on")
                            && name.contains(&schema)
                            && list.contains(&role)
                    })
                    .collect();
                assert!(held.is_empty(), "{held:#?}");
            })
        };
        match row {
            ("postgres.create_read_only_user", what) => {
                let maker = if what.ends_with("owners") {
                    format!(
                        "CREATE ROLE {role}_maker;
                         GRANT ALL ON SCHEMA {schema} TO {role}_maker;
                         SET ROLE {role}_maker; CREATE TABLE {schema}.made (); RESET ROLE;"
                    )
                } else {
                    String::new()
                };
                let name = format!("privileges on relation {schema}.goods");
                let reads = format!("{role} from {role}_owner: SELECT");
                Self {
                    before: format!("{}{maker}", objects(role)),
                    parameters: json!({ "user": role, "schema": schema }),
                    intended: Box::new(move |now| assert!(now[&name].contains(&reads), "{name}")),
                }
            }
            ("postgres.drop_user", what) => {
                let before = if what.ends_with("its name") {
                    format!("CREATE ROLE {role};")
                } else {
                    full(role, database)
                };
                let name = format!("role {role} rolname");
                case(before, Box::new(move |now| assert!(!now.contains_key(&name), "{name}")))
            }
            ("postgres.lock_user", "a role that is logged in") => case(
                format!("CREATE ROLE {role} LOGIN PASSWORD '{role}';"),
                has("rolcanlogin", "false"),
            ),
            ("postgres.lock_user", _) => {
                case(format!("CREATE ROLE {role} LOGIN {EXPIRED};"), has("rolcanlogin", "false"))
            }
            ("postgres.revoke_all_privileges", what) => {
                let boss = if what.ends_with("grantors") {
                    format!(
                        "CREATE ROLE {role}_boss;
                         GRANT USAGE ON SCHEMA {schema} TO {role}_boss;
                         GRANT ALL ON {schema}.goods TO {role}_boss WITH GRANT OPTION;
                         SET ROLE {role}_boss;
                         GRANT SELECT, DELETE ON {schema}.goods TO {role}; RESET ROLE;"
                    )
                } else {
                    String::new()
                };
                Self {
                    before: format!("CREATE ROLE {role};{}{}{boss}", objects(role), rights(role)),
                    parameters: in_schema,
                    intended: nothing_left,
                }
            }
            ("postgres.rotate_user_password", what) => {
                let password = match what {
                    "an MD5 hash" => format!("PASSWORD 'md5{}'", "0123456789abcdef".repeat(2)),
                    "no password" => String::new(),
                    _ => format!("PASSWORD '{role}'"),
                };
                case(format!("CREATE ROLE {role} LOGIN {password};"), new_password)
            }
            ("postgres.set_connection_limit", what) => Self {
                before: match what {
                    "a limit" => format!("CREATE ROLE {role} LOGIN {EXPIRED};"),
                    _ => format!("CREATE ROLE {role} LOGIN;"),
                },
                parameters: json!({ "limit": 12 }),
                intended: has("rolconnlimit", "12"),
            },
            ("postgres.set_role_setting", what) => {
                let name = format!("settings of {role} in (all)");
                let (before, value, after) = match what {
                    "no settings" => (String::new(), json!("12s"), "{lock_timeout=12s}"),
                    "to be taken away from in front of others" => {
                        (settings(role), Value::Null, "{work_mem=7MB,jit=off,my.option=on}")
                    }
                    _ => (
                        settings(role),
                        json!("12s"),
                        "{work_mem=7MB,lock_timeout=12s,jit=off,my.option=on}",
                    ),
                };
                Self {
                    before: format!("CREATE ROLE {role};{before}"),
                    parameters: json!({ "name": "lock_timeout", "value": value }),
                    intended: Box::new(move |now| assert_eq!(now[&name], after, "{name}")),
                }
            }
            ("postgres.unlock_user", "a locked role") => {
                case(format!("CREATE ROLE {role} PASSWORD '{role}';"), has("rolcanlogin", "true"))
            }
            ("postgres.unlock_user", _) => {
                case(format!("CREATE ROLE {role} {EXPIRED};"), has("rolcanlogin", "true"))
            }
            (action, what) => panic!("a row without a case: {action}, {what}"),
        }
    }
}

const EXPIRED: &str = "PASSWORD 'x' CONNECTION LIMIT 3 VALID UNTIL '2001-02-03 04:05:06.789+02'";

/// Settings of the role, one in the middle.
fn settings(role: &str) -> String {
    ["work_mem TO '7MB'", "lock_timeout TO '1min'", "jit TO off", "my.option TO on"]
        .map(|setting| format!("ALTER ROLE {role} SET {setting};"))
        .concat()
}

/// A schema with something of every kind, and its owner.
fn objects(role: &str) -> String {
    let (owner, schema) = (format!("{role}_owner"), format!("{role}_schema"));
    format!(
        "CREATE ROLE {owner};
         CREATE SCHEMA {schema} AUTHORIZATION {owner};
         SET ROLE {owner};
         CREATE TABLE {schema}.goods (id int, price int, note text);
         CREATE VIEW {schema}.cheap AS SELECT 1 AS one;
         CREATE SEQUENCE {schema}.numbers;
         CREATE FUNCTION {schema}.f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE PROCEDURE {schema}.p(a int) LANGUAGE sql AS 'SELECT 1';
         CREATE TYPE {schema}.mood AS ENUM ('good');
         RESET ROLE;"
    )
}

/// Privileges of the role on all of that.
fn rights(role: &str) -> String {
    let (owner, schema) = (format!("{role}_owner"), format!("{role}_schema"));
    format!(
        "SET ROLE {owner};
         GRANT USAGE, CREATE ON SCHEMA {schema} TO {role} WITH GRANT OPTION;
         GRANT SELECT, UPDATE ON {schema}.goods TO {role};
         GRANT DELETE ON {schema}.goods TO {role} WITH GRANT OPTION;
         GRANT INSERT (price), SELECT (note) ON {schema}.goods TO {role};
         GRANT SELECT ON {schema}.cheap TO {role}, PUBLIC;
         GRANT USAGE, SELECT ON SEQUENCE {schema}.numbers TO {role};
         GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {schema} TO {role};
         GRANT USAGE ON TYPE {schema}.mood TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON TYPES TO {role};
         RESET ROLE;"
    )
}

/// A role with everything that a role can have.
fn full(role: &str, database: &str) -> String {
    format!(
        "SET password_encryption = 'md5';
         CREATE ROLE {role} LOGIN CREATEDB NOINHERIT CONNECTION LIMIT 7
             VALID UNTIL '2031-02-03 04:05:06.789+02' PASSWORD '{role}';
         CREATE ROLE {role}_group; CREATE ROLE {role}_member;
         COMMENT ON ROLE {role} IS 'it''s a \\ role';
         {}{}
         GRANT {role}_group TO {role}_owner WITH ADMIN OPTION;
         GRANT {role} TO {role}_owner WITH ADMIN OPTION;
         GRANT {role}_group TO {role} WITH ADMIN OPTION GRANTED BY {role}_owner;
         GRANT {role} TO {role}_member GRANTED BY {role}_owner;
         ALTER ROLE {role} SET work_mem TO '7MB';
         ALTER ROLE {role} SET search_path TO \"$user\", 'we\"ird, one', public;
         ALTER ROLE {role} IN DATABASE {database} SET my.option TO 'it''s \\ here';
         GRANT CONNECT ON DATABASE {database} TO {role};",
        objects(role),
        rights(role)
    )
}

/// The asset that a change of this row is about.
async fn target(shop: &Shop, operator: &Client, row: Row, role: &str) -> String {
    let (kind, name) = match row.0 {
        "postgres.create_read_only_user" => ("postgres_database", shop.target.database()),
        _ => ("postgres_role", role),
    };
    let path = format!("/assets?connection={}&type={kind}&q={name}", shop.connection);
    let found = items(&operator.get(&path).await.is(200));
    id(found.iter().find(|asset| asset["name"] == name).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_as_before_after_every_way_back() {
    let stage = Stage::new().await;
    // Where the riskiest of them needs two approvals, and no delay.
    let shop = Shop::connect(&stage.server, "dev").await;
    let database_name = shop.target.database();
    let cases: Vec<_> = ROWS
        .into_iter()
        .enumerate()
        .map(|(no, row)| {
            let role = shop.target.role(&format!("row{no}x"));
            (row, Case::of(row, &role, database_name), role)
        })
        .collect();
    for (row, case, _) in &cases {
        let mut admin = shop.target.admin().await;
        let prepared = sqlx::raw_sql(AssertSqlSafe(case.before.clone())).execute(&mut admin).await;
        prepared.unwrap_or_else(|error| panic!("{row:?}: {error}\n{}", case.before));
    }
    let path = format!("/connections/{}/discover", shop.connection);
    stage.server.admin.post(&path, json!({})).await.is(200);
    for (row, case, role) in cases {
        let _session = match row.1 {
            "a role that is logged in" => Some(session(&shop, &role).await),
            _ => None,
        };
        let request = json!({
            "title": format!("{} of {role}", row.0),
            "reason": "There and back.",
            "change_type": row.0,
            "connection_id": shop.connection,
            "targets": [target(&shop, &stage.operator, row, &role).await],
            "parameters": case.parameters,
        });
        let read = async || database(&shop.target).await;
        stage.there_and_back(row, request, read, &role, &*case.intended).await;
    }
}

async fn session(shop: &Shop, role: &str) -> sqlx::PgConnection {
    use sqlx::ConnectOptions as _;
    shop.target.options().username(role).password(role).connect().await.unwrap()
}
