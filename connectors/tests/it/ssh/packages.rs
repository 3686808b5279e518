//! Packages, of a source that the test makes in the host itself.

use std::sync::Arc;
use std::time::Duration;

use nexplane_connectors::sdk::{Advice, AnySession, EarlierEffect, ErrorKind};
use serde_json::{Value, json};

use super::bench::{Bench, host_target};
use super::publish::PUBLISH;
use crate::fixture::{action, step};
use crate::suite::{Account, drift, rights, trial};

const INSTALL: &str = "ssh.install_package";
const REMOVE: &str = "ssh.remove_package";
mod real_with_full_rights {
    use super::*;

    #[tokio::test]
    async fn install_package() {
        trial::<Bench>(INSTALL, Account::Full).await;
    }

    #[tokio::test]
    async fn remove_package() {
        trial::<Bench>(REMOVE, Account::Full).await;
    }
}

mod real_with_named_rights {
    use super::*;

    #[tokio::test]
    async fn install_package() {
        trial::<Bench>(INSTALL, Account::Manager).await;
    }

    #[tokio::test]
    async fn remove_package() {
        trial::<Bench>(REMOVE, Account::Manager).await;
    }
}

mod real_drift_and_rights {
    use super::*;

    #[tokio::test]
    async fn install_package() {
        drift::<Bench>(INSTALL).await;
        rights::<Bench>(INSTALL).await;
    }

    #[tokio::test]
    async fn remove_package() {
        drift::<Bench>(REMOVE).await;
        rights::<Bench>(REMOVE).await;
    }
}

/// Cut off before the marks, and in the middle of the packages: the same call finishes it, and it can be undone.
#[tokio::test]
async fn real_crash() {
    let bench = Bench::new().await;
    bench.sh(PUBLISH);
    let session = bench.session().await;
    let (install, parameters) = (action(INSTALL), json!({ "name": "nx-app" }));
    let there =
        || bench.sh("ls /usr/share | grep '^nx-' || :; apt-mark showmanual | grep '^nx-' || :");
    for half in ["nx-app", "nx-lib"] {
        let before = install.inspect(&*session, &host_target(), &parameters).await.unwrap().before;
        let cx = step(install, &host_target(), &parameters, &before.fingerprint);
        bench.sh(&format!("apt-get -q -y -o APT::Get::Mark-Auto=1 install {half}"));
        let verified = install.verify(&*session, &host_target(), &parameters, &before, None).await;
        assert!(!verified.unwrap().satisfied, "{half}");
        assert!(install.execute(&*session, &cx, &before).await.unwrap().changed);
        assert_eq!(there(), "nx-app\nnx-lib\nnx-app\n");
        assert!(install.rollback(&*session, &cx, &before, None).await.unwrap().changed);
        assert_eq!(there(), "");
    }

    // Read back is what nobody can, once it is done: what was done is not called nothing.
    let before = install.inspect(&*session, &host_target(), &parameters).await.unwrap().before;
    let mut cx = step(install, &host_target(), &parameters, &before.fingerprint);
    let hook = |when: &str, script: &str| {
        bench.sh(&format!("echo 'DPkg::{when} {{\"{script}\";}};' >/etc/apt/apt.conf.d/99nx"));
    };
    hook("Post-Invoke", "chmod a-x /usr/bin/dpkg-query");
    let error = install.execute(&*session, &cx, &before).await.expect_err("it cannot be read");
    assert!(error.is_outcome_unknown() && error.message.contains("apt-mark"), "{error}");
    bench.sh("chmod a+x /usr/bin/dpkg-query; rm /etc/apt/apt.conf.d/99nx");
    assert!(install.rollback(&*session, &cx, &before, None).await.unwrap().changed);
    assert_eq!(there(), "");

    // What apt would do today is another question than whether everything is as it was.
    let undoes =
        EarlierEffect { job: None, key: String::new(), before: Some(before.sealed.clone()) };
    let lists = |from: &str, to: &str| {
        let file = "/var/tmp/repository/Packages";
        bench.sh(&format!("sed -i 's/^Version: {from}$/Version: {to}/' {file}; apt-get -q update"));
    };
    lists("2.0", "2.1");
    let read = async |undoes: Option<&EarlierEffect>| {
        let read = install.read(&*session, &host_target(), &parameters, undoes).await;
        read.unwrap().fingerprint
    };
    assert_eq!(read(Some(&undoes)).await, before.fingerprint);
    assert_ne!(read(None).await, before.fingerprint, "the plan is another one");
    lists("2.1", "2.0");
    bench.sh("dpkg -i /var/tmp/repository/nx-lib_1.0.deb");
    assert_ne!(read(Some(&undoes)).await, before.fingerprint);
    bench.sh("dpkg -r nx-lib");

    // With little time left it is not begun.
    let whole = std::mem::replace(&mut cx.deadline, Duration::from_secs(9));
    let error = install.execute(&*session, &cx, &before).await.expect_err("there is no time");
    assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, Advice::Later), "{error}");
    assert_eq!(there(), "");
    cx.deadline = whole;

    // The session breaks, and apt goes on. Until it is done nothing is known.
    hook("Pre-Invoke", "touch /run/begun; while [ ! -e /run/go ]; do sleep 0.1; done");
    let bench = Arc::new(bench);
    let host = Arc::clone(&bench);
    let cut = tokio::task::spawn_blocking(move || host.sh(CUT));
    let error = install.execute(&*session, &cx, &before).await.expect_err("it is cut");
    cut.await.unwrap();
    assert!(error.is_outcome_unknown(), "{error}");
    let session = bench.session().await;
    let target = host_target();
    let verify = || install.verify(&*session, &target, &parameters, &before, None);
    let error = verify().await.expect_err("apt is at work");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Later), "{error}");
    let read = install.read(&*session, &host_target(), &parameters, None).await;
    assert!(read.expect_err("apt is at work").message.contains("another package manager"));
    bench.sh("touch /run/go");
    let mut now = verify().await;
    for _ in 0..300 {
        if now.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = verify().await;
    }
    assert_ne!(now.unwrap().fingerprint, before.fingerprint);
    assert_eq!(
        bench.sh("ls /usr/share | grep '^nx-'; dpkg --audit; ls -A /tmp"),
        "nx-app\nnx-lib\n"
    );
    // What is left are the marks.
    assert!(install.execute(&*session, &cx, &before).await.unwrap().changed);
    assert!(verify().await.unwrap().satisfied);
}

