//! One case for every action of connector `postgres`: a target that the action fits, and what
//! somebody else could do to it in between.

use serde_json::json;

use super::bench::{Bench, PASSWORD, database_target, role_target};
use crate::suite::Case;

/// Prepares the case. `actor` is the account of the connection when it is no superuser.
pub async fn prepare(bench: &Bench, action: &str, actor: Option<&str>) -> Case {
    match action {
        "postgres.create_read_only_user" => create_read_only_user(bench, actor).await,
        "postgres.drop_user" => drop_user(bench, actor).await,
        "postgres.lock_user" => {
            let role = bench.role_by("app", actor).await;
            let disturbance = format!("ALTER ROLE \"{role}\" NOLOGIN");
            // The role is locked first, its sessions end afterwards.
            Case { in_parts: true, ..case(&role, disturbance) }
        }
        "postgres.revoke_all_privileges" => revoke_all_privileges(bench, actor).await,
        "postgres.rotate_user_password" => {
            let role = bench.role_by("app", actor).await;
            let disturbance = format!("ALTER ROLE \"{role}\" PASSWORD 'somebody-else'");
            case(&role, disturbance)
        }
        "postgres.set_connection_limit" => {
            let role = bench.role_by("app", actor).await;
            let disturbance = format!("ALTER ROLE \"{role}\" CONNECTION LIMIT 8");
            let parameters = json!({ "limit": 20 });
            Case { parameters, ..case(&role, disturbance) }
        }
        "postgres.set_role_setting" => {
            let role = bench.role_by("app", actor).await;
            for setting in ["work_mem TO '7MB'", "lock_timeout TO '1min'", "search_path TO a, b"] {
                bench.sql(&format!("ALTER ROLE \"{role}\" SET {setting}")).await;
            }
            let disturbance = format!("ALTER ROLE \"{role}\" SET lock_timeout TO '2min'");
            let parameters = json!({ "name": "lock_timeout" });
            Case { parameters, ..case(&role, disturbance) }
        }
        "postgres.unlock_user" => {
            let role = bench.role_by("app", actor).await;
            bench.sql(&format!("ALTER ROLE \"{role}\" NOLOGIN")).await;
            let disturbance = format!("ALTER ROLE \"{role}\" LOGIN");
            case(&role, disturbance)
        }
        other => panic!("{other} has no case: every action must have one"),
    }
}

fn case(role: &str, disturbance: String) -> Case {
    Case {
        target: role_target(role),
        parameters: json!({}),
        disturbance,
        never: Vec::new(),
        in_parts: false,
    }
}

/// Objects of every kind in schema `app "x"`, owned by `owner`, with awkward names.
pub async fn objects(bench: &Bench, actor: Option<&str>) -> String {
    let owner = bench.server.role("owner");
    let superuser = bench.server.username();
    bench
        .sql(&format!(
            r#"
            CREATE ROLE "{owner}";
            GRANT "{owner}" TO "{}";
            CREATE SCHEMA "app ""x""" AUTHORIZATION "{owner}";
            SET ROLE "{owner}";
            CREATE TABLE "app ""x""".plain (id int, name text);
            CREATE TABLE "app ""x"""."Odd ""Table""" ("Col ""1""" int, b int, c int);
            CREATE VIEW "app ""x""".seen AS SELECT 1 AS one;
            CREATE SEQUENCE "app ""x""".numbers;
            CREATE FUNCTION "app ""x""".f(a int, b "app ""x""".plain) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION "app ""x""".f(a text) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE PROCEDURE "app ""x""".p(a int) LANGUAGE sql AS 'SELECT 1';
            CREATE AGGREGATE "app ""x""".total(int) (sfunc = int4pl, stype = int);
            CREATE TYPE "app ""x""".mood AS ENUM ('good');
            RESET ROLE;
            "#,
            actor.unwrap_or(superuser)
        ))
        .await;
    owner
}

