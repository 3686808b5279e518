//! Lists come in pages. Neither stand-in has any, so here is a server that has nothing else: every list has three,
//! with one thing on each, and its tokens are called as AWS's own Python client says (`paginators-1.json`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nexplane_connectors::sdk::ErrorKind;
use nexplane_peers::cached;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::identity::user_target;
use super::machine::{group_target, instance_target};
use crate::fixture::{action, context, open};

const PAGES: usize = 3;

/// What the Python client knows of the pages of a service.
fn paginators(service: &str) -> Value {
    let python = cached("moto/bin/python", "moto").expect("moto's Python");
    let library = python.parent().unwrap().parent().unwrap().join("lib");
    let version = std::fs::read_dir(library).unwrap().next().unwrap().unwrap().path();
    let file = version.join(format!("site-packages/botocore/data/{service}/paginators-1.json"));
    let text = std::fs::read(file).expect("botocore's description");
    serde_json::from_slice::<Value>(&text).unwrap()["pagination"].take()
}

/// The server. `asked` has what was asked for, page by page.
struct Pager {
    iam: Value,
    ec2: Value,
    s3: Value,
    asked: Mutex<Vec<String>>,
    endless: bool,
    /// A call whose pages have more things than all of them may have together.
    crowded: Option<&'static str>,
}

fn one(action: &str, no: usize) -> String {
    match action {
        "ListUsers" => format!(
            "<UserName>u{no}</UserName><UserId>AIDA{no}</UserId><Path>/</Path><Arn>arn:aws:iam::1:user/u{no}</Arn>\
             <CreateDate>2026-01-01T00:00:00Z</CreateDate>"
        ),
        "ListRoles" => format!(
            "<RoleName>r{no}</RoleName><RoleId>AROA{no}</RoleId><Path>/</Path><Arn>arn:aws:iam::1:role/r{no}</Arn>\
             <CreateDate>2026-01-01T00:00:00Z</CreateDate>"
        ),
        "ListAccessKeys" => {
            format!(
                "<UserName>u</UserName><AccessKeyId>AKIAAAAAAAAAAAAAAAA{no}</AccessKeyId><Status>Active</Status>"
            )
        }
        "ListUserTags" => {
            let key =
                if no + 1 == PAGES { "nexplane-rotation".to_owned() } else { format!("k{no}") };
            format!("<Key>{key}</Key><Value>v</Value>")
        }
        "SimulatePrincipalPolicy" => {
            let call = ["iam:TagUser", "iam:UntagUser", "iam:CreateAccessKey"][no];
            format!("<EvalActionName>{call}</EvalActionName><EvalDecision>allowed</EvalDecision>")
        }
        "DescribeInstances" => format!(
            "<instancesSet><item><instanceId>i-{no}</instanceId><instanceState><name>running</name></instanceState>\
             <blockDeviceMapping><item><ebs><volumeId>vol-{no}</volumeId></ebs></item></blockDeviceMapping>\
             </item></instancesSet>"
        ),
        "DescribeVolumes" => format!("<volumeId>vol-{no}</volumeId>"),
        "DescribeSecurityGroups" => {
            format!("<groupId>sg-{no}</groupId><groupName>g{no}</groupName>")
        }
        "DescribeSecurityGroupRules" => format!(
            "<securityGroupRuleId>sgr-{no}</securityGroupRuleId><isEgress>false</isEgress>\
             <ipProtocol>tcp</ipProtocol><fromPort>{no}</fromPort><toPort>{no}</toPort><cidrIpv4>10.0.0.0/8</cidrIpv4>\
             <tagSet><item><key>k{no}</key><value>v</value></item></tagSet>"
        ),
        "DescribeSnapshots" => format!(
            "<snapshotId>snap-{no}</snapshotId><volumeId>vol-0</volumeId><status>completed</status>\
             <tagSet><item><key>nexplane-snapshot</key><value>m{no}</value></item></tagSet>"
        ),
        "ListBuckets" => format!("<Name>b{no}</Name>"),
        other => panic!("{other}"),
    }
}

