//! `cache`: the Redis of a shop, with users and keys.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use nexplane_connectors::redis::Redis;
use nexplane_connectors::sdk::Connector as _;
use nexplane_core::id::ConnectionId;
use nexplane_peers::redis::RedisServer;
use serde_json::{Value, json};

use super::sandbox::Sandbox;
use super::{REDISCOVER_S, feed};

/// Users with their rights.
const USERS: [(&str, &str); 3] = [
    ("app", "~session:* ~cart:* ~queue:* +get +set +del +expire +hset +hgetall +rpush"),
    ("worker", "~queue:* +blpop +llen"),
    ("reporting", "%R~stats:* +get +mget"),
];

/// A Redis, and how Nexplane logs in to it.
pub struct Cache {
    redis: RedisServer,
    password: String,
}

impl Cache {
    /// Starts it and fills it. Nexplane gets the rights that the connector's page asks for, and no others.
    pub async fn start(parent: &Path) -> anyhow::Result<Self> {
        let password = nexplane_peers::password();
        let mut users = String::new();
        for (name, rights) in USERS {
            writeln!(users, "user {name} on >{} {rights}", nexplane_peers::password())?;
        }
        let user =
            Redis::LEAST_PRIVILEGE.lines().find_map(|line| line.strip_prefix("ACL SETUSER "));
        let user = user.context("the connector's page tells how its user is made")?;
        writeln!(users, "user {}", user.replace("PASSWORD", &password))?;
        let redis = RedisServer::start_in(parent, &users, "databases 2\n").await?;
        let mut fill = redis.client();
        fill.env("REDISCLI_AUTH", &redis.password).args(["--user", RedisServer::ADMIN, "--pipe"]);
        feed(fill, &keys(), "redis-cli")?;
        Ok(Self { redis, password })
    }

    /// How it is reached.
    pub fn connection(&self) -> Value {
        json!({
            "name": "cache",
            "type": "redis",
            "environment": "staging",
            "credentials": {
                "host": "127.0.0.1",
                "port": self.redis.port,
                "username": "nexplane",
                "password": self.password,
                "ca_certificate": self.redis.ca_pem,
            },
            "discover_every_s": REDISCOVER_S,
        })
    }
}

/// One that is done, one that waits for approval and cannot be undone.
pub async fn make_changes(sandbox: &Sandbox, cache: ConnectionId) -> anyhow::Result<()> {
    let app = sandbox.asset(cache, "redis_user", "app").await?;
    let first = sandbox.asset(cache, "redis_database", "db0").await?;
    sandbox
        .complete((
            "Rotate the password that the shop logs in to its cache with",
            "redis.rotate_auth_password",
            cache,
            app,
            json!({}),
        ))
        .await?;
    sandbox
        .submit((
            "End the sessions of the old sign-in page",
            "redis.delete_key_pattern",
            cache,
            first,
            json!({ "pattern": "session:v1:*", "limit": 100 }),
        ))
        .await?;
    Ok(())
}

/// Commands that make what a shop has in its cache. Sessions end by themselves, after the demo.
fn keys() -> String {
    let mut commands = vec![
        "RPUSH queue:mail order-1041 order-1042 order-1043\r\n".to_owned(),
        "SET stats:orders:today 118\r\n".to_owned(),
    ];
    for number in 1..=40 {
        let version = if number <= 25 { "v2" } else { "v1" };
        let token = nexplane_peers::password();
        commands.push(format!("SET session:{version}:{token} customer:{number} EX 604800\r\n"));
        if number % 3 == 0 {
            commands.push(format!("HSET cart:{number} sku-{} 1\r\n", 100 + number));
        }
    }
    commands.concat()
}
