//! Connecting, testing and discovering, and what single actions must not do.

use std::sync::Arc;

use nexplane_connectors::sdk::{Egress, EgressRules, ErrorKind};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::bench::{done, faults};
use super::identity::{Identity, key_target, user_target};
use super::machine::{Machine, instance_target};
use crate::fixture::{context, open};
use crate::suite::{Account, Peer};

#[tokio::test]
async fn contract_discovery_of_users_keys_roles_and_buckets() {
    let identity = Identity::start().await;
    let user = identity.watched("app").await;
    let (id, _) = identity.bench.key(&user).await;
    let bucket = identity.bucket("data").await;
    let role = format!("{}-role", identity.bench.prefix);
    let trust = json!({ "Version": "2012-10-17", "Statement": [] }).to_string();
    let request = identity.bench.iam.create_role().role_name(&role);
    request.assume_role_policy_document(trust).send().await.expect("create_role");
    let login = identity.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let found = session.discover().await.expect("discover");
    let key_of = |kind: &str, key: String| {
        let is = |asset: &&_| {
            let asset: &nexplane_connectors::sdk::DiscoveredAsset = asset;
            asset.kind == kind && asset.external_key == key
        };
        found.assets.iter().find(is).unwrap_or_else(|| panic!("no {key}"))
    };
    key_of("aws_iam_user", format!("user/{user}"));
    key_of("aws_iam_role", format!("role/{role}"));
    key_of("aws_s3_bucket", format!("bucket/{bucket}"));
    let key = key_of("aws_access_key", format!("access_key/{user}/{id}"));
    assert_eq!(key.metadata["status"], "Active");
    assert_eq!(key.relations[0].kind, "belongs_to");
    assert_eq!(key.relations[0].to_external_key, format!("user/{user}"));
}

#[tokio::test]
async fn contract_discovery_of_instances_volumes_and_groups() {
    let machine = Machine::start().await;
    let id = machine.instance().await;
    let gone = machine.instance().await;
    machine.ec2(&format!("Action=TerminateInstances&InstanceId.1={gone}")).await;
    let login = machine.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let found = session.discover().await.expect("discover");
    let by_key = |key: &str| found.assets.iter().find(|asset| asset.external_key == key);
    let instance = by_key(&format!("instance/{id}")).expect("the instance");
    assert_eq!(instance.metadata["state"], "running");
    assert!(by_key(&format!("instance/{gone}")).is_none(), "a terminated instance is gone");
    for relation in &instance.relations {
        assert_eq!((&*relation.kind, &*relation.to_kind), ("uses", "aws_security_group"));
        assert!(by_key(&relation.to_external_key).is_some(), "{relation:?}");
    }
    let attached = found.assets.iter().filter(|asset| {
        let to = format!("instance/{id}");
        asset.kind == "aws_volume"
            && asset.relations.iter().any(|r| r.kind == "attached_to" && r.to_external_key == to)
    });
    assert_eq!(attached.count(), 1);
}

#[tokio::test]
async fn contract_a_connection_says_which_permissions_it_has() {
    let identity = Identity::start().await;
    let needs = nexplane_connectors::aws::needs();
    for (account, writes) in [(Account::Full, true), (Account::Weak, false)] {
        let login = identity.login(account).await;
        let session = open("aws", login.credentials, &context()).await.unwrap();
        let checks = session.test().await;
        assert_eq!(checks.len(), needs.len() + 1, "one line per permission, and who it is");
        let check = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
        assert!(check("sts:GetCallerIdentity").detail.contains(&login.name));
        assert!(check("iam:GetUser").ok && check("iam:GetUser").detail.contains("lock_iam_user"));
        assert_eq!(check("iam:PutUserPolicy").ok, writes);
        assert_eq!(checks.iter().all(|check| check.ok), writes);
    }
    // One that may not even be asked about.
    let login = identity.login(Account::Manager).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let checks = session.test().await;
    let asked = checks.iter().find(|check| !check.ok).expect("a failed check");
    assert!(asked.detail.contains("iam:SimulatePrincipalPolicy"), "{asked:?}");
}

