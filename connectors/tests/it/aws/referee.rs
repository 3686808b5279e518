//! AWS's own Python client reads what the connector wrote.

use std::process::Command;

use nexplane_peers::aws::Aws;
use nexplane_peers::cached;
use serde_json::{Value, json};

use super::bench::{REGION, done};
use super::identity::{Identity, bucket_policy, bucket_target, user_target};
use super::machine::{Machine, group_target, instance_target};
use crate::fixture::{context, open};
use crate::suite::{Account, Peer};

/// Runs lines of Python, which leave what they found in `found`.
fn botocore(aws: &Aws, service: &str, lines: &str) -> Value {
    let python = cached("moto/bin/python", "moto").expect("moto's Python");
    let program = format!(
        "import json, sys\nimport botocore.session\n\
         c = botocore.session.get_session().create_client({service:?}, region_name={REGION:?}, \
         endpoint_url={:?}, aws_access_key_id={:?}, aws_secret_access_key=sys.stdin.read())\n\
         {lines}\nprint(json.dumps(found, default=str))",
        aws.endpoint(),
        aws.access_key_id,
    );
    let mut child = Command::new(python)
        .args(["-c", &program])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, aws.secret_access_key.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{lines}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn contract_referee_of_iam_and_s3() {
    let identity = Identity::start().await;
    let login = identity.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let (user, bucket) = (identity.watched("app").await, identity.bucket("data").await);
    identity.bench.key(&user).await;
    let policy = bucket_policy(&bucket, "s3:GetObject");
    let parameters = json!({ "policy": policy });
    done(&*session, "aws.update_bucket_policy", &bucket_target(&bucket), &parameters).await;
    done(&*session, "aws.lock_iam_user", &user_target(&user), &json!({})).await;
    let (_, rotated) = done(&*session, "aws.rotate_iam_key", &user_target(&user), &json!({})).await;

    let aws = &identity.bench.aws;
    let found =
        botocore(aws, "s3", &format!("found = c.get_bucket_policy(Bucket={bucket:?})['Policy']"));
    assert_eq!(
        serde_json::from_str::<Value>(found.as_str().unwrap()).unwrap(),
        serde_json::from_str::<Value>(&policy).unwrap()
    );
    let lines = format!(
        "found = [c.get_user_policy(UserName={user:?}, PolicyName='nexplane-lock')['PolicyDocument'], \
         c.list_access_keys(UserName={user:?})['AccessKeyMetadata']]"
    );
    let found = botocore(aws, "iam", &lines);
    let statement = &found[0]["Statement"][0];
    assert_eq!(
        [&statement["Effect"], &statement["Action"], &statement["Resource"]],
        ["Deny", "*", "*"]
    );
    let active: Vec<_> =
        found[1].as_array().unwrap().iter().filter(|k| k["Status"] == "Active").collect();
    assert_eq!(active.len(), 1, "{found}");
    assert_eq!(active[0]["AccessKeyId"], rotated.outcome["access_key_id"]);
}

#[tokio::test]
async fn contract_referee_of_ec2() {
    let machine = Machine::start().await;
    let login = machine.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let (id, group) = (machine.instance().await, machine.group().await);
    let rule = json!({
        "operation": "add", "direction": "ingress", "protocol": "tcp",
        "from_port": 8000, "to_port": 8080, "peer": "10.0.0.0/8", "description": "a & b",
    });
    done(&*session, "aws.modify_security_group_rule", &group_target(&group), &rule).await;
    let description = json!({ "description": "before the upgrade; 100%" });
    let (_, made) =
        done(&*session, "aws.snapshot_instance", &instance_target(&id), &description).await;
    done(&*session, "aws.stop_instance", &instance_target(&id), &json!({})).await;
    let snapshot = made.outcome["snapshots"][0].as_str().unwrap();
    let lines = format!(
        "found = [c.describe_security_groups(GroupIds=[{group:?}])['SecurityGroups'][0]['IpPermissions'], \
         c.describe_snapshots(SnapshotIds=[{snapshot:?}])['Snapshots'][0], \
         c.describe_instances(InstanceIds=[{id:?}])['Reservations'][0]['Instances'][0]['State']['Name']]"
    );
    let found = botocore(&machine.bench.aws, "ec2", &lines);
    let rule = &found[0][0];
    assert_eq!((&rule["FromPort"], &rule["ToPort"]), (&json!(8000), &json!(8080)), "{found}");
    let range = json!({ "CidrIp": "10.0.0.0/8", "Description": "a & b" });
    assert_eq!(rule["IpRanges"], json!([range]));
    assert_eq!(found[1]["Description"], "before the upgrade; 100%");
    assert_eq!(found[1]["Tags"][0]["Key"], "nexplane-snapshot");
    assert_eq!(found[2], "stopped");
}
