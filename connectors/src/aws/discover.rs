//! What is in an account: users, keys and roles; instances, volumes, security groups and buckets of one region.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::error::Failure;
use super::list::gather;
use super::target::{ACCESS_KEY, BUCKET, INSTANCE, ROLE, SECURITY_GROUP, USER, VOLUME};
use super::{Session, user};
use crate::sdk::{ConnectorError, DiscoveredAsset, Discovery, Relation};

/// What discovery asks for.
pub const PERMISSIONS: [&str; 7] = [
    "iam:ListUsers",
    "iam:ListAccessKeys",
    "iam:ListRoles",
    "ec2:DescribeInstances",
    "ec2:DescribeVolumes",
    "ec2:DescribeSecurityGroups",
    "s3:ListAllMyBuckets",
];

/// Users whose keys are read at a time.
const AT_A_TIME: usize = 8;

pub async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
    let (users, roles, buckets, instances, volumes, groups) = futures_util::try_join!(
        users(session),
        roles(session),
        buckets(session),
        instances(session),
        volumes(session),
        security_groups(session),
    )?;
    let assets = [users, roles, buckets, instances, volumes, groups].concat();
    Ok(Discovery { assets })
}

fn asset(kind: &str, external_key: String, name: &str, metadata: Value) -> DiscoveredAsset {
    DiscoveredAsset {
        kind: kind.to_owned(),
        external_key,
        name: name.to_owned(),
        metadata,
        relations: Vec::new(),
    }
}

fn relation(kind: &str, to_kind: &str, to_external_key: String) -> Relation {
    Relation { kind: kind.to_owned(), to_kind: to_kind.to_owned(), to_external_key }
}

async fn users(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let found = gather!("iam:ListUsers", session.iam.list_users().into_paginator());
    let with_keys = |found: aws_sdk_iam::types::User| async move {
        let name = found.user_name;
        let key = format!("user/{name}");
        let metadata = json!({
            "arn": found.arn,
            "created_unix_s": found.create_date.secs(),
            "password_last_used_unix_s": found.password_last_used.map(|date| date.secs()),
        });
        let mut assets = vec![asset(USER, key.clone(), &name, metadata)];
        // A user that was deleted in between has no keys.
        for (id, status) in user::keys(session, &name).await?.unwrap_or_default() {
            let metadata = json!({ "user": name, "status": status });
            let mut found = asset(ACCESS_KEY, format!("access_key/{name}/{id}"), &id, metadata);
            found.relations.push(relation("belongs_to", USER, key.clone()));
            assets.push(found);
        }
        Ok::<_, ConnectorError>(assets)
    };
    let assets: Vec<_> = stream::iter(found.map_err(Failure::read)?)
        .map(with_keys)
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    Ok(assets.concat())
}

async fn roles(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let found = gather!("iam:ListRoles", session.iam.list_roles().into_paginator());
    let role = |role: aws_sdk_iam::types::Role| {
        let metadata = json!({
            "arn": role.arn,
            "created_unix_s": role.create_date.secs(),
            "max_session_s": role.max_session_duration,
        });
        asset(ROLE, format!("role/{}", role.role_name), &role.role_name, metadata)
    };
    Ok(found.map_err(Failure::read)?.into_iter().map(role).collect())
}

/// Buckets of the connection's region: those of others answer their own region only.
async fn buckets(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let request = session.s3.list_buckets().bucket_region(&session.region).max_buckets(1000);
    let found = gather!("s3:ListAllMyBuckets", request.into_paginator());
    let here = |bucket: &aws_sdk_s3::types::Bucket| {
        bucket.bucket_region.as_ref().is_none_or(|region| *region == session.region)
    };
    let bucket = |bucket: aws_sdk_s3::types::Bucket| {
        let name = bucket.name?;
        let metadata = json!({
            "region": session.region,
            "created_unix_s": bucket.creation_date.map(|date| date.secs()),
        });
        Some(asset(BUCKET, format!("bucket/{name}"), &name, metadata))
    };
    let found = found.map_err(Failure::read)?;
    Ok(found.into_iter().filter(here).filter_map(bucket).collect())
}

async fn instances(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let found = session.ec2.instances().await.map_err(Failure::read)?;
    // EC2 shows a terminated instance for an hour. It is gone.
    let alive = found.into_iter().filter(|instance| instance.state != "terminated");
    let instance = |instance: super::ec2::Instance| {
        let metadata = json!({
            "region": session.region,
            "state": instance.state,
            "instance_type": instance.instance_type,
            "image": instance.image,
            "vpc": instance.vpc,
            "private_address": instance.private_address,
            "public_address": instance.public_address,
        });
        let name = instance.name.as_deref().unwrap_or(&instance.id);
        let mut found = asset(INSTANCE, format!("instance/{}", instance.id), name, metadata);
        let groups = instance.security_groups.iter();
        found.relations.extend(
            groups.map(|group| relation("uses", SECURITY_GROUP, format!("security_group/{group}"))),
        );
        found
    };
    Ok(alive.map(instance).collect())
}

async fn volumes(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let found = session.ec2.volumes().await.map_err(Failure::read)?;
    let volume = |volume: super::ec2::Volume| {
        let metadata = json!({
            "region": session.region,
            "state": volume.state,
            "size_gib": volume.size_gib,
            "volume_type": volume.volume_type,
            "encrypted": volume.encrypted,
        });
        let name = volume.name.as_deref().unwrap_or(&volume.id);
        let mut found = asset(VOLUME, format!("volume/{}", volume.id), name, metadata);
        let instances = volume.instances.iter();
        found.relations.extend(
            instances.map(|id| relation("attached_to", INSTANCE, format!("instance/{id}"))),
        );
        found
    };
    Ok(found.into_iter().map(volume).collect())
}

async fn security_groups(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let found = session.ec2.security_groups().await.map_err(Failure::read)?;
    let group = |group: super::ec2::SecurityGroup| {
        let metadata = json!({
            "region": session.region,
            "vpc": group.vpc,
            "description": group.description,
            "rules": group.rules,
        });
        asset(SECURITY_GROUP, format!("security_group/{}", group.id), &group.name, metadata)
    };
    Ok(found.into_iter().map(group).collect())
}
