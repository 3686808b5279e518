//! Connector `aws`: who may do what in an AWS account, and the instances and buckets of one region.
//!
//! It works with access keys and roles of IAM users, and with nothing else: the environment, files of
//! the account that the server runs under, and the metadata of a machine are never asked. AWS has no conditional
//! writes for what is changed here: each effect reads the target right before, compares it with what was
//! approved, and changes nothing when they differ; what happens between these two calls is not
//! seen. The user and the key of the connection itself are never targets, and neither is the root user.
//!
//! Deliberately absent: the contents of volumes and buckets, networks, everything that makes or
//! terminates machines, IAM policies other than our lock, AWS's isolated partitions, and buckets of other regions.

mod block_public_access;
mod bucket;
mod credentials;
mod delete_iam_key;
mod discover;
mod ec2;
mod error;
mod handover;
mod list;
mod lock;
mod lock_iam_user;
mod modify_security_group_rule;
mod permission;
mod power;
mod rotate_iam_key;
mod session;
mod snapshot_instance;
mod start_instance;
mod stop_instance;
mod target;
mod test;
mod transport;
mod unlock_iam_user;
mod update_bucket_policy;
mod user;

use std::time::Duration;

use nexplane_core::plan::Check;

pub use credentials::Credentials;
pub use session::Session;
pub use test::needs;

use crate::sdk::{
    Actions, Connector, ConnectorError, ConnectorMeta, Discovery, OpenContext, SecretText,
};

/// The connector.
#[derive(Debug)]
pub struct Aws;

impl Connector for Aws {
    const META: ConnectorMeta = ConnectorMeta {
        id: "aws",
        title: "Amazon Web Services",
        description: "IAM users and their access keys of an AWS account, and EC2 instances, security groups and \
                      S3 buckets of one region.",
        managed: true,
        asset_types: &[
            target::VOLUME,
            target::INSTANCE,
            target::SECURITY_GROUP,
            target::ACCESS_KEY,
            target::ROLE,
            target::USER,
            target::BUCKET,
        ],
    };
    const LEAST_PRIVILEGE: &'static str = include_str!("least_privilege.json");
    /// AWS names no time, only seconds as the rule and backoff as the way: its copies of IAM and EC2 learn of
    /// a change one after the other.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>,
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
    const SETTLES_WITHIN: Duration = Duration::from_secs(20);
    type Credentials = Credentials;
    type Session = Session;

    async fn connect(
        credentials: Credentials,
        cx: &OpenContext,
    ) -> Result<Session, ConnectorError> {
        Session::open(credentials, cx).await
    }

    fn secrets(session: &Session) -> Vec<SecretText> {
        session.born.clone()
    }

    async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
        test::test(session).await
    }

    async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
        Box::pin(discover::discover(session)).await
    }

    fn actions() -> Actions<Self> {
        Actions::new()
            .reversible::<block_public_access::BlockPublicAccess>()
            .one_way::<delete_iam_key::DeleteIamKey>(delete_iam_key::ONE_WAY)
            .reversible::<lock_iam_user::LockIamUser>()
            .reversible::<modify_security_group_rule::ModifySecurityGroupRule>()
            .reversible::<rotate_iam_key::RotateIamKey>()
            .reversible::<snapshot_instance::SnapshotInstance>()
            .reversible::<start_instance::StartInstance>()
            .reversible::<stop_instance::StopInstance>()
            .reversible::<unlock_iam_user::UnlockIamUser>()
            .reversible::<update_bucket_policy::UpdateBucketPolicy>()
    }
}