/// Waits until apt has its lock, and ends the session.
const CUT: &str = "
    for i in $(seq 600); do [ ! -e /run/begun ] || break; sleep 0.1; done
    for process in /proc/[0-9]*; do
        ! grep -aq '^sshd: root@notty' $process/cmdline || kill -KILL ${process#/proc/}
    done";

/// Details of the checks that fail.
async fn failed(session: &dyn AnySession, id: &str, parameters: Value) -> String {
    let inspection = action(id).inspect(session, &host_target(), &parameters).await.unwrap();
    let failed = inspection.checks.into_iter().filter(|check| !check.ok);
    failed.map(|check| check.detail).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn real_what_was_not_asked_for_is_refused() {
    let bench = Bench::new().await;
    bench.sh(PUBLISH);
    bench.sh("apt-get -q -y install nx-app");
    let session = bench.session().await;
    let initially = bench.sh("dpkg-query -W; apt-mark showmanual");
    for (id, parameters, why) in [
        (INSTALL, json!({ "name": "nx-rival" }), "remove nx-app 2.0: remove that first"),
        (INSTALL, json!({ "name": "nx-app", "version": "1.0" }), "an earlier version"),
        (INSTALL, json!({ "name": "nx-app", "version": "3.0" }), "apt-get update"),
        (INSTALL, json!({ "name": "nx-nowhere" }), "Unable to locate package nx-nowhere"),
        (INSTALL, json!({ "name": "nx-app-" }), "apt knows no way to do that"),
        (INSTALL, json!({ "name": "NX-app" }), "no capital letters"),
        (REMOVE, json!({ "name": "nx-lib" }), "others would change with it: remove nx-app 2.0"),
        (REMOVE, json!({ "name": "dpkg" }), "packages are installed with it"),
        (REMOVE, json!({ "name": "sudo" }), "reach the host through it"),
        // No source has it: it came with the host.
        (REMOVE, json!({ "name": "cron" }), "could not be put back"),
    ] {
        let said = failed(&*session, id, parameters.clone()).await;
        assert!(said.contains(why), "{id} {parameters}: {said}");
    }
    bench.sh("apt-mark hold nx-app");
    let said = failed(&*session, REMOVE, json!({ "name": "nx-app" })).await;
    assert!(said.contains("apt-mark unhold"), "{said}");
    bench.sh("apt-mark unhold nx-app");
    assert_eq!(failed(&*session, REMOVE, json!({ "name": "nx-app" })).await, "");
    assert_eq!(bench.sh("dpkg-query -W; apt-mark showmanual"), initially);

    // Somebody else's package manager is at work: nothing is changed, and it can be tried again.
    let (remove, parameters) = (action(REMOVE), json!({ "name": "nx-app" }));
    let before = remove.inspect(&*session, &host_target(), &parameters).await.unwrap().before;
    let cx = step(remove, &host_target(), &parameters, &before.fingerprint);
    bench.sh("perl -MFcntl -e 'open(F, \">>\", \"/var/lib/dpkg/lock-frontend\"); \
         my $lock = pack(\"s s x4 l! l! i x4\", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $lock) or die; \
         open(P, \">\", \"/run/holder\"); print P $$; close(P); sleep 60' >/dev/null 2>&1 & \
         for i in $(seq 100); do [ ! -s /run/holder ] || exit 0; sleep 0.1; done; exit 1");
    let error = remove.execute(&*session, &cx, &before).await.expect_err("it is locked");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Later), "{error}");
    assert!(error.message.contains("another package manager"), "{error}");
    assert_eq!(bench.sh("dpkg-query -W; apt-mark showmanual"), initially);
    bench.sh("kill $(cat /run/holder); rm /run/holder");
    assert!(remove.execute(&*session, &cx, &before).await.unwrap().changed);

    // Somebody installs what needs it, right after apt was asked what would go: it stays, and so does the other.
    bench.sh("apt-get -q -y install nx-lib");
    let parameters = json!({ "name": "nx-lib" });
    let before = remove.inspect(&*session, &host_target(), &parameters).await.unwrap().before;
    let cx = step(remove, &host_target(), &parameters, &before.fingerprint);
    bench.sh("mv /usr/bin/apt-get /usr/bin/apt-real
        printf '#!/bin/sh\napt-real \"$@\" || exit\napt-real -q -y install nx-app >&2\n' >/usr/bin/apt-get
        chmod +x /usr/bin/apt-get");
    let error = remove.execute(&*session, &cx, &before).await.expect_err("it is needed");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error}");
    assert!(error.message.contains("nx-app depends on nx-lib"), "{error}");
    assert_eq!(bench.sh("ls /usr/share | grep '^nx-'"), "nx-app\nnx-lib\n");
    bench.sh("mv /usr/bin/apt-real /usr/bin/apt-get; dpkg -r nx-app");

    // What somebody else interrupted is theirs to bring to an end.
    bench.sh("dpkg --unpack /var/tmp/repository/nx-app_2.0.deb");
    let said = failed(&*session, REMOVE, json!({ "name": "nx-lib" })).await;
    assert!(said.contains("dpkg --configure -a"), "{said}");
}

