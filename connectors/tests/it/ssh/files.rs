//! Which files are not touched, whoever asks.

use serde_json::{Value, json};

use super::bench::{Bench, WEAK, host_target};
use crate::fixture::{action, context, open, step};

const MODE: &str = "ssh.set_file_permission";
const OWNER: &str = "ssh.set_file_ownership";

#[tokio::test]
async fn real_what_somebody_could_swap_or_would_lose_something_is_refused() {
    let bench = Bench::new().await;
    bench.sh(&format!(
        "mkdir -p /etc/nx /srv/theirs /srv/open; cd /etc/nx
         echo a >file; ln -s file link; ln file hard; echo b >single; mkdir directory; mkfifo pipe
         ln -s /etc/nx /srv/way
         echo c >/srv/theirs/file; chown {WEAK} /srv/theirs
         echo d >/srv/open/file; chmod 1777 /srv/open
         cp /bin/true set-id; chmod 4755 set-id; cp /bin/true capable; setcap cap_net_raw+ep capable
         cp /bin/true program"
    ));
    let session = bench.session().await;
    let failed = async |id: &str, parameters: Value| {
        let inspection = action(id).inspect(&*session, &host_target(), &parameters).await.unwrap();
        let failed = inspection.checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| check.detail).collect::<Vec<_>>().join("\n")
    };
    for (path, why) in [
        ("/etc/nx/link", "symbolic link"),
        ("/srv/way/single", "/srv/way is a symbolic link"),
        ("/etc/nx/hard", "2 names"),
        ("/etc/nx/directory", "not a regular file"),
        ("/etc/nx/pipe", "not a regular file"),
        ("/etc/nx/absent", "does not exist"),
        ("/srv/theirs/file", "/srv/theirs belongs to somebody"),
        ("/srv/open/file", "/srv/open may be written to by others"),
        ("/etc/sudoers", "who becomes root"),
        ("/home/deploy/.ssh/authorized_keys", "who may sign in"),
        ("/proc/sys/kernel/hostname", "the kernel's"),
    ] {
        let said = failed(MODE, json!({ "path": path, "mode": "0600" })).await;
        assert!(said.contains(why), "{path}: {said}");
        let said = failed(OWNER, json!({ "path": path, "owner": "daemon" })).await;
        assert!(said.contains(why), "{path}: {said}");
    }
    for (name, why) in [("set-id", "set-user-ID"), ("capable", "has capabilities")] {
        let path = format!("/etc/nx/{name}");
        let said = failed(OWNER, json!({ "path": path, "owner": "daemon" })).await;
        assert!(said.contains(why), "{path}: {said}");
    }
    for (parameters, why) in [
        (json!({ "path": "/etc/nx/single" }), "give an owner, a group, or both"),
        (
            json!({ "path": "/etc/nx/single", "owner": "nobody-there" }),
            "no local account nobody-there",
        ),
        (
            json!({ "path": "/etc/nx/single", "group": "nobody-there" }),
            "no local group nobody-there",
        ),
    ] {
        let said = failed(OWNER, parameters).await;
        assert!(said.contains(why), "{said}");
    }
    for name in ["single", "program"] {
        let path = format!("/etc/nx/{name}");
        assert_eq!(failed(OWNER, json!({ "path": path, "owner": "daemon" })).await, "");
        assert_eq!(failed(MODE, json!({ "path": path, "mode": "0600" })).await, "");
    }

    // And not only by the checks: a file that became a link in between is not followed.
    let (set, parameters) = (action(OWNER), json!({ "path": "/etc/nx/single", "owner": "daemon" }));
    let before = set.inspect(&*session, &host_target(), &parameters).await.unwrap().before;
    bench.sh("cd /etc/nx; mv single elsewhere; ln -s elsewhere single");
    let cx = step(set, &host_target(), &parameters, &before.fingerprint);
    set.execute(&*session, &cx, &before).await.expect_err("a link was followed");
    assert_eq!(bench.sh("stat -c %U /etc/nx/elsewhere").trim(), "root");
}

#[tokio::test]
async fn real_an_account_without_root_sets_the_mode_of_its_own_file() {
    let bench = Bench::new().await;
    bench
        .sh(&format!("cd /home/{WEAK}; chmod 755 .; echo a >own; chmod 644 own; chown {WEAK} own"));
    let session = open("ssh", bench.credentials(WEAK, false), &context()).await.unwrap();
    let parameters = json!({ "path": format!("/home/{WEAK}/own"), "mode": "0600" });
    let set = action(MODE);
    let inspection = set.inspect(&*session, &host_target(), &parameters).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(set, &host_target(), &parameters, &before.fingerprint);
    assert!(set.execute(&*session, &cx, &before).await.unwrap().changed);
    let mode = || bench.sh(&format!("stat -c %a /home/{WEAK}/own")).trim().to_owned();
    assert_eq!(mode(), "600");
    assert!(set.rollback(&*session, &cx, &before, None).await.unwrap().changed);
    assert_eq!(mode(), "644");
}