#[tokio::test]
async fn contract_a_role_is_assumed_and_the_user_behind_it_is_no_target() {
    let identity = Identity::start().await;
    let login = identity.login(Account::Full).await;
    let role = format!("{}-role", identity.bench.prefix);
    let arn = format!("arn:aws:iam::000000000000:user/{}", login.name);
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": { "AWS": arn }, "Action": "sts:AssumeRole",
            "Condition": { "StringEquals": { "sts:ExternalId": "right" } },
        }],
    });
    let iam = &identity.bench.iam;
    let made = iam.create_role().role_name(&role).assume_role_policy_document(trust.to_string());
    let made = made.send().await.expect("create_role").role.unwrap();
    let all = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }],
    });
    let put = iam.put_role_policy().role_name(&role).policy_name("all");
    put.policy_document(all.to_string()).send().await.expect("put_role_policy");
    let mut credentials = login.credentials.clone();
    credentials["role_arn"] = json!(made.arn);
    credentials["external_id"] = json!("wrong");
    let error =
        open("aws", credentials.clone(), &context()).await.err().expect("wrong external id");
    assert_eq!(error.kind, ErrorKind::Forbidden, "{error:?}");
    assert!(error.message.contains("external_id"), "{error}");
    credentials["external_id"] = json!("right");
    let session = open("aws", credentials, &context()).await.expect("the role");
    assert!(session.test().await.iter().all(|check| check.ok));
    let user = identity.watched("app").await;
    done(&*session, "aws.lock_iam_user", &user_target(&user), &json!({})).await;
    let own = faults(&*session, "aws.lock_iam_user", &user_target(&login.name), &json!({})).await;
    assert!(own.contains("this connection"), "{own}");
}

#[tokio::test]
async fn contract_a_rotated_key_works_and_the_old_one_does_not() {
    let identity = Identity::start().await;
    let user = identity.watched("app").await;
    let (old, old_secret) = identity.bench.key(&user).await;
    let login = identity.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let (_, executed) =
        done(&*session, "aws.rotate_iam_key", &user_target(&user), &json!({})).await;
    assert_eq!(executed.produced[0].name, "secret_access_key");
    let new = executed.outcome["access_key_id"].as_str().unwrap();
    let of = |id: &str, secret: &str| identity.bench.credentials(id, secret);
    assert!(open("aws", of(new, executed.produced[0].value.expose()), &context()).await.is_ok());
    let error = open("aws", of(&old, &old_secret), &context()).await.err().expect("the old key");
    assert_eq!(error.kind, ErrorKind::Unauthorised, "{error:?}");

    // Two keys are as many as IAM allows.
    let two = faults(&*session, "aws.rotate_iam_key", &user_target(&user), &json!({})).await;
    assert!(two.contains("aws.delete_iam_key"), "{two}");
    let active = key_target(&user, new);
    let fault = faults(&*session, "aws.delete_iam_key", &active, &json!({})).await;
    assert!(fault.contains("even_if_active"), "{fault}");
    let anyway = json!({ "even_if_active": true });
    assert_eq!(faults(&*session, "aws.delete_iam_key", &active, &anyway).await, "");
}

#[tokio::test]
async fn contract_a_rule_that_is_none_is_refused_before_it_is_sent() {
    let machine = Machine::start().await;
    let group = machine.group().await;
    let login = machine.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let rule = json!({
        "operation": "add", "direction": "ingress", "protocol": "tcp",
        "from_port": 22, "to_port": 22, "peer": "10.0.0.1/8",
    });
    let target = super::machine::group_target(&group);
    let fault = faults(&*session, "aws.modify_security_group_rule", &target, &rule).await;
    assert!(fault.contains("10.0.0.0/8"), "{fault}");
}

