//! A client of the EC2 Query API, version 2016-11-15: a dozen calls, signed with Signature Version 4.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/making-api-requests.html>
//!
//! Why not AWS's own: see `docs/adr/0026-ec2-without-its-sdk.md`. It knows the protocol and the few things that the
//! connector reads; what to make of them is for the actions. Deliberately absent: waiters, presigned
//! URLs, other versions, and every call that no action makes.

mod model;
mod xml;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;

pub use model::{Direction, Instance, Rule, SecurityGroup, Snapshot, Volume};
use xml::{Element, XmlError};

use super::error::{Failure, Why};
use super::list::{MOST, MOST_PAGES};
use super::transport::{SendError, Transport};
use crate::sdk::ConnectorError;

const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Things on a page: the most that DescribeInstances and DescribeSecurityGroups allow.
const PAGE: &str = "1000";
/// How often a read is sent in all, when AWS asks for patience.
const ATTEMPTS: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(250);

/// Parameters of a call, in the order in which they are sent.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// As HTML forms are sent, and AWS's own clients do: a space is a plus, unreserved characters (RFC 3986) stay.
    fn encode(&self) -> String {
        let pairs =
            self.0.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else if byte == b' ' {
            escaped.push('+');
        } else {
            escaped.push('%');
            escaped.push_str(&hex::encode_upper([byte]));
        }
    }
    escaped
}

/// What a dry run says.
#[derive(Debug)]
pub enum DryRun {
    WouldSucceed,
    Denied,
    WouldFail(String),
}

/// EC2 in one region.
#[derive(Clone, Debug)]
pub struct Ec2 {
    transport: Transport,
    endpoint: String,
    region: String,
    credentials: Credentials,
}

impl Ec2 {
    pub const fn new(
        transport: Transport,
        endpoint: String,
        region: String,
        credentials: Credentials,
    ) -> Self {
        Self { transport, endpoint, region, credentials }
    }

    /// One call. `name` is the permission that it takes, such as `ec2:StopInstances`.
    async fn call(&self, name: &'static str, form: &Form) -> Result<Element, Failure> {
        let fail = |why| Failure { call: name, why };
        let action = name.strip_prefix("ec2:").unwrap_or(name);
        let form = Form(form.0.clone()).with("Action", action).with("Version", VERSION);
        let request = self.sign(form.encode()).map_err(|error| {
            let error = ConnectorError::invalid("the request cannot be signed").because(error);
            fail(Why::Transport(SendError::NotSent(Box::new(error))))
        })?;
        let answer = self.transport.send(request).await.map_err(|e| fail(Why::Transport(e)))?;
        let status = answer.status().as_u16();
        let unreadable = |error: XmlError| fail(Why::Unreadable(error.into()));
        let text = String::from_utf8_lossy(answer.body());
        let root = match Element::parse(&text) {
            Ok(root) => root,
            Err(_) if status >= 500 => {
                let (code, message) = ("ServiceUnavailable".to_owned(), format!("HTTP {status}"));
                return Err(fail(Why::Service { status, code, message }));
            }
            Err(error) => return Err(unreadable(error)),
        };
        if (200..300).contains(&status) {
            // What answers for everything, such as a gateway's page, must not count as an empty list.
            let is_ours = root.name.strip_suffix("Response") == Some(action);
            return if is_ours { Ok(root) } else { Err(unreadable(XmlError::Missing("Response"))) };
        }
        // What stands before EC2 answers in the form of other services.
        let error = root.items("Errors").next().or_else(|| root.child("Error"));
        let error = error.ok_or_else(|| unreadable(XmlError::Missing("Errors")))?;
        let code = error.required("Code").map_err(unreadable)?;
        let message = error.text("Message").unwrap_or_default().to_owned();
        Err(fail(Why::Service { status, code, message }))
    }

