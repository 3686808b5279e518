//! What the dashboard asks for, when somebody opens one of its pages: the first rows of every list.

use super::{ADMIN, APPROVER, Made, OPERATOR};

/// One question.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The page, in words.
    pub what: String,
    /// Who asks.
    pub who: &'static str,
    /// Below `/api/v1`.
    pub path: String,
}

/// The states that a change can be in.
const STATES: [&str; 15] = [
    "draft",
    "submitted",
    "approved",
    "scheduled",
    "executing",
    "complete",
    "failed",
    "outcome_unknown",
    "rolling_back",
    "rolled_back",
    "rollback_partial",
    "rollback_blocked",
    "rejected",
    "cancelled",
    "expired",
];

/// All of them.
pub fn lists(made: &Made) -> Vec<Asked> {
    let mut all = Vec::new();
    let mut add = |who, what: String, path: String| all.push(Asked { what, who, path });
    let (asset, hub) = (made.asset.unwrap(), made.hub.unwrap());
    let (change, submitted) = (made.change.unwrap(), made.submitted.unwrap());
    let (host, project) = (made.host.unwrap(), made.project.unwrap());
    let me = made.operator.unwrap();

    for (who, name) in [(ADMIN, "an admin"), (OPERATOR, "an operator"), (APPROVER, "an approver")] {
        add(who, format!("home of {name}"), "/home".to_owned());
    }
    add(ADMIN, "operations".to_owned(), "/operations".to_owned());
    let mut changes = |what: &str, query: &str| {
        add(OPERATOR, format!("changes: {what}"), format!("/change-requests?limit=50{query}"));
    };
    changes("all", "");
    for state in STATES {
        changes(state, &format!("&state={state}"));
    }
    changes("waiting for people", "&state=submitted,approved,scheduled,outcome_unknown");
    changes("mine", &format!("&requester={me}"));
    changes("mine, expired", &format!("&requester={me}&state=expired"));
    changes("a word in many", "&q=quarter");
    changes("a word in few", "&q=OPS-39999");
    changes("a part of a word, in few", "&q=ps-3999");
    changes("a word in none", "&q=zebra");
    changes("two letters", "&q=zz");
    changes("a word, in a state", "&q=quarter&state=rejected");
    changes("of a type", "&change_type=host.restart_service");
    changes("of a connection", &format!("&connection={host}"));
    changes("of a target", &format!("&target={hub}"));

    add(OPERATOR, "change: ended".to_owned(), format!("/change-requests/{change}"));
    add(APPROVER, "change: in review".to_owned(), format!("/change-requests/{submitted}"));
    add(
        OPERATOR,
        "change: its events".to_owned(),
        format!("/change-requests/{change}/events?limit=200"),
    );
    add(APPROVER, "inbox".to_owned(), "/approvals/inbox".to_owned());
    add(OPERATOR, "risk: summary".to_owned(), "/risk/summary".to_owned());
    add(OPERATOR, "risk: calibration".to_owned(), "/risk/calibration".to_owned());

    let mut assets = |what: &str, query: &str| {
        add(OPERATOR, format!("assets: {what}"), format!("/assets?limit=50{query}"));
    };
    assets("all", "");
    assets("of a frequent type", "&type=host_file");
    assets("of a rare type", "&type=host");
    assets("of no such type", "&type=nothing");
    assets("of a connection", &format!("&connection={host}"));
    for environment in ["prod", "staging", "dev"] {
        assets(environment, &format!("&environment={environment}"));
    }
    assets("of a tag", "&tag=payments");
    assets("of no such tag", "&tag=mainframe");
    assets("present", "&status=present");
    assets("gone", "&status=gone");
    assets("a word in many", "&q=billing");
    assets("a word in few", "&q=billing-00007");
    assets("a word in none", "&q=zebra");
    assets("two letters", "&q=zz");
    assets("a whole key", "&q=billing-00007.iad.example.org%2Fhost");
    assets("two words", "&q=billing%20team-ledger");
    assets("a word, of a tag, gone", "&q=ledger&tag=pci&status=gone");

    add(OPERATOR, "asset".to_owned(), format!("/assets/{asset}"));
    add(OPERATOR, "asset: much depends on it".to_owned(), format!("/assets/{hub}"));
    add(OPERATOR, "blast radius".to_owned(), format!("/assets/{asset}/blast-radius"));
    add(
        OPERATOR,
        "blast radius: much depends on it".to_owned(),
        format!("/assets/{hub}/blast-radius"),
    );
    add(OPERATOR, "asset: history".to_owned(), format!("/assets/{hub}/history"));

    let mut hosts = |what: &str, query: &str| {
        add(OPERATOR, format!("hosts: {what}"), format!("/hosts?limit=50{query}"));
    };
    hosts("all", "");
    for status in ["online", "offline", "locked", "revoked"] {
        hosts(status, &format!("&status={status}"));
    }
    hosts("a word in many", "&q=billing");
    hosts("a word in one", "&q=00007");
    hosts("a word in none", "&q=zebra");
    add(OPERATOR, "hosts: summary".to_owned(), "/hosts/summary".to_owned());
    add(OPERATOR, "hosts: summary of a word".to_owned(), "/hosts/summary?q=billing".to_owned());
    add(OPERATOR, "host".to_owned(), format!("/hosts/{host}"));
    add(OPERATOR, "host: history".to_owned(), format!("/hosts/{host}/history?limit=20"));
    add(OPERATOR, "host: orders".to_owned(), format!("/hosts/{host}/orders"));

    let mut audit = |what: &str, query: &str| {
        add(ADMIN, format!("audit: {what}"), format!("/audit?limit=50{query}"));
    };
    audit("all", "");
    audit("of a person", &format!("&actor={me}"));
    audit("of Nexplane itself", "&actor=system");
    audit("of a frequent type", "&type=run.step_verified");
    audit("of a rare type", "&type=host.locked");
    audit("of a category", "&type=asset");
    audit("of a change", &format!("&change_request_id={change}"));
    audit("of an asset", &format!("&resource={hub}"));
    audit("a word in many", "&q=quarter");
    audit("a word in few", "&q=billing-00007");
    audit("a word in none", "&q=zebra");
    audit("of a person, a word", &format!("&actor={me}&q=quarter"));

    for (what, path) in [
        ("calendar: freezes", "/freeze-windows?limit=200"),
        ("calendar: windows", "/maintenance-windows?limit=200"),
        ("calendar: recurring changes", "/schedules?limit=200"),
        ("projects", "/projects"),
        ("projects: open", "/projects?state=open"),
        ("connections", "/connections?limit=200"),
        ("policies", "/policies"),
        ("projections", "/projections"),
        ("catalog", "/catalog"),
        ("tokens: mine", "/tokens"),
        ("me", "/auth/me"),
    ] {
        add(OPERATOR, what.to_owned(), path.to_owned());
    }
    add(OPERATOR, "project".to_owned(), format!("/projects/{project}"));
    add(OPERATOR, "connection".to_owned(), format!("/connections/{host}"));
    add(
        OPERATOR,
        "connection: history".to_owned(),
        format!("/connections/{host}/history?limit=20"),
    );
    add(ADMIN, "people".to_owned(), "/users".to_owned());
    add(ADMIN, "tokens: all".to_owned(), "/tokens".to_owned());
    all
}