#[tokio::test]
async fn contract_every_kind_of_rule_goes_and_comes_back() {
    let machine = Machine::start().await;
    let group = machine.group().await;
    let target = super::machine::group_target(&group);
    let login = machine.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let action = crate::fixture::action("aws.modify_security_group_rule");
    for (direction, protocol, port, peer) in [
        ("egress", "udp", Some(53), "10.0.0.2/32".to_owned()),
        ("ingress", "tcp", Some(22), "2001:db8::/32".to_owned()),
        ("ingress", "all", None, group.clone()),
        ("ingress", "icmp", None, "192.0.2.0/24".to_owned()),
    ] {
        let mut rule = json!({ "direction": direction, "protocol": protocol, "peer": peer });
        if let Some(port) = port {
            rule["from_port"] = json!(port);
            rule["to_port"] = json!(port);
        }
        for operation in ["add", "remove"] {
            rule["operation"] = json!(operation);
            let initially = machine.witness().await;
            let (before, _) =
                done(&*session, "aws.modify_security_group_rule", &target, &rule).await;
            assert_ne!(machine.witness().await, initially, "{rule}");
            let cx = crate::fixture::step(action, &target, &rule, &before.fingerprint);
            assert!(action.rollback(&*session, &cx, &before, None).await.unwrap().changed);
            assert_eq!(machine.witness().await, initially, "{rule}");
            done(&*session, "aws.modify_security_group_rule", &target, &rule).await;
        }
    }
}

#[tokio::test]
async fn contract_certificates_of_an_endpoint_are_checked() {
    let identity = Identity::start().await;
    let login = identity.login(Account::Full).await;
    let folder = tempfile::tempdir().unwrap();
    let certificate = nexplane_peers::ca::issue(folder.path(), &["127.0.0.1"]).unwrap();
    let chain = CertificateDer::pem_file_iter(certificate.cert()).unwrap();
    let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate.key()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = identity.bench.aws.port;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let mut far = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let mut credentials = login.credentials;
    credentials["endpoint_url"] = json!(format!("https://127.0.0.1:{port}"));
    for ca in [None, Some(crate::suite::another_ca())] {
        if let Some(ca) = &ca {
            credentials["ca_certificate"] = json!(ca);
        }
        let error = open("aws", credentials.clone(), &context()).await.err().expect("another CA");
        assert_eq!(error.kind, ErrorKind::Unauthorised, "{error:?}");
        assert!(error.message.contains("trusted CA"), "{error}");
    }
    credentials["ca_certificate"] = json!(certificate.ca_pem);
    let session = open("aws", credentials, &context()).await.expect("the right CA");
    let user = identity.watched("app").await;
    done(&*session, "aws.lock_iam_user", &user_target(&user), &json!({})).await;
}

#[tokio::test]
async fn contract_the_egress_guard_is_asked_and_endpoints_are_checked() {
    let identity = Identity::start().await;
    let login = identity.login(Account::Full).await;
    let rules = EgressRules { allow_loopback: false, ..EgressRules::default() };
    let mut cx = context();
    cx.egress = Arc::new(Egress::new(rules));
    let error = open("aws", login.credentials.clone(), &cx).await.err().expect("loopback");
    assert_eq!(error.kind, ErrorKind::Refused, "{error:?}");
    for endpoint in ["http://aws.example", "https://169.254.169.254", "https://127.0.0.1/x"] {
        let mut credentials = login.credentials.clone();
        credentials["endpoint_url"] = json!(endpoint);
        let error = open("aws", credentials, &context()).await.err().expect(endpoint);
        assert!(matches!(error.kind, ErrorKind::Refused | ErrorKind::Invalid), "{error:?}");
    }
}

#[tokio::test]
async fn contract_an_instance_that_is_not_at_rest_is_left_alone() {
    let machine = Machine::start().await;
    let id = machine.instance().await;
    machine.ec2(&format!("Action=TerminateInstances&InstanceId.1={id}")).await;
    let login = machine.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let fault = faults(&*session, "aws.stop_instance", &instance_target(&id), &json!({})).await;
    assert!(fault.contains("discover again"), "{fault}");
}