    fn sign(
        &self,
        body: String,
    ) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = [(CONTENT_TYPE.as_str(), FORM)];
        let signable = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let mut request = Request::post(&self.endpoint)
            .header(CONTENT_TYPE, FORM)
            .body(Full::new(Bytes::from(body)))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    /// A call that only reads, again when AWS asks for patience.
    async fn read(&self, name: &'static str, form: &Form) -> Result<Element, Failure> {
        let mut wait = PATIENCE;
        for _ in 1..ATTEMPTS {
            match self.call(name, form).await {
                Err(failure) if failure.is_throttled() => {}
                answer => return answer,
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.call(name, form).await
    }

    /// What `read` makes of every element of `list`, on every page. AWS does not page a call that names its things.
    async fn all<T, I: IntoIterator<Item = T>>(
        &self,
        name: &'static str,
        form: &Form,
        list: &str,
        read: impl Fn(&Element) -> Result<I, XmlError>,
    ) -> Result<Vec<T>, Failure> {
        let unreadable =
            |error: XmlError| Failure { call: name, why: Why::Unreadable(error.into()) };
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let form = match &token {
                Some(token) => form.clone().with("NextToken", token),
                None => form.clone(),
            };
            let page = self.read(name, &form).await?;
            if page.child(list).is_none() {
                return Err(unreadable(XmlError::Missing("the list")));
            }
            for element in page.items(list) {
                all.extend(read(element).map_err(unreadable)?);
            }
            if all.len() > MOST {
                break;
            }
            token = page.text("nextToken").map(str::to_owned);
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(Failure::too_long(name))
    }

    pub async fn instances(&self) -> Result<Vec<Instance>, Failure> {
        self.instances_by(&Form::default().with("MaxResults", PAGE)).await
    }

    pub async fn instance(&self, id: &str) -> Result<Option<Instance>, Failure> {
        let found = self.instances_by(&Form::default().with("InstanceId.1", id)).await;
        Ok(unless_absent(found)?.and_then(|mut found| found.pop()))
    }

    async fn instances_by(&self, form: &Form) -> Result<Vec<Instance>, Failure> {
        let read = |reservation: &Element| {
            reservation.items("instancesSet").map(Instance::read).collect::<Result<Vec<_>, _>>()
        };
        self.all("ec2:DescribeInstances", form, "reservationSet", read).await
    }

    pub async fn volumes(&self) -> Result<Vec<Volume>, Failure> {
        let form = Form::default().with("MaxResults", "500");
        let read = |element: &Element| Volume::read(element).map(Some);
        self.all("ec2:DescribeVolumes", &form, "volumeSet", read).await
    }

    pub async fn security_groups(&self) -> Result<Vec<SecurityGroup>, Failure> {
        self.security_groups_by(&Form::default().with("MaxResults", PAGE)).await
    }

    pub async fn security_group(&self, id: &str) -> Result<Option<SecurityGroup>, Failure> {
        let found = self.security_groups_by(&Form::default().with("GroupId.1", id)).await;
        Ok(unless_absent(found)?.and_then(|mut found| found.pop()))
    }

    async fn security_groups_by(&self, form: &Form) -> Result<Vec<SecurityGroup>, Failure> {
        let read = |element: &Element| SecurityGroup::read(element).map(Some);
        self.all("ec2:DescribeSecurityGroups", form, "securityGroupInfo", read).await
    }

    /// The rules of a security group, with their tags; none when there is no such group.
    pub async fn rules(&self, group: &str) -> Result<Vec<Rule>, Failure> {
        let form = Form::default()
            .with("MaxResults", PAGE)
            .with("Filter.1.Name", "group-id")
            .with("Filter.1.Value.1", group);
        let read = |element: &Element| Rule::read(element).map(Some);
        self.all("ec2:DescribeSecurityGroupRules", &form, "securityGroupRuleSet", read).await
    }

    /// Our own snapshots of these volumes that carry a tag of this name.
    pub async fn snapshots(&self, volumes: &[String], tag: &str) -> Result<Vec<Snapshot>, Failure> {
        if volumes.is_empty() {
            return Ok(Vec::new());
        }
        let mut form = Form::default()
            .with("Owner.1", "self")
            .with("MaxResults", PAGE)
            .with("Filter.1.Name", "volume-id");
        for (no, volume) in (1..).zip(volumes) {
            form = form.with(format!("Filter.1.Value.{no}"), volume);
        }
        form = form.with("Filter.2.Name", "tag-key").with("Filter.2.Value.1", tag);
        let read = |element: &Element| Snapshot::read(element, tag).map(Some);
        self.all("ec2:DescribeSnapshots", &form, "snapshotSet", read).await
    }

    /// A call that changes something, once.
    pub async fn change(&self, name: &'static str, form: &Form) -> Result<(), Failure> {
        self.call(name, form).await.map(drop)
    }

    /// Asks whether a call may be made, without making it.
    pub async fn dry_run(&self, name: &'static str, form: &Form) -> Result<DryRun, ConnectorError> {
        match self.call(name, &form.clone().with("DryRun", "true")).await {
            Ok(_) => Ok(DryRun::WouldFail("AWS ignored DryRun".to_owned())),
            Err(failure) if failure.code() == Some("DryRunOperation") => Ok(DryRun::WouldSucceed),
            Err(failure) if failure.is_denied() => Ok(DryRun::Denied),
            Err(Failure { why: Why::Service { status, code, message }, .. }) if status < 500 => {
                Ok(DryRun::WouldFail(format!("{message} ({code})")))
            }
            Err(failure) => Err(failure.read()),
        }
    }
}

fn unless_absent<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_absent() => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_as_signatures_need_them() {
        let form = Form::default().with("A.1", "a b+c/ü~").with("B", "");
        assert_eq!(form.encode(), "A.1=a+b%2Bc%2F%C3%BC~&B=");
    }
}
