//! Connector `aws`, against two stand-ins: IAM and S3 against ministack, which knows policies of resources and
//! IAM's simulator, EC2 against moto, which knows dry runs and snapshots of instances.

mod account;
mod bench;
mod between;
mod ec2;
mod identity;
mod late;
mod machine;
mod paging;
mod policy;
mod referee;
mod rotation;
mod rules;
mod secrecy;

#[test]
fn every_registered_action_has_a_case() {
    let mut tried = [&identity::ACTIONS[..], &machine::ACTIONS[..]].concat();
    tried.sort_unstable();
    crate::suite::covers::<identity::Identity>(&tried);
}
