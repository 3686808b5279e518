//! Connector `redis`, against a Redis server, and against a Valkey server.

mod bench;
mod cases;
mod connection;
mod discovery;
mod keys;
mod login;
mod meanwhile;
mod requirepass;
mod rotation;
mod severed;
mod valkey;

use bench::Bench;

crate::suite::conform! {
    Bench:
    delete_key_pattern => "redis.delete_key_pattern",
    flush_volatile_keys => "redis.flush_volatile_keys",
    lock_user => "redis.lock_user",
    rotate_auth_password => "redis.rotate_auth_password",
    unlock_user => "redis.unlock_user",
}