impl Pager {
    fn answer(&self, action: &str, form: &BTreeMap<String, String>) -> String {
        if action == "GetCallerIdentity" {
            return "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account>\
                    <Arn>arn:aws:iam::1:user/me</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
                .to_owned();
        }
        let (kind, pages) = match action {
            "ListBuckets" => ("s3", &self.s3),
            name if name.starts_with("Describe") => ("ec2", &self.ec2),
            _ => ("iam", &self.iam),
        };
        let pages = &pages[action];
        assert!(pages.is_object(), "botocore knows no pages of {action}");
        let name = |key: &str| pages[key].as_str().unwrap_or_default().to_owned();
        let token = form.get(&name(if kind == "s3" { "wire_token" } else { "input_token" }));
        let token =
            token.or_else(|| form.get(if kind == "s3" { "continuation-token" } else { "" }));
        let no: usize =
            token.map_or(0, |token| token.strip_prefix("page/+").unwrap().parse().unwrap());
        self.asked.lock().unwrap().push(format!("{action} {no}"));
        let more = no + 1 < PAGES || self.endless;
        let next = if self.endless { 0 } else { no + 1 };
        let output = name("output_token");
        let list =
            pages["result_key"].as_str().or_else(|| pages["result_key"][0].as_str()).unwrap();
        let times = if self.crowded == Some(action) { 30_000 } else { 1 };
        let things = |tag: &str| format!("<{tag}>{}</{tag}>", one(action, no)).repeat(times);
        match kind {
            "ec2" => {
                let list = match action {
                    "DescribeInstances" => "reservationSet",
                    "DescribeVolumes" => "volumeSet",
                    "DescribeSecurityGroups" => "securityGroupInfo",
                    "DescribeSecurityGroupRules" => "securityGroupRuleSet",
                    _ => "snapshotSet",
                };
                let lower = format!("{}{}", output[..1].to_lowercase(), &output[1..]);
                let token =
                    if more { format!("<{lower}>page/+{next}</{lower}>") } else { String::new() };
                format!(
                    "<{action}Response><{list}>{}</{list}>{token}</{action}Response>",
                    things("item")
                )
            }
            "s3" => {
                let token =
                    if more { format!("<{output}>page/+{next}</{output}>") } else { String::new() };
                format!(
                    "<ListAllMyBucketsResult><{list}>{}</{list}>{token}</ListAllMyBucketsResult>",
                    things("Bucket")
                )
            }
            _ => {
                let flag = name("more_results");
                let token =
                    if more { format!("<{output}>page/+{next}</{output}>") } else { String::new() };
                format!(
                    "<{action}Response><{action}Result><{list}>{}</{list}>\
                     <{flag}>{more}</{flag}>{token}</{action}Result></{action}Response>",
                    things("member")
                )
            }
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut heard = Vec::new();
        let (head, body) = loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            heard.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&heard).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let target = head.split(' ').nth(1).unwrap();
        let query = if body.is_empty() {
            target.split_once('?').map_or("", |(_, query)| query)
        } else {
            &body
        };
        let plain = |text: &str| text.replace("%2F", "/").replace("%2B", "+").replace("%3A", ":");
        let form: BTreeMap<_, _> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), plain(value)))
            .collect();
        let action = form.get("Action").map_or("ListBuckets", String::as_str);
        let answer = self.answer(action, &form);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

async fn pager(endless: bool, crowded: Option<&'static str>) -> (Arc<Pager>, Value) {
    let pager = Arc::new(Pager {
        iam: paginators("iam/2010-05-08"),
        ec2: paginators("ec2/2016-11-15"),
        s3: paginators("s3/2006-03-01"),
        asked: Mutex::default(),
        endless,
        crowded,
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Arc::clone(&pager);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&server).serve(stream));
        }
    });
    let credentials = json!({
        "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "a-secret-that-nobody-checks",
        "region": "eu-west-1", "endpoint_url": format!("http://127.0.0.1:{port}"),
    });
    (pager, credentials)
}

