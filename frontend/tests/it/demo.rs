//! What the demo promises, seen by the tests that have one anyway: starting one takes longer than all of this.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::browser::Browser;
use crate::browser_host::api;
use crate::browser_page::signed_in;
use crate::sandbox::{Sandbox, is_over};

/// How long a process may take to end after the one that started it.
const ORPHANED: Duration = Duration::from_secs(30);

async fn items(browser: &Browser, path: &str) -> Vec<Value> {
    api(browser, "GET", path, &Value::Null).await["items"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Connections that work, what was discovered through them, and changes in the states that their titles tell of.
pub async fn has_what_it_promises(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    let connections: BTreeMap<_, _> = items(&ada, "/connections")
        .await
        .into_iter()
        .map(|connection| (text(&connection["name"]), connection))
        .collect();
    for (name, every_s) in [("shop-db", None), ("ldap-corp", Some(900)), ("cache", Some(900))] {
        let connection = &connections[name];
        assert_eq!(connection["status"], "ok", "{connection:#}");
        let checks = connection["checks"].as_array().unwrap();
        assert!(
            !checks.is_empty() && checks.iter().all(|check| check["ok"] == true),
            "{checks:#?}"
        );
        assert!(connection["discovered_at"].is_string(), "{connection:#}");
        assert!(connection["discovery_error"].is_null(), "{connection:#}");
        assert_eq!(connection["discover_every_s"].as_u64(), every_s, "{name}");
    }

    let named = async |kind: &str| -> BTreeSet<String> {
        let found = items(&ada, &format!("/assets?type={kind}&limit=200")).await;
        found.iter().map(|asset| text(&asset["name"])).collect()
    };
    let users = named("ldap_user").await;
    for user in ["afischer", "jberg", "svc", "wiki"] {
        assert!(users.contains(user), "{users:?}");
    }
    assert!(!users.contains("weak"), "it is for the connector's own tests: {users:?}");
    let groups = ["engineering", "finance", "oncall", "staff", "support", "vpn"];
    assert_eq!(named("ldap_group").await, groups.map(str::to_owned).into());
    assert_eq!(
        named("ldap_ou").await,
        ["groups", "people", "policies", "services"].map(str::to_owned).into()
    );
    let users = ["admin", "app", "default", "nexplane", "reporting", "worker"];
    assert_eq!(named("redis_user").await, users.map(str::to_owned).into());

    // What the changes did is known already.
    let locked = items(&ada, "/assets?type=ldap_user&q=jberg").await;
    assert_eq!(locked[0]["metadata"]["locked"], true, "{locked:#?}");
    let states: BTreeMap<_, _> = items(&ada, "/change-requests?limit=200")
        .await
        .into_iter()
        .map(|change| (text(&change["title"]), text(&change["state"])))
        .collect();
    for (title, state) in [
        ("Take Keiko Tanaka off the on-call group during her leave", "rolled_back"),
        ("Lock Jonas Berg: he left the company on Friday", "complete"),
        ("Let Luis Mendes reach the internal network from home", "submitted"),
        ("Have Maya Wright choose a new password", "draft"),
        ("Rotate the password that the shop logs in to its cache with", "complete"),
        ("End the sessions of the old sign-in page", "submitted"),
    ] {
        assert_eq!(states.get(title).map(String::as_str), Some(state), "{title}: {states:#?}");
    }
    ada.end().await;
}

/// Where neither is installed, it says so with the command that helps, and goes on.
pub async fn says_what_is_not_installed(server: &Sandbox, browser: &Browser) {
    let said = server.said();
    // Which of the directory's programs is missed first depends on what else there is.
    for (begin, end) in [
        ("The sandbox goes without an LDAP directory: ", "run apt-get install slapd ldap-utils."),
        ("The sandbox goes without a Redis: ", "run apt-get install redis-server."),
    ] {
        let is_it = |found: &str| found.starts_with(begin) && found.ends_with(end);
        assert!(said.lines().any(is_it), "{begin}… {end} in:\n{said}");
    }
    let kinds: BTreeSet<_> =
        items(browser, "/connections").await.iter().map(|found| text(&found["type"])).collect();
    assert_eq!(kinds, ["host", "postgres"].map(str::to_owned).into());
    let names: Vec<_> = server.programs().into_iter().map(|(_, name)| name).collect();
    assert!(!names.iter().any(|name| is_to_practise_on(name)), "{names:?}");
}

fn is_to_practise_on(name: &str) -> bool {
    ["slapd", "redis-server"].contains(&name)
}

/// SIGTERM, as Ctrl-C: nothing is left.
pub async fn ends_with_everything_it_started(server: &mut Sandbox) {
    let programs = server.programs();
    for name in ["nexplane-agent", "postgres", "redis-server", "slapd"] {
        assert!(programs.iter().any(|(_, found)| found == name), "{name}: {programs:?}");
    }
    assert!(server.end(Signal::TERM).await, "{}", server.said());
    let left: Vec<_> = programs.iter().filter(|(pid, _)| !is_over(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// SIGKILL: the directory and the Redis end all the same, for the kernel ends them.
pub async fn is_killed(server: &mut Sandbox) {
    let programs = server.programs();
    let (bound, others): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|(_, name)| is_to_practise_on(name));
    assert_eq!(bound.len(), 2, "{bound:?}");
    assert!(!server.end(Signal::KILL).await);
    over(&bound).await;
    // The databases wait for a next start, the agent for its server. Both would wait for ever.
    for (pid, name) in &others {
        // The fast way to end PostgreSQL, which does not wait for its sessions.
        let signal = if name == "postgres" { Signal::INT } else { Signal::TERM };
        let _ = kill_process(*pid, signal);
    }
    over(&others).await;
}

async fn over(programs: &[(Pid, String)]) {
    let end = Instant::now() + ORPHANED;
    while let Some(left) = programs.iter().find(|(pid, _)| !is_over(*pid)) {
        assert!(Instant::now() < end, "{left:?} goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
