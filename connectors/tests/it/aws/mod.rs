//! Connector `aws`, against two stand-ins: IAM and S3 against both, EC2 against moto, which knows dry runs and
//! snapshots of instances. ministack ignores `DryRun`, which is why the connector does nothing to its machines.

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

mod identity_conforms {
    use super::identity::Identity;
    use crate::suite::severed;

    crate::suite::conform! {
        contract Identity:
        block_public_access => "aws.block_public_access",
        delete_iam_key => "aws.delete_iam_key",
        lock_iam_user => "aws.lock_iam_user",
        rotate_iam_key => "aws.rotate_iam_key",
        unlock_iam_user => "aws.unlock_iam_user",
        update_bucket_policy => "aws.update_bucket_policy",
    }

    async fn severed_of(id: &str) {
        let [unknown_done, unknown_not_done, definite] = severed::<Identity>(id).await;
        assert!(definite >= 2, "only {definite} definite answers");
        assert!(unknown_done >= 1, "no cut hit the answer of the effect");
        assert!(unknown_not_done >= 1, "no cut hit the effect itself");
    }

    #[tokio::test]
    async fn contract_crash_of_the_line_while_locking() {
        severed_of("aws.lock_iam_user").await;
    }

    #[tokio::test]
    async fn contract_crash_of_the_line_while_a_policy_is_replaced() {
        severed_of("aws.update_bucket_policy").await;
    }
}

mod identity_conforms_at_moto {
    use super::identity::IdentityOfMoto;

    crate::suite::conform! {
        contract IdentityOfMoto:
        block_public_access => "aws.block_public_access",
        delete_iam_key => "aws.delete_iam_key",
        lock_iam_user => "aws.lock_iam_user",
        rotate_iam_key => "aws.rotate_iam_key",
        unlock_iam_user => "aws.unlock_iam_user",
        update_bucket_policy => "aws.update_bucket_policy",
    }
}

mod machine_conforms {
    use super::machine::Machine;

    crate::suite::conform! {
        contract Machine:
        modify_security_group_rule => "aws.modify_security_group_rule",
        snapshot_instance => "aws.snapshot_instance",
        start_instance => "aws.start_instance",
        stop_instance => "aws.stop_instance",
    }
}
