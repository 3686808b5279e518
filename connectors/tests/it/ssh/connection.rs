//! Who the server is, who we are, and what is found and tested then.

use std::process::Command;

use nexplane_connectors::sdk::{Advice, ConnectorError, ErrorKind};
use serde_json::{Value, json};

use super::bench::{Bench, MANAGER, WEAK, host_target, key};
use super::disposable::printed;
use crate::fixture::{action, context, open, step};

async fn refused(credentials: Value) -> ConnectorError {
    let answer = open("ssh", credentials, &context()).await;
    let error = answer.err().expect("it must not connect");
    assert_eq!(error.advice, Advice::Never, "{error:?}");
    error
}

#[tokio::test]
async fn real_only_the_pinned_host_key_is_talked_to() {
    let bench = Bench::new().await;
    let good = bench.credentials("root", false);
    let print = |name: &str| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-l", "-f"]).arg(bench.keys().join(name));
        let text = printed("ssh-keygen", &command.output().unwrap());
        text.split(' ').nth(1).unwrap().to_owned()
    };
    let pinned = |pin: &str| {
        let mut credentials = good.clone();
        credentials["host_key"] = json!(pin);
        credentials
    };
    // By key, by fingerprint, and by the key of another kind that the server has, too.
    for pin in [bench.key("host_ed25519.pub"), print("host_ed25519.pub"), bench.key("host_rsa.pub")]
    {
        open("ssh", pinned(&pin), &context()).await.expect(&pin);
    }
    for pin in [bench.key("client.pub"), print("client.pub")] {
        let error = refused(pinned(&pin)).await;
        assert_eq!(error.kind, ErrorKind::Unauthorised, "{error:?}");
        for shown in [print("client.pub"), print("host_ed25519.pub")] {
            assert!(error.message.contains(&shown), "{shown}: {error}");
        }
    }
    let error = refused(pinned(&"x".repeat(60))).await;
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
}

#[tokio::test]
async fn real_a_certificate_and_a_passphrase_are_taken() {
    let bench = Bench::new().await;
    key(bench.keys(), "other", "ed25519");
    let sign = |principal: &str| {
        let mut command = Command::new("ssh-keygen");
        command.current_dir(bench.keys());
        command.args(["-q", "-s", "ca", "-I", "test", "-n", principal, "-V", "+1h", "other.pub"]);
        printed("ssh-keygen", &command.output().unwrap());
        bench.key("other-cert.pub")
    };
    let with = |certificate: Option<String>| {
        let mut credentials = bench.credentials("root", false);
        credentials["private_key"] = json!(bench.key("other"));
        credentials["certificate"] = json!(certificate);
        credentials
    };
    assert_eq!(refused(with(None)).await.kind, ErrorKind::Unauthorised);
    open("ssh", with(Some(sign("root"))), &context()).await.expect("the CA is trusted");
    let error = refused(with(Some(sign("somebody")))).await;
    assert_eq!(error.kind, ErrorKind::Unauthorised);
    assert!(error.message.contains("TrustedUserCAKeys"), "{error}");
    let mut mixed_up = with(Some(sign("root")));
    mixed_up["private_key"] = json!(bench.key("client"));
    assert_eq!(refused(mixed_up).await.kind, ErrorKind::Invalid);

    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"])
        .arg(bench.keys().join("client"));
    printed("ssh-keygen", &command.output().unwrap());
    let mut locked = bench.credentials("root", false);
    let error = refused(locked.clone()).await;
    assert!(error.message.contains("passphrase"), "{error}");
    locked["passphrase"] = json!("open sesame");
    open("ssh", locked.clone(), &context()).await.expect("the passphrase opens the key");
    locked["passphrase"] = json!("open barley");
    assert_eq!(refused(locked.clone()).await.kind, ErrorKind::Unauthorised);
    locked["private_key"] = json!("hunter2hunter2");
    let error = refused(locked).await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn real_a_password_lets_in_where_the_server_takes_one() {
    let bench = Bench::new().await;
    let password = nexplane_peers::password();
    bench.sh(&format!("echo '{MANAGER}:{password}' | /usr/sbin/chpasswd"));
    let with = |changes: serde_json::Value| {
        let mut credentials = bench.credentials(MANAGER, true);
        credentials.as_object_mut().unwrap().remove("private_key");
        credentials.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        credentials
    };
    let right = json!({ "password": password });
    open("ssh", with(right.clone()), &context()).await.expect("it is the password");
    let error = refused(with(json!({ "password": "open-barley-31" }))).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never));
    assert!(!format!("{error:?}").contains("barley"), "{error:?}");
    // One way, not both and not none.
    assert_eq!(refused(with(json!({}))).await.kind, ErrorKind::Invalid);
    let mut both = bench.credentials(MANAGER, true);
    both["password"] = json!(password);
    assert_eq!(refused(both).await.kind, ErrorKind::Invalid);
    let mut pinned = with(right);
    pinned["host_key"] = json!(bench.key("client.pub"));
    assert_eq!(refused(pinned).await.kind, ErrorKind::Unauthorised, "the password is not sent");
}

