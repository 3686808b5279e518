//! The profile of hardening, with everything that is asked of an action: a few items of each kind, and all of it
//! once. What needs systemd or a kernel of its own is in `booted`.

use std::time::Duration;

use nexplane_connectors::sdk::{Advice, ErrorKind};
use serde_json::json;

use super::bench::{Bench, host_target};
use super::cases::{ITEMS, PROFILE};
use super::disposable::{CONFIGURATION, assert_same};
use crate::fixture::{action, step};
use crate::suite::{Account, Peer, drift, rights, trial};

const APPLY: &str = "ssh.apply_hardening_profile";

#[tokio::test]
async fn real_with_full_rights() {
    trial::<Bench>(APPLY, Account::Full).await;
}

#[tokio::test]
async fn real_with_named_rights() {
    trial::<Bench>(APPLY, Account::Manager).await;
}

#[tokio::test]
async fn real_drift() {
    drift::<Bench>(APPLY).await;
}

#[tokio::test]
async fn real_rights() {
    rights::<Bench>(APPLY).await;
}

/// Puts a script in front of a program: `$n` counts its calls, `$1 …` are its arguments.
fn in_front_of(bench: &Bench, program: &str, script: &str) {
    bench.sh(&format!(
        "mv {program} {program}.real; echo 0 >/run/calls
         cat >{program} <<'END'\n#!/bin/sh\nn=$(($(cat /run/calls) + 1)); echo $n >/run/calls\n{script}\nexec {program}.real \"$@\"\nEND\n         chmod 755 {program}"
    ));
}

#[tokio::test]
async fn real_a_line_that_is_cut_leaves_what_can_be_gone_on_with_and_undone() {
    let bench = Bench::new().await;
    bench.sh(PROFILE);
    let initially = bench.witness().await;
    let (apply, target) = (action(APPLY), host_target());
    let parameters = json!({ "profile": "cis-debian12-level1", "only": ITEMS });
    let session = bench.session().await;
    let before = apply.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(apply, &target, &parameters, &before.fingerprint);
    // The server goes while the third file is put in its place.
    let cut = "if [ $n = 3 ]; then p=$PPID; until [ \"$(cat /proc/$p/comm)\" = sshd ]; do \
                   p=$(sed -n 's/^PPid:\\s*//p' /proc/$p/status); done; kill -9 $p; fi";
    in_front_of(&bench, "/usr/bin/mv", cut);
    let error = apply.execute(&*session, &cx, &before).await.expect_err("the line was cut");
    assert_eq!(error.advice, Advice::OutcomeUnknown, "{error}");
    assert_ne!(bench.witness().await, initially);
    let session = bench.session().await;
    let verified = apply.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    assert!(!verified.satisfied);
    assert!(apply.execute(&*session, &cx, &before).await.unwrap().changed);
    let verified = apply.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    assert!(verified.satisfied);
    assert!(apply.rollback(&*session, &cx, &before, None).await.unwrap().changed);
    assert_same("it was not undone", &initially, &bench.witness().await);
}

