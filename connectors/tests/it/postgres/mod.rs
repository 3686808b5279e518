//! Connector `postgres`, against a PostgreSQL server.

mod bench;
mod cases;
mod connection;
mod discovery;
mod login;
mod privileges;
mod severed;

use bench::Bench;

crate::suite::conform! {
    Bench:
    create_read_only_user => "postgres.create_read_only_user",
    drop_user => "postgres.drop_user",
    lock_user => "postgres.lock_user",
    revoke_all_privileges => "postgres.revoke_all_privileges",
    rotate_user_password => "postgres.rotate_user_password",
    set_connection_limit => "postgres.set_connection_limit",
    set_role_setting => "postgres.set_role_setting",
    unlock_user => "postgres.unlock_user",
}