#[tokio::test]
async fn real_a_missing_permission_is_named_and_an_rsa_key_is_taken() {
    let bench = Bench::new().await;
    // What the page says is enough, and each rule of it is needed.
    let open_as = async |name: &str, sudo: bool| {
        open("ssh", bench.credentials(name, sudo), &context()).await.expect("it logs in")
    };
    let checks = open_as(MANAGER, true).await.test().await;
    assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
    bench.sh("sed -i 's|, /usr/sbin/chpasswd[^,]*,|,|' /etc/sudoers.d/nexplane; visudo -c -q");
    let checks = open_as(MANAGER, true).await.test().await;
    let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{checks:#?}");
    assert!(failed[0].detail.contains("/usr/sbin/chpasswd"), "{failed:#?}");
    for sudo in [false, true] {
        let checks = open_as(WEAK, sudo).await.test().await;
        assert!(checks[0].ok && checks[1..].iter().all(|check| !check.ok), "{checks:#?}");
    }

    key(bench.keys(), "rsa", "rsa");
    let public = bench.key("rsa.pub");
    bench.sh(&format!("echo '{}' >>~root/.ssh/authorized_keys", public.trim()));
    let mut credentials = bench.credentials("root", false);
    credentials["private_key"] = json!(bench.key("rsa"));
    open("ssh", credentials, &context()).await.expect("RSA with SHA-2");

    // An account that cannot run commands is told so.
    bench.sh(&format!("usermod --shell /usr/sbin/nologin {WEAK}"));
    let error = refused(bench.credentials(WEAK, false)).await;
    assert_eq!(error.kind, ErrorKind::Forbidden, "{error:?}");
    assert!(error.message.contains("POSIX shell"), "{error}");
}

#[tokio::test]
async fn real_accounts_and_the_host_are_found() {
    let bench = Bench::new().await;
    let found = bench.session().await.discover().await.unwrap();
    let names: Vec<_> = found
        .assets
        .iter()
        .filter(|asset| asset.kind == "ssh_account")
        .map(|asset| asset.name.as_str())
        .collect();
    let mut expected: Vec<_> =
        bench.sh("cut -d: -f1 /etc/passwd").lines().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(names, expected);
    let host = found.assets.iter().find(|asset| asset.kind == "ssh_host").unwrap();
    assert_eq!((host.name.as_str(), host.external_key.as_str()), ("nexplane-sshd", "host"));
    assert_eq!(host.metadata["os"], "debian");
    assert_eq!(host.metadata["kernel"], bench.sh("uname -r").trim());
    // systemd does not run there.
    assert!(found.assets.iter().all(|asset| asset.kind != "ssh_service"));
}

#[tokio::test]
async fn real_what_sudo_would_ask_a_password_for_is_told() {
    let bench = Bench::new().await;
    let checks = async || {
        let session = open("ssh", bench.credentials(MANAGER, true), &context()).await.unwrap();
        session.test().await
    };
    // `sudo -l` names what needs a password as well: of the later rule here, and of the part of the earlier one.
    bench.sh(&format!(
        "echo '{MANAGER} ALL=(root) PASSWD: /usr/bin/chmod' >/etc/sudoers.d/zz; chmod 440 /etc/sudoers.d/zz; visudo -c -q"
    ));
    let found = checks().await;
    let failed: Vec<_> = found.iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{found:#?}");
    assert!(failed[0].name.contains("/usr/bin/chmod"), "{failed:#?}");
    assert!(failed[0].detail.starts_with("sudo would ask for a password"), "{failed:#?}");
    bench.sh(&format!(
        "echo '{MANAGER} ALL=(root) PASSWD: /usr/bin/chm*' >/etc/sudoers.d/zz; chmod 440 /etc/sudoers.d/zz; visudo -c -q"
    ));
    let found = checks().await;
    let told = found.iter().find(|check| check.name.contains("/usr/bin/chmod")).unwrap();
    assert!(told.ok && told.detail.contains("cannot be told"), "{told:#?}");
}

#[tokio::test]
async fn real_a_session_ends_with_a_command_that_does_not_end_in_time() {
    let bench = Bench::new().await;
    bench.sh("mkdir -p /etc/nx; echo a >/etc/nx/f; chmod 600 /etc/nx/f; mv /usr/bin/chmod /usr/bin/chmod.real
         printf '#!/bin/sh\nsleep 12\nexec /usr/bin/chmod.real \"$@\"\n' >/usr/bin/chmod
         /usr/bin/chmod.real 755 /usr/bin/chmod");
    let session = bench.session().await;
    let (set, parameters) =
        (action("ssh.set_file_permission"), json!({ "path": "/etc/nx/f", "mode": "0640" }));
    let target = host_target();
    let before = set.inspect(&*session, &target, &parameters).await.unwrap().before;
    let mut cx = step(set, &target, &parameters, &before.fingerprint);
    cx.deadline = std::time::Duration::from_secs(5);
    let error = set.execute(&*session, &cx, &before).await.expect_err("it takes longer");
    assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, Advice::OutcomeUnknown), "{error}");
    // It still runs, so nothing else is begun in that session: not even a look.
    let error = set.read(&*session, &target, &parameters, None).await.expect_err("it is over");
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error}");
    let error = set.execute(&*session, &cx, &before).await.expect_err("it is over");
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error}");
    // Another one finds out what became of it.
    let session = bench.session().await;
    let mut satisfied = false;
    for _ in 0..80 {
        let answer = set.verify(&*session, &target, &parameters, &before, None).await.unwrap();
        satisfied = answer.satisfied;
        if satisfied {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert!(satisfied, "the command was to go on on the host");
}

/// Nothing of this machine's disks and terminals can be reached from a host that a test made.
#[tokio::test]
async fn real_a_host_has_no_devices_but_those_that_hold_nothing() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.sh("ls /dev").split_whitespace().collect::<Vec<_>>(),
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"]
    );
}
