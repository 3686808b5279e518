//! Connector `ssh`, against OpenSSH's server on Debian.
//!
//! Most tests have a host of their own without systemd, which is there in a moment ([`bench`]); what is about
//! services walks over one that was started as a whole ([`booted`]).

mod bench;
mod booted;
mod cases;
mod connection;
mod files;
mod hardening;
mod packages;
mod passwords;
mod publish;
mod services;

/// The agent's tests have the same one.
#[path = "../../../../agent/tests/it/disposable/mod.rs"]
mod disposable;

use bench::Bench;

crate::suite::conform! {
    Bench:
    lock_local_user => "ssh.lock_local_user",
    rotate_local_password => "ssh.rotate_local_password",
    set_file_ownership => "ssh.set_file_ownership",
    set_file_permission => "ssh.set_file_permission",
    unlock_local_user => "ssh.unlock_local_user",
}

/// The line is cut everywhere: before the effect it is said for sure, and after it nobody knows.
async fn cut(action: &str) {
    let [unknown_done, unknown_not_done, definite] = crate::suite::severed::<Bench>(action).await;
    assert!(unknown_done > 0, "no cut came after the effect: {unknown_not_done} {definite}");
    assert!(definite > 0, "no cut came before the effect: {unknown_done} {unknown_not_done}");
}

mod real_severed {
    #[tokio::test]
    async fn set_file_ownership() {
        super::cut("ssh.set_file_ownership").await;
    }

    #[tokio::test]
    async fn set_file_permission() {
        super::cut("ssh.set_file_permission").await;
    }
}
