//! The stories of an instance and of an access key, over the API. The cloud is played by two stand-ins: the instance is
//! at moto, the key at ministack (`docs/connectors/aws.md` says why).

use std::io::Write as _;
use std::process::{Command, Stdio};

use nexplane_peers::aws::Aws;
use nexplane_peers::cached;
use serde_json::{Value, json};

use crate::harness::{Client, Server, id, items, text};
use crate::leak::nothing_leaked;

const REGION: &str = "eu-west-1";

struct Cloud {
    server: Server,
    aws: Aws,
    connection: String,
    operator: Client,
    approvers: [Client; 2],
}

impl Cloud {
    /// A connection to the stand-in, as a user of its own.
    async fn connect(aws: Aws) -> Self {
        let server = Server::start().await;
        let user = format!("nexplane-{}", uuid::Uuid::new_v4().simple());
        let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let keys = botocore(
            &aws,
            "iam",
            &format!(
                "c.create_user(UserName={user:?})\n\
                 c.put_user_policy(UserName={user:?}, PolicyName='all', PolicyDocument='{all}')\n\
                 k = c.create_access_key(UserName={user:?})['AccessKey']\n\
                 found = [k['AccessKeyId'], k['SecretAccessKey']]"
            ),
        );
        let body = json!({
            "name": format!("cloud-{}", aws.port),
            "type": "aws",
            "environment": "staging",
            "credentials": {
                "access_key_id": keys[0],
                "secret_access_key": keys[1],
                "region": REGION,
                "endpoint_url": aws.endpoint(),
            },
        });
        let added = server.admin.post("/connections", body).await.is(201);
        assert!(!added.to_string().contains(keys[1].as_str().unwrap()), "{added:#}");
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        Self { connection: text(&added["id"]), server, aws, operator, approvers }
    }

    async fn discover(&self) {
        let path = format!("/connections/{}/discover", self.connection);
        self.server.admin.post(&path, json!({})).await.is(200);
    }

    async fn asset(&self, kind: &str, name: &str) -> Value {
        let path = format!("/assets?connection={}&q={name}&type={kind}", self.connection);
        let found = items(&self.operator.get(&path).await.is(200));
        found.into_iter().find(|asset| asset["name"] == name).unwrap_or_else(|| panic!("no {name}"))
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

    /// Asked for, approved and done.
    async fn complete(&self, action: &str, asset: &Value) -> Value {
        let request = json!({
            "title": format!("{action} of {}", asset["name"]),
            "reason": "Its owner has left the company.",
            "change_type": action,
            "connection_id": self.connection,
            "targets": [asset["key"]],
            "parameters": {},
        });
        let submitted = self.operator.submitted(request).await;
        assert_eq!(submitted["plan"]["reversible"], true, "{submitted:#}");
        self.approve(&submitted).await;
        let done = self.operator.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    async fn roll_back(&self, change: &str) {
        let rollback = self.operator.act(change, "rollback").await.is(201);
        self.approve(&rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
        assert_eq!(self.operator.undone(change).await["state"], "rolled_back");
    }
}

/// Runs lines of Python with AWS's own client `c`, which leave what they found in `found`.
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
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(aws.secret_access_key.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{lines}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_an_instance_is_stopped_with_approvals_and_started_by_the_rollback() {
    let moto = nexplane_peers::aws::moto().await.expect("moto");
    let cloud = Cloud::connect(moto).await;
    let made = "found = c.run_instances(ImageId='ami-03cf127a', MinCount=1, MaxCount=1)['Instances'][0]['InstanceId']";
    let instance = text(&botocore(&cloud.aws, "ec2", made));
    let state = || {
        let lines = format!(
            "found = c.describe_instances(InstanceIds=[{instance:?}])['Reservations'][0]['Instances'][0]['State']['Name']"
        );
        text(&botocore(&cloud.aws, "ec2", &lines))
    };
    cloud.discover().await;
    let asset = cloud.asset("aws_ec2_instance", &instance).await;
    let done = cloud.complete("aws.stop_instance", &asset).await;
    assert_eq!(state(), "stopped");
    cloud.roll_back(&id(&done)).await;
    assert_eq!(state(), "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_a_new_key_is_handed_over_once_and_undone() {
    let ministack = nexplane_peers::aws::ministack().await.expect("ministack");
    let cloud = Cloud::connect(ministack).await;
    let path = format!("/connections/{}/test", cloud.connection);
    let tested = cloud.server.admin.post(&path, json!({})).await.is(200);
    assert_eq!(tested["ok"], true, "{tested:#}");
    let user = format!("app-{}", uuid::Uuid::new_v4().simple());
    let lines = format!(
        "c.create_user(UserName={user:?})\n\
         found = c.create_access_key(UserName={user:?})['AccessKey']['AccessKeyId']"
    );
    let old = text(&botocore(&cloud.aws, "iam", &lines));
    let keys = || {
        let lines = format!(
            "found = {{k['AccessKeyId']: k['Status'] for k in c.list_access_keys(UserName={user:?})['AccessKeyMetadata']}}"
        );
        botocore(&cloud.aws, "iam", &lines)
    };
    cloud.discover().await;
    let asset = cloud.asset("aws_iam_user", &user).await;
    let done = cloud.complete("aws.rotate_iam_key", &asset).await;
    let now = keys();
    assert_eq!((now.as_object().unwrap().len(), &now[&old]), (2, &json!("Inactive")), "{now}");
    let path = format!("/secrets/{}/reveal", id(&done["secrets"][0]));
    let value = text(&cloud.operator.post(&path, json!({})).await.is(200)["value"]);
    cloud.operator.post(&path, json!({})).await.refused(409, "secret.already_revealed");
    let new = now.as_object().unwrap().keys().find(|key| **key != old).unwrap();
    let holder =
        Aws { access_key_id: new.clone(), secret_access_key: value.clone(), ..cloud.aws.clone() };
    let arn = text(&botocore(&holder, "sts", "found = c.get_caller_identity()['Arn']"));
    assert!(arn.ends_with(&user), "{arn}");

    cloud.operator.change(&id(&done)).await;
    nothing_leaked(&cloud.server, &[&value, &cloud.aws.secret_access_key]).await;

    cloud.roll_back(&id(&done)).await;
    assert_eq!(keys(), json!({ old: "Active" }));
}
