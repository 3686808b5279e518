//! One case for every action of connector `redis`: a target that the action fits, and what somebody else could
//! do to it in between.

use serde_json::json;

use super::bench::{Bench, database_target, user_target};
use crate::suite::Case;
use nexplane_peers::redis::RedisServer;

pub fn prepare(bench: &Bench, action: &str) -> Case {
    match action {
        "redis.delete_key_pattern" => {
            keys(bench);
            let parameters = json!({ "pattern": "app:session:*", "limit": 50 });
            let doomed: Vec<_> = (0..20).map(|no| format!("app:session:{no}")).collect();
            Case {
                target: database_target(0),
                parameters,
                disturbance: format!("UNLINK {}", doomed.join(" ")),
                never: vec![database_target(99)],
                in_parts: true,
            }
        }
        "redis.flush_volatile_keys" => {
            keys(bench);
            Case {
                target: database_target(0),
                parameters: json!({ "limit": 50 }),
                disturbance: (0..20).map(|no| format!("PERSIST app:session:{no}\n")).collect(),
                never: vec![database_target(99)],
                in_parts: true,
            }
        }
        // The user is locked first, its sessions end afterwards.
        "redis.lock_user" => Case { in_parts: true, ..user(bench, "off") },
        // Both passwords are valid in between.
        "redis.rotate_auth_password" => {
            let case = user(bench, ">somebody-else");
            bench.run("ACL SETUSER app >another-one");
            bench.save();
            Case { in_parts: true, ..case }
        }
        "redis.unlock_user" => {
            let case = user(bench, "on");
            bench.run("ACL SETUSER app off");
            bench.save();
            case
        }
        other => panic!("{other} has no case: every action must have one"),
    }
}

fn user(bench: &Bench, disturbance: &str) -> Case {
    let name = bench.user("app");
    Case {
        target: user_target(&name),
        parameters: json!({}),
        disturbance: format!("ACL SETUSER {name} {disturbance}"),
        never: vec![user_target("nobody"), user_target(RedisServer::ADMIN)],
        in_parts: false,
    }
}

/// Twenty keys that expire, and some that do not.
pub fn keys(bench: &Bench) {
    for no in 0..20 {
        bench.run(&format!("SET app:session:{no} x EX 1000"));
    }
    bench.run("MSET app:kept 1 app:sessions 2 other 3");
}
