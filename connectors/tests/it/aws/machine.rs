//! EC2, against moto.

use std::sync::Mutex;

use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{self, Bench};
use super::ec2::{call, run, text, texts};
use crate::fixture::target;
use crate::suite::{Account, Case, Login, Peer};

pub const ACTIONS: [&str; 4] = [
    "aws.modify_security_group_rule",
    "aws.snapshot_instance",
    "aws.start_instance",
    "aws.stop_instance",
];

pub struct Machine {
    pub bench: Bench,
    instances: Mutex<Vec<String>>,
    groups: Mutex<Vec<String>>,
}

pub fn instance_target(id: &str) -> TargetRef {
    target("aws_ec2_instance", &format!("instance/{id}"), id)
}

pub fn group_target(id: &str) -> TargetRef {
    target("aws_security_group", &format!("security_group/{id}"), id)
}

impl Machine {
    pub async fn instance(&self) -> String {
        let id = run(&self.bench.aws).await;
        self.instances.lock().unwrap().push(id.clone());
        id
    }

    pub async fn group(&self) -> String {
        let form = format!(
            "Action=CreateSecurityGroup&GroupName={}&GroupDescription=test",
            self.bench.prefix
        );
        let id = text(&self.ec2(&form).await, "groupId");
        self.groups.lock().unwrap().push(id.clone());
        id
    }

    pub async fn ec2(&self, form: &str) -> String {
        call(&self.bench.aws, form).await
    }

    /// Another volume for the instance.
    async fn attach(&self, instance: &str) {
        let made = self.ec2("Action=CreateVolume&Size=1&AvailabilityZone=eu-west-1a").await;
        let volume = text(&made, "volumeId");
        let form = format!(
            "Action=AttachVolume&VolumeId={volume}&InstanceId={instance}&Device=%2Fdev%2Fsdx"
        );
        self.ec2(&form).await;
    }

    async fn case(&self, action: &str) -> Case {
        let case = |target: TargetRef, parameters: Value, disturbance: String| Case {
            target,
            parameters,
            disturbance,
            never: Vec::new(),
            in_parts: false,
        };
        match action {
            "aws.modify_security_group_rule" => {
                let group = self.group().await;
                let rule = |text: &str| {
                    format!(
                        "Action=AuthorizeSecurityGroupIngress&GroupId={group}\
                         &IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=443\
                         &IpPermissions.1.ToPort=443&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8\
                         &IpPermissions.1.IpRanges.1.Description={text}"
                    )
                };
                let parameters = json!({
                    "operation": "add", "direction": "ingress", "protocol": "tcp",
                    "from_port": 443, "to_port": 443, "peer": "10.0.0.0/8", "description": "ours",
                });
                case(group_target(&group), parameters, rule("somebody"))
            }
            "aws.snapshot_instance" => {
                let id = self.instance().await;
                self.attach(&id).await;
                case(instance_target(&id), json!({}), format!("attach {id}"))
            }
            "aws.start_instance" => {
                let id = self.instance().await;
                self.ec2(&format!("Action=StopInstances&InstanceId.1={id}")).await;
                let disturbance = format!("Action=StartInstances&InstanceId.1={id}");
                case(instance_target(&id), json!({}), disturbance)
            }
            "aws.stop_instance" => {
                let id = self.instance().await;
                let disturbance = format!("Action=StopInstances&InstanceId.1={id}");
                case(instance_target(&id), json!({}), disturbance)
            }
            other => panic!("{other} has no case: every action must have one"),
        }
    }
}

impl Peer for Machine {
    const CONNECTOR: &'static str = "aws";
    const WHAT_TO_DO: &'static str = "to the policy of";
    const SHOWS_LATE: bool = true;

    async fn start() -> Self {
        let aws = nexplane_peers::aws::moto().await.expect("moto");
        Self { bench: Bench::new(aws), instances: Mutex::default(), groups: Mutex::default() }
    }

    async fn login(&self, account: Account) -> Login {
        self.bench.login(account).await
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.bench.aws.port)
    }

    fn moved(&self, credentials: Value, port: u16) -> Value {
        bench::moved(credentials, port)
    }

    fn with_wrong_secret(&self, credentials: Value) -> Value {
        bench::with_wrong_secret(credentials)
    }

    async fn prepare(&self, action: &str, login: &Login) -> Case {
        self.bench.name_rights(action, login).await;
        let case = self.case(action).await;
        let never = if case.target.kind == "aws_ec2_instance" {
            let gone = self.instance().await;
            self.instances.lock().unwrap().pop();
            self.ec2(&format!("Action=TerminateInstances&InstanceId.1={gone}")).await;
            vec![instance_target("i-0123456789abcdef0"), instance_target(&gone)]
        } else {
            vec![group_target("sg-0123456789abcdef0")]
        };
        Case { never, ..case }
    }

    async fn disturb(&self, case: &Case) {
        match case.disturbance.strip_prefix("attach ") {
            Some(instance) => self.attach(instance).await,
            None => drop(self.ec2(&case.disturbance).await),
        }
    }

    async fn witness(&self) -> String {
        let mut seen = Vec::new();
        let instances = self.instances.lock().unwrap().clone();
        for id in instances {
            let found = self.ec2(&format!("Action=DescribeInstances&InstanceId.1={id}")).await;
            let state = found.split("<instanceState>").nth(1).unwrap();
            let volumes = texts(&found, "volumeId");
            seen.push(format!("{id} {} {volumes:?}", text(state, "name")));
            for volume in volumes {
                let form = format!(
                    "Action=DescribeSnapshots&Filter.1.Name=volume-id&Filter.1.Value.1={volume}"
                );
                let found = self.ec2(&form).await;
                seen.push(format!("{volume} {:?}", texts(&found, "description")));
            }
        }
        let groups = self.groups.lock().unwrap().clone();
        for id in groups {
            let found = self.ec2(&format!("Action=DescribeSecurityGroups&GroupId.1={id}")).await;
            seen.push(found.split("<securityGroupInfo>").nth(1).unwrap().to_owned());
            let form = format!(
                "Action=DescribeSecurityGroupRules&Filter.1.Name=group-id&Filter.1.Value.1={id}"
            );
            // A rule that comes back has another id. Its tags have no order.
            let found = self.ec2(&form).await;
            let mut tags: Vec<_> =
                texts(&found, "key").into_iter().zip(texts(&found, "value")).collect();
            tags.sort();
            seen.push(format!("{tags:?}"));
        }
        seen.join("\n")
    }

    fn secrets(&self) -> Vec<String> {
        self.bench.secrets()
    }
}
