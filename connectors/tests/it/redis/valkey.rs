//! The first of the same demands on a Valkey server: there and back, with somebody else at work. Users and settings are in its configuration file.

use nexplane_peers::redis::{Product, RedisServer, Setup};
use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD};
use crate::suite::{Account, Case, Login, Peer, drift, trial};

/// The same bench, with another server.
struct Valkey(Bench);

impl Peer for Valkey {
    const CONNECTOR: &'static str = Bench::CONNECTOR;
    const WHAT_TO_DO: &'static str = Bench::WHAT_TO_DO;

    async fn start() -> Self {
        let server = RedisServer::start_product(Product::Valkey, Setup::Requirepass).await;
        Self(Bench::of(server.expect("./setup installs Valkey")))
    }

    async fn login(&self, account: Account) -> Login {
        self.0.login(account).await
    }

    fn address(&self) -> (String, u16) {
        self.0.address()
    }

    fn with_wrong_secret(&self, credentials: Value) -> Value {
        self.0.with_wrong_secret(credentials)
    }

    async fn prepare(&self, action: &str, login: &Login) -> Case {
        self.0.prepare(action, login).await
    }

    async fn disturb(&self, case: &Case) {
        self.0.disturb(case).await;
    }

    async fn witness(&self) -> String {
        self.0.witness()
    }

    fn secrets(&self) -> Vec<String> {
        self.0.secrets()
    }
}

async fn of(id: &str) {
    trial::<Valkey>(id, Account::Manager).await;
    drift::<Valkey>(id).await;
}

#[tokio::test]
async fn real_valkey_keys_are_deleted_by_a_pattern() {
    of("redis.delete_key_pattern").await;
}

#[tokio::test]
async fn real_valkey_expiring_keys_are_flushed() {
    of("redis.flush_volatile_keys").await;
}

#[tokio::test]
async fn real_valkey_a_user_is_locked() {
    of("redis.lock_user").await;
}

#[tokio::test]
async fn real_valkey_a_password_is_rotated() {
    of("redis.rotate_auth_password").await;
}

#[tokio::test]
async fn real_valkey_a_user_is_unlocked() {
    of("redis.unlock_user").await;
}

#[tokio::test]
async fn real_valkey_is_discovered_and_may_be_managed_with_the_named_rights() {
    let Valkey(bench) = Valkey::start().await;
    bench.user("app");
    let session = bench.open(bench.credentials_of(&bench.manager(), PASSWORD)).await.unwrap();
    let checks = session.test().await;
    assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
    let found = session.discover().await.unwrap();
    let get = |key: &str| found.assets.iter().find(|asset| asset.external_key == key).unwrap();
    assert_eq!(get("instance").metadata["product"], json!("valkey"));
    assert_eq!(get("user/app").metadata["passwords"], 1);
}
