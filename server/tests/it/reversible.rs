//! Every action that can be undone, there and back: the target is read before, changed, and rolled
//! back, and is then what it was, byte for byte.
//!
//! Which actions there are says the catalog: a new one that is reversible and has no row here fails, unless
//! it is named as one that a part of a machine cannot show.
//! The rows of one action differ in what was there before.

mod database;
mod files;
mod machine;
mod reader;
mod redis;
mod safe;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Client, Server, id, text};
use reader::{Snapshot, difference};

/// An action, and what is there before it.
type Row = (&'static str, &'static str);

/// What needs a whole machine goes there and back in the agent's tests on a real one (`agent: real::conformance`,
/// which has a row for every operation).
/// An agent that is updated does in the tests of `real_host`.
const ON_A_WHOLE_MACHINE: [&str; 5] = [
    "host.disable_service",
    "host.enable_service",
    "host.install_package",
    "host.remove_package",
    "host.update_agent",
];

/// What changes a directory goes there and back in the connector's tests (`connectors: ldap`, each with every
/// directory that has it), and over the API in `journey_ldap`.
const IN_A_DIRECTORY: [&str; 6] = [
    "ldap.add_group_member",
    "ldap.expire_password",
    "ldap.lock_user",
    "ldap.remove_group_member",
    "ldap.reset_password",
    "ldap.unlock_user",
];

/// What needs a host that one signs in to goes there and back in the connector's own tests (`connectors: ssh`,
/// which have a case for every action), and one of them in `journey_ssh`.
const ON_A_HOST_OF_ITS_OWN: [&str; 10] = [
    "ssh.apply_hardening_profile",
    "ssh.disable_service",
    "ssh.enable_service",
    "ssh.install_package",
    "ssh.lock_local_user",
    "ssh.remove_package",
    "ssh.rotate_local_password",
    "ssh.set_file_ownership",
    "ssh.set_file_permission",
    "ssh.unlock_local_user",
];

/// What needs a cloud goes there and back in the connector's tests, against stand-ins (`connectors: aws`), and two of
/// them over the API in `journey_aws`.
const IN_A_CLOUD: [&str; 9] = [
    "aws.block_public_access",
    "aws.lock_iam_user",
    "aws.modify_security_group_rule",
    "aws.rotate_iam_key",
    "aws.snapshot_instance",
    "aws.start_instance",
    "aws.stop_instance",
    "aws.unlock_iam_user",
    "aws.update_bucket_policy",
];

/// Whoever asks, and as many approvers as any risk needs.
struct Stage {
    server: Server,
    operator: Client,
    approvers: [Client; 2],
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let stage = Self { server, operator, approvers };
        stage.every_reversible_action_has_a_row().await;
        stage
    }

    async fn every_reversible_action_has_a_row(&self) {
        let catalog = self.operator.get("/catalog").await.is(200);
        let connectors = catalog["connectors"].as_array().unwrap();
        let promised: BTreeSet<String> = connectors
            .iter()
            .flat_map(|connector| connector["actions"].as_array().unwrap())
            .filter(|action| action["reversibility"]["kind"] == "reversible")
            .map(id)
            .collect();
        let tried: BTreeSet<String> = database::ROWS
            .iter()
            .chain(&files::ROWS)
            .chain(&machine::ROWS)
            .chain(&redis::ROWS)
            .chain(&safe::ROWS)
            .map(|(action, _)| *action)
            .chain(ON_A_WHOLE_MACHINE)
            .chain(IN_A_DIRECTORY)
            .chain(ON_A_HOST_OF_ITS_OWN)
            .chain(IN_A_CLOUD)
            .map(str::to_owned)
            .collect();
        assert_eq!(tried, promised, "rows on the left, the catalog on the right");
    }

    async fn approve(&self, submitted: &Value) {
        let mut now = submitted.clone();
        for approver in &self.approvers {
            if now["state"] == "submitted" {
                let digest = &submitted["plan"]["digest"];
                now = approver.approve(&id(submitted), digest).await.is(200);
            }
        }
        assert_eq!(now["state"], "approved", "{now:#}");
    }

    /// Does what is asked for, looks, undoes it, and looks again. `own` is in the name of whatever
    /// the change may move; `intended` looks at the target as it is in between.
    async fn there_and_back(
        &self,
        (action, before): Row,
        request: Value,
        read: impl AsyncFn() -> Snapshot,
        own: &str,
        intended: impl FnOnce(&Snapshot),
    ) {
        let row = format!("{action}, {before}");
        let first = read().await;
        let submitted = self.operator.submitted(request).await;
        assert_eq!(submitted["plan"]["reversible"], true, "{row}: {submitted:#}");
        self.approve(&submitted).await;
        let unmoved = difference(&first, &read().await);
        assert!(unmoved.is_empty(), "{row}: moved before it was executed: {unmoved:#?}");

        let change = id(&submitted);
        let done = self.operator.executed(&change).await;
        assert_eq!(done["state"], "complete", "{row}: {done:#}");
        let second = read().await;
        let moved = difference(&first, &second);
        assert!(!moved.is_empty(), "{row}: complete, and the target is as before");
        for (name, values) in &moved {
            let is_own = name.contains(own) || values.iter().any(|value| value.contains(own));
            assert!(is_own, "{row}: also moved {name}: {values:#?}");
        }
        intended(&second);

        let rollback = self.operator.act(&change, "rollback").await.is(201);
        self.approve(&rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{row}: {settled:#}");
        let undone = self.operator.undone(&change).await;
        assert_eq!(text(&undone["state"]), "rolled_back", "{row}: {undone:#}");
        let left = difference(&first, &read().await);
        assert!(left.is_empty(), "{row}: not as it was: {left:#?}");
        eprintln!("{row}: {} readings, {} moved and came back", first.len(), moved.len());
    }
}

#[test]
fn ten_actions_there_are_and_no_two_rows_alike() {
    let rows = || {
        database::ROWS
            .into_iter()
            .chain(files::ROWS)
            .chain(machine::ROWS)
            .chain(redis::ROWS)
            .chain(safe::ROWS)
    };
    assert_eq!(rows().collect::<BTreeSet<Row>>().len(), rows().count());
    assert!(rows().map(|(action, _)| action).collect::<BTreeSet<_>>().len() >= 10);
}