async fn revoke_all_privileges(bench: &Bench, actor: Option<&str>) -> Case {
    let owner = objects(bench, actor).await;
    let role = bench.role("app").await;
    let (boss, other) = (bench.server.role("boss"), bench.server.role("other"));
    let actor = actor.unwrap_or(bench.server.username());
    bench
        .sql(&format!(
            r#"
            CREATE ROLE "{boss}"; CREATE ROLE "{other}"; GRANT "{boss}" TO "{actor}";
            SET ROLE "{owner}";
            GRANT USAGE ON SCHEMA "app ""x""" TO "{role}" WITH GRANT OPTION;
            GRANT CREATE ON SCHEMA "app ""x""" TO "{role}";
            GRANT USAGE ON SCHEMA "app ""x""" TO "{boss}", "{other}";
            GRANT ALL ON "app ""x""".plain TO "{boss}" WITH GRANT OPTION;
            GRANT SELECT, UPDATE ON "app ""x""".plain TO "{role}";
            GRANT DELETE ON "app ""x""".plain TO "{role}" WITH GRANT OPTION;
            GRANT SELECT ("Col ""1"""), UPDATE (b) ON "app ""x"""."Odd ""Table""" TO "{role}";
            GRANT INSERT (c) ON "app ""x"""."Odd ""Table""" TO "{role}" WITH GRANT OPTION;
            GRANT SELECT ON "app ""x""".seen TO "{role}", "{other}";
            GRANT USAGE, SELECT ON SEQUENCE "app ""x""".numbers TO "{role}";
            GRANT EXECUTE ON ALL ROUTINES IN SCHEMA "app ""x""" TO "{role}";
            GRANT USAGE ON TYPE "app ""x""".mood TO "{role}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA "app ""x""" GRANT SELECT ON TABLES TO "{role}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA "app ""x""" GRANT INSERT ON TABLES TO "{role}" WITH GRANT OPTION;
            ALTER DEFAULT PRIVILEGES IN SCHEMA "app ""x""" GRANT EXECUTE ON ROUTINES TO "{role}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA "app ""x""" GRANT USAGE ON SEQUENCES TO "{role}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA "app ""x""" GRANT USAGE ON TYPES TO "{role}";
            RESET ROLE;
            SET ROLE "{boss}";
            GRANT SELECT, INSERT ON "app ""x""".plain TO "{role}";
            RESET ROLE;
            CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.stays ();
            GRANT USAGE ON SCHEMA elsewhere TO "{role}"; GRANT SELECT ON elsewhere.stays TO "{role}";
            "#
        ))
        .await;
    Case {
        target: role_target(&role),
        parameters: json!({ "schema": "app \"x\"" }),
        disturbance: format!(
            r#"SET ROLE "{owner}"; GRANT TRUNCATE ON "app ""x""".plain TO "{role}""#
        ),
        never: Vec::new(),
        in_parts: false,
    }
}

async fn create_read_only_user(bench: &Bench, actor: Option<&str>) -> Case {
    let owner = objects(bench, actor).await;
    let user = bench.server.role("new reader \"x\"");
    let quoted = user.replace('"', "\"\"");
    let other = bench.server.role("maker");
    let actor = actor.unwrap_or(bench.server.username());
    bench
        .sql(&format!(
            r#"
            CREATE ROLE "{other}"; GRANT "{other}" TO "{actor}";
            SET ROLE "{owner}"; GRANT ALL ON SCHEMA "app ""x""" TO "{other}"; RESET ROLE;
            SET ROLE "{other}"; CREATE TABLE "app ""x""".made_by_another (); RESET ROLE;
            "#
        ))
        .await;
    Case {
        target: database_target(bench.server.database()),
        parameters: json!({ "user": user, "schema": "app \"x\"" }),
        disturbance: format!("CREATE ROLE \"{quoted}\""),
        never: Vec::new(),
        in_parts: false,
    }
}

async fn drop_user(bench: &Bench, actor: Option<&str>) -> Case {
    let owner = objects(bench, actor).await;
    let role = bench.server.role("leaver");
    let (group, member) = (bench.server.role("group"), bench.server.role("member"));
    let database = bench.server.database();
    // Only superusers may make memberships in the name of others.
    let by = actor.map_or(String::new(), |actor| format!("SET ROLE \"{actor}\";"));
    let grantor = actor.unwrap_or(&owner);
    // From version 16 on, who grants a membership must be an administrator of the group.
    let admins = match actor {
        Some(_) => String::new(),
        None => format!(
            r#"GRANT "{group}" TO "{owner}" WITH ADMIN OPTION;
               GRANT "{role}" TO "{owner}" WITH ADMIN OPTION;"#
        ),
    };
    // And an option that no module has declared.
    let option = if actor.is_some() { "application_name" } else { "my.option" };
    bench
        .sql(&format!(
            r#"
            SET password_encryption = 'md5';
            {by}
            CREATE ROLE "{role}" LOGIN CREATEDB NOINHERIT CONNECTION LIMIT 7
                VALID UNTIL '2031-02-03 04:05:06.789+02' PASSWORD '{PASSWORD}';
            CREATE ROLE "{group}"; CREATE ROLE "{member}";
            {admins}
            COMMENT ON ROLE "{role}" IS 'it''s a \ role';
            GRANT "{group}" TO "{role}" WITH ADMIN OPTION GRANTED BY "{grantor}";
            GRANT "{role}" TO "{member}" GRANTED BY "{grantor}";
            RESET ROLE;
            ALTER ROLE "{role}" SET search_path TO "$user", 'we"ird, one', public;
            ALTER ROLE "{role}" SET work_mem TO '7MB';
            ALTER ROLE "{role}" IN DATABASE "{database}" SET {option} TO 'it''s \ here';
            GRANT CONNECT ON DATABASE "{database}" TO "{role}";
            SET ROLE "{owner}";
            GRANT USAGE ON SCHEMA "app ""x""" TO "{role}";
            GRANT SELECT ON "app ""x""".plain TO "{role}" WITH GRANT OPTION;
            GRANT SELECT ("Col ""1""") ON "app ""x"""."Odd ""Table""" TO "{role}";
            GRANT EXECUTE ON PROCEDURE "app ""x""".p(int) TO "{role}";
            ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "{role}";
            RESET ROLE;
            "#
        ))
        .await;
    let disturbance = format!("ALTER ROLE \"{role}\" CONNECTION LIMIT 8");
    case(&role, disturbance)
}