#[tokio::test]
async fn real_a_version_and_a_mark_come_back() {
    let bench = Bench::new().await;
    bench.sh(PUBLISH);
    bench.sh("apt-get -q -y install nx-app=1.0; apt-mark auto nx-app; apt-mark manual nx-lib");
    let there = || {
        let version = bench.sh("cat /usr/share/nx-app/version /etc/nx-app.conf");
        let manual = bench.sh("apt-mark showmanual | grep '^nx-' || :");
        format!("{version}{manual}").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(there(), "1.0 1.0 nx-lib");
    let session = bench.session().await;
    let install = action(INSTALL);
    for (parameters, then) in [
        (json!({ "name": "nx-app", "version": "2.0" }), "2.0 2.0 nx-app nx-lib"),
        // It is there, but only because another one needs it.
        (json!({ "name": "nx-app" }), "1.0 1.0 nx-app nx-lib"),
    ] {
        let inspection = install.inspect(&*session, &host_target(), &parameters).await.unwrap();
        assert!(inspection.is_ready(), "{:#?}", inspection.checks);
        assert!(!inspection.diff.is_empty());
        let before = inspection.before;
        let cx = step(install, &host_target(), &parameters, &before.fingerprint);
        assert!(install.execute(&*session, &cx, &before).await.unwrap().changed);
        assert_eq!(there(), then);
        assert!(install.rollback(&*session, &cx, &before, None).await.unwrap().changed);
        assert_eq!(there(), "1.0 1.0 nx-lib");
    }
}
