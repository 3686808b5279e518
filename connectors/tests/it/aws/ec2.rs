//! EC2 as an administrator sees it: signed requests, and the text of the answers. None of the connector's code.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use nexplane_peers::aws::Aws;

use super::bench::REGION;

/// One call; `form` is encoded already.
pub async fn call(aws: &Aws, form: &str) -> String {
    let url = format!("{}/", aws.endpoint());
    let body = format!("{form}&Version=2016-11-15");
    let keys = Credentials::from_keys(&aws.access_key_id, &aws.secret_access_key, None).into();
    let parameters = v4::SigningParams::builder()
        .identity(&keys)
        .region(REGION)
        .name("ec2")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let signable = SignableBody::Bytes(body.as_bytes());
    let request = SignableRequest::new("POST", &url, [kind].into_iter(), signable).unwrap();
    let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
    let mut request = client().post(&url).header(kind.0, kind.1).body(body.clone());
    for (name, value) in instructions.headers() {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{form}: {text}");
    text
}

fn client() -> reqwest::Client {
    // There is one TLS provider in this tree, and it is not reqwest's default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// All texts of elements of this name, in their order.
pub fn texts(answer: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    let parts = answer.split(&open).skip(1);
    parts.map(|part| part.split("</").next().unwrap().to_owned()).collect()
}

pub fn text(answer: &str, name: &str) -> String {
    texts(answer, name).into_iter().next().unwrap_or_else(|| panic!("no {name}: {answer}"))
}

/// A new instance.
pub async fn run(aws: &Aws) -> String {
    let form = "Action=RunInstances&ImageId=ami-03cf127a&MinCount=1&MaxCount=1";
    text(&call(aws, form).await, "instanceId")
}
