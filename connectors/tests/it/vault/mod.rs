//! Connector `vault`, against an OpenBao server.

mod bench;
mod connection;
mod discovery;
mod policies;
mod secrecy;
mod secrets;
mod severed;
mod tokens;

use bench::Bench;

crate::suite::conform! {
    Bench:
    delete_kv_version => "vault.delete_kv_version",
    revoke_token => "vault.revoke_token",
    rotate_database_credentials => "vault.rotate_database_credentials",
    rotate_kv_secret => "vault.rotate_kv_secret",
    update_policy => "vault.update_policy",
}
