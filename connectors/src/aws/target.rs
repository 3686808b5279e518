//! Asset types, and the external keys of assets.

use nexplane_core::plan::TargetRef;

use crate::sdk::ConnectorError;

/// Asset type of IAM users; external key `user/<name>`.
pub const USER: &str = "aws_iam_user";
/// Asset type of their access keys; external key `access_key/<user>/<id>`.
pub const ACCESS_KEY: &str = "aws_access_key";
/// Asset type of IAM roles; external key `role/<name>`.
pub const ROLE: &str = "aws_iam_role";
/// Asset type of EC2 instances; external key `instance/<id>`.
pub const INSTANCE: &str = "aws_ec2_instance";
/// Asset type of EBS volumes; external key `volume/<id>`.
pub const VOLUME: &str = "aws_volume";
/// Asset type of security groups; external key `security_group/<id>`.
pub const SECURITY_GROUP: &str = "aws_security_group";
/// Asset type of S3 buckets; external key `bucket/<name>`.
pub const BUCKET: &str = "aws_s3_bucket";

/// What the target is called at AWS: the part of its external key after `prefix`.
pub fn name_of(target: &TargetRef, prefix: &str) -> Result<String, ConnectorError> {
    let name = target.external_key.strip_prefix(prefix).unwrap_or_default();
    // What IAM, EC2 and S3 allow in names: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>.
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(is_fine) {
        let message = format!("the external key must be {prefix}<name or id>");
        return Err(ConnectorError::invalid(message));
    }
    Ok(name.to_owned())
}

/// User and id of an access key.
pub fn access_key_of(target: &TargetRef) -> Result<(String, String), ConnectorError> {
    let rest = target.external_key.strip_prefix("access_key/").unwrap_or_default();
    let wrong = || ConnectorError::invalid("the external key must be access_key/<user>/<id>");
    let (user, id) = rest.split_once('/').ok_or_else(wrong)?;
    let is_id = (16..=128).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric());
    let user = TargetRef { external_key: format!("user/{user}"), ..target.clone() };
    let user = name_of(&user, "user/").map_err(|_| wrong())?;
    if is_id { Ok((user, id.to_owned())) } else { Err(wrong()) }
}