/// The thread that works on the host ends with the call.
#[tokio::test]
async fn real_nothing_is_begun_once_nobody_waits() {
    let bench = Bench::new().await;
    bench.sh(PROFILE);
    let (apply, target) = (action(APPLY), host_target());
    let parameters = json!({ "profile": "cis-debian12-level1", "only": ITEMS });
    let session = bench.session().await;
    let before = apply.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(apply, &target, &parameters, &before.fingerprint);
    in_front_of(&bench, "/usr/bin/mv", "sleep 1.5");
    let calls = || bench.sh("cat /run/calls").trim().to_owned();
    {
        let effect = std::pin::pin!(apply.execute(&*session, &cx, &before));
        let begun = async {
            while calls() == "0" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = effect => panic!("it has not begun: {done:?}"),
            () = begun => {}
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let now = bench.witness().await;
    assert_eq!(calls(), "1");
    // The session goes on, and sees the rest of what was begun before it reads.
    bench.sh("mv /usr/bin/mv.real /usr/bin/mv");
    let verified = apply.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    assert!(!verified.satisfied);
    assert_same("something was begun", &now, &bench.witness().await);
    assert!(apply.rollback(&*session, &cx, &before, None).await.unwrap().changed);
}

#[tokio::test]
async fn real_what_somebody_else_put_there_stays() {
    let bench = Bench::new().await;
    bench.sh(PROFILE);
    let (apply, target) = (action(APPLY), host_target());
    let session = bench.session().await;
    let inspect = async |only: &str| {
        let parameters = json!({ "profile": "cis-debian12-level1", "only": [only] });
        let inspection = apply.inspect(&*session, &target, &parameters).await.unwrap();
        let cx = step(apply, &target, &parameters, &inspection.before.fingerprint);
        (inspection, cx)
    };
    // A link is planted, before and after the look.
    let planted = "mkdir -p /etc/nx; echo theirs >/etc/nx/file; \
                   ln -s /etc/nx/file /etc/modprobe.d/60-nexplane-module-cramfs.conf";
    let (inspection, cx) = inspect("module-cramfs").await;
    bench.sh(planted);
    let error = apply.execute(&*session, &cx, &inspection.before).await.expect_err("a link");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error}");
    let (inspection, _) = inspect("module-cramfs").await;
    let told = inspection.checks.iter().find(|check| check.name == "module-cramfs").unwrap();
    assert!(told.detail.contains("a part of it is a symbolic link"), "{told:?}");
    assert!(inspection.diff.is_empty());
    // And where the new content is written.
    bench.sh("rm /etc/modprobe.d/*cramfs*; \
              ln -s /etc/nx/file /etc/modprobe.d/.60-nexplane-module-cramfs.conf.nexplane-ssh");
    let (inspection, cx) = inspect("module-cramfs").await;
    let done = apply.execute(&*session, &cx, &inspection.before).await;
    assert_eq!(bench.sh("cat /etc/nx/file"), "theirs\n", "{done:?}");
    bench.sh("rm -f /etc/modprobe.d/.60*");

    // Whoever writes the file while ours is written beside it has the last word.
    let (inspection, cx) = inspect("login-umask").await;
    in_front_of(&bench, "/usr/bin/dd", "echo '# theirs' >>/etc/login.defs");
    let error = apply.execute(&*session, &cx, &inspection.before).await.expect_err("it moved");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error}");
    assert!(error.message.contains("was changed by somebody else"), "{error}");
    assert_eq!(
        bench.sh("tail -n 1 /etc/login.defs; ls -A /etc | grep nexplane || :"),
        "# theirs\n"
    );
    // A file that was not there.
    bench.sh("mv /usr/bin/dd.real /usr/bin/dd");
    let (inspection, cx) = inspect("limits-core").await;
    let file = "/etc/security/limits.d/60-nexplane-limits-core.conf";
    in_front_of(&bench, "/usr/bin/mv", &format!("echo '# theirs' >{file}"));
    let error = apply.execute(&*session, &cx, &inspection.before).await.expect_err("it is taken");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(bench.sh(&format!("cat {file}; ls -A /etc/security/limits.d")).lines().count(), 2);
}

#[tokio::test]
async fn real_the_whole_profile_comes_and_goes_to_the_byte() {
    let bench = Bench::new().await;
    bench.sh(PROFILE);
    bench.sh("umount /proc/sys/net/ipv4/conf/all; mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys
         chmod 666 /etc/issue; chown daemon:games /etc/issue; chmod 640 /etc/login.defs; setfattr -n user.nx -v a /etc/login.defs || :");
    let initially = bench.sh(CONFIGURATION);
    let (apply, target) = (action(APPLY), host_target());
    let parameters = json!({ "profile": "cis-debian12-level1" });
    let session = bench.session().await;
    let inspection = apply.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let detail = |name: &str| {
        let check = inspection.checks.iter().find(|check| check.name == name).unwrap();
        check.detail.clone()
    };
    assert!(detail("net-log-martians-all").contains("cannot be set from here"));
    assert!(detail("service-rsync").contains("there is no bus"));
    assert!(detail("accounts-no-empty-password").contains("password hashes"));
    assert!(detail("package-sudo").contains("is so, version"), "{}", detail("package-sudo"));
    let before = inspection.before;
    let cx = step(apply, &target, &parameters, &before.fingerprint);
    assert!(apply.execute(&*session, &cx, &before).await.unwrap().changed);
    let verified = apply.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    assert!(verified.satisfied);
    // It still lets in, also after it read its files again.
    bench.sh("sshd -t; kill -HUP $(pgrep -o sshd || cat /run/sshd.pid)");
    assert_eq!(bench.sh("stat -c '%a %U:%G' /etc/issue").trim(), "644 root:root");
    assert!(apply.rollback(&*session, &cx, &before, None).await.unwrap().changed);
    assert_same("it was not undone", &initially, &bench.sh(CONFIGURATION));
}