#[tokio::test]
async fn contract_every_page_of_every_list_is_read() {
    let (pager, credentials) = pager(false, None).await;
    let session = open("aws", credentials, &context()).await.expect("open");
    let found = session.discover().await.expect("discover");
    for no in 0..PAGES {
        for key in [
            format!("user/u{no}"),
            format!("role/r{no}"),
            format!("access_key/u0/AKIAAAAAAAAAAAAAAAA{no}"),
            format!("instance/i-{no}"),
            format!("volume/vol-{no}"),
            format!("security_group/sg-{no}"),
            format!("bucket/b{no}"),
        ] {
            assert!(found.assets.iter().any(|asset| asset.external_key == key), "no {key}");
        }
    }
    let target = user_target("u");
    let action_of = |id: &str| action(id);
    let seen =
        action_of("aws.rotate_iam_key").inspect(&*session, &target, &json!({})).await.unwrap();
    let fields = format!("{:?}", seen.before.fields);
    assert!(fields.contains("AKIAAAAAAAAAAAAAAAA2") && fields.contains("\"v:\""), "{fields}");
    let allowed = seen.checks.iter().filter(|c| c.ok && c.name.contains("may do iam:")).count();
    assert_eq!(allowed, PAGES, "{:#?}", seen.checks);
    let target = instance_target("i-0");
    let seen = action_of("aws.snapshot_instance")
        .read(&*session, &target, &json!({}), None)
        .await
        .unwrap();
    let fields = format!("{:?}", seen.fields);
    assert!((0..PAGES).all(|no| fields.contains(&format!("snap-{no}"))), "{fields}");
    let rule = json!({
        "operation": "remove", "direction": "ingress", "protocol": "tcp",
        "from_port": PAGES - 1, "to_port": PAGES - 1, "peer": "10.0.0.0/8",
    });
    let seen = action_of("aws.modify_security_group_rule")
        .read(&*session, &group_target("sg-0"), &rule, None)
        .await
        .unwrap();
    assert!(format!("{:?}", seen.fields).contains("k2"), "{:?}", seen.fields);
    let asked = pager.asked.lock().unwrap().clone();
    for action in ["ListUsers", "ListUserTags", "SimulatePrincipalPolicy", "DescribeSnapshots"] {
        for no in 0..PAGES {
            assert!(asked.contains(&format!("{action} {no}")), "{action} {no}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn contract_a_list_without_end_is_an_error() {
    let (_, credentials) = pager(true, None).await;
    let session = open("aws", credentials, &context()).await.expect("open");
    let action = action("aws.stop_instance");
    let error = action.read(&*session, &instance_target("i-0"), &json!({}), None).await;
    assert_eq!(error.expect_err("endless").kind, ErrorKind::Invalid);
    assert!(session.discover().await.is_err());
}

/// The error comes while the list is read, not after all of it is in memory; and nothing of it counts as all.
#[tokio::test]
async fn contract_a_list_that_is_too_long_is_an_error_before_its_end() {
    for (call, named) in [
        ("ListRoles", "iam:ListRoles"),
        ("ListBuckets", "s3:ListAllMyBuckets"),
        ("DescribeVolumes", "ec2:DescribeVolumes"),
    ] {
        let (pager, credentials) = pager(false, Some(call)).await;
        let session = open("aws", credentials, &context()).await.expect("open");
        let error = session.discover().await.expect_err("too long");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
        assert!(error.message.contains(named) && error.message.contains("50000"), "{error}");
        let asked = pager.asked.lock().unwrap();
        assert!(asked.contains(&format!("{call} 1")), "{asked:?}");
        assert!(!asked.contains(&format!("{call} 2")), "it went on: {asked:?}");
    }
}
