//! Actions on a real Redis.

use nexplane_peers::redis::Setup;
use serde_json::json;

use super::reader::Snapshot;
use super::{Row, Stage};
use crate::journey_redis::Cache;

pub const ROWS: [Row; 5] = [
    ("redis.lock_user", "a user with two passwords"),
    ("redis.rotate_auth_password", "a user that is off"),
    ("redis.rotate_auth_password", "a user with two passwords"),
    ("redis.rotate_auth_password", "requirepass"),
    ("redis.unlock_user", "a user that is off"),
];

/// Every user and `requirepass`, in the server's memory and in the file that keeps them.
fn read(cache: &Cache) -> Snapshot {
    let memory = cache.run("ACL LIST");
    let kept = cache.server.kept();
    let lines = memory.lines().map(|line| ("in memory", line));
    let lines = lines.chain(kept.lines().map(|line| ("kept", line)));
    let mut snapshot: Snapshot = lines
        .filter(|(_, line)| line.starts_with("user ") || line.starts_with("requirepass"))
        .map(|(place, line)| {
            let name = match line.split(' ').nth(1) {
                Some(name) if line.starts_with("user ") => name,
                _ => "default: requirepass",
            };
            (format!("{place} {name}"), line.to_owned())
        })
        .collect();
    let setting = cache.run("CONFIG GET requirepass");
    snapshot.insert("setting default: requirepass".to_owned(), setting);
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_is_as_before_after_every_way_back() {
    let stage = Stage::new().await;
    for (no, row) in ROWS.into_iter().enumerate() {
        let of_instance = row.1 == "requirepass";
        let setup = if of_instance { Setup::Requirepass } else { Setup::AclFile };
        let cache = Cache::connect(&stage.server, &format!("cache{no}"), "dev", setup).await;
        cache.user("app");
        match row.1 {
            "a user with two passwords" => drop(cache.run("ACL SETUSER app >another-password")),
            "a user that is off" => drop(cache.run("ACL SETUSER app off")),
            "requirepass" => {}
            other => panic!("a row without a case: {other}"),
        }
        cache.run(if of_instance { "CONFIG REWRITE" } else { "ACL SAVE" });
        cache.discover(&stage.server).await;
        let instance = format!("127.0.0.1:{}", cache.server.port);
        let (kind, name) =
            if of_instance { ("redis_instance", &*instance) } else { ("redis_user", "app") };
        let asset = cache.asset(&stage.operator, kind, name).await;
        let request = cache.request(row.0, &asset, json!({}));
        let own = if of_instance { "default" } else { "app" };
        let before = read(&cache);
        let intended = |now: &Snapshot| {
            let (place, was) = before
                .iter()
                .find(|(place, _)| *place == &format!("kept {own}"))
                .expect("it is kept");
            let is = &now[place];
            match row.0 {
                "redis.lock_user" => assert_eq!(*is, was.replacen(" on ", " off ", 1)),
                "redis.unlock_user" => assert_eq!(*is, was.replacen(" off ", " on ", 1)),
                // One password, and none of the old ones.
                _ => {
                    let hashes = |line: &str| -> Vec<String> {
                        let words = line.split(' ').filter(|word| word.starts_with('#'));
                        words.map(str::to_owned).collect()
                    };
                    assert_eq!(hashes(is).len(), 1, "{is}");
                    assert!(!hashes(was).contains(&hashes(is)[0]), "{is}");
                }
            }
        };
        stage.there_and_back(row, request, async || read(&cache), own, intended).await;
    }
}
