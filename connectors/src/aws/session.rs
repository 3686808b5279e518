//! An account, seen with the rights of one connection.

use std::collections::BTreeSet;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use hyper::Uri;

use super::credentials::Credentials;
use super::ec2::Ec2;
use super::error::Failure;
use super::transport::Transport;
use crate::sdk::tls::bare;
use crate::sdk::{Advice, ConnectorError, ErrorKind, OpenContext, Redactor, SecretText};

/// How often a read is sent in all, when AWS asks for patience.
const ATTEMPTS: u32 = 3;

/// Who somebody is, as STS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub account: String,
    pub arn: String,
}

impl Identity {
    /// The name of the IAM user, when it is one: `arn:aws:iam::<account>:user/<path>/<name>`.
    pub fn user(&self) -> Option<&str> {
        let resource = self.arn.splitn(6, ':').nth(5)?;
        resource.strip_prefix("user/")?.rsplit('/').next()
    }

    /// Such as `aws` or `aws-cn`.
    pub fn partition(&self) -> &str {
        self.arn.split(':').nth(1).unwrap_or("aws")
    }
}

/// Clients and identity. Clients for effects never repeat a call.
#[derive(Debug)]
pub struct Session {
    /// Reads, again when AWS asks for patience.
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
    pub ec2: Ec2,
    /// Effects.
    pub iam_effect: aws_sdk_iam::Client,
    pub s3_effect: aws_sdk_s3::Client,
    config: SdkConfig,
    pub identity: Identity,
    pub region: String,
    /// The user or role whose policies say what we may do; none for the root user.
    pub principal: Option<String>,
    /// Users whose keys open this session.
    own_users: BTreeSet<String>,
    own_key: String,
    /// Secret key and token of the role that was assumed.
    pub(super) born: Vec<SecretText>,
}

impl Session {
    /// Errors: `Invalid` (endpoint), `Refused`, `Unauthorised`, `Unreachable`.
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        if let Some(endpoint) = &credentials.endpoint_url {
            check_endpoint(endpoint)?;
        }
        let transport = Transport::new(credentials.ca_certificate.as_deref(), cx)?;
        let own_key = credentials.access_key_id.clone();
        let keys = keys(
            &own_key,
            &credentials.secret_access_key,
            credentials.session_token.as_ref().map(|token| token.expose().to_owned()),
        );
        let config = config(&credentials, transport.clone(), keys.clone());
        let base = who_am_i(&config).await?;
        let mut own_users: BTreeSet<_> = base.user().map(str::to_owned).into_iter().collect();
        let mut born = Vec::new();
        let (config, keys, identity) = match &credentials.role_arn {
            None => (config, keys, base),
            Some(role) => {
                let keys = assume(&config, role, &credentials).await?;
                let secrets = [Some(keys.secret_access_key()), keys.session_token()];
                let secrets = secrets.into_iter().flatten();
                born.extend(secrets.map(|text| SecretText::new(text.to_owned())));
                let provider = SharedCredentialsProvider::new(keys.clone());
                let config = config.into_builder().credentials_provider(provider).build();
                let hidden = |error| Redactor::new(born.clone()).error(error);
                let identity = who_am_i(&config).await.map_err(hidden)?;
                (config, keys, identity)
            }
        };
        own_users.extend(identity.user().map(str::to_owned));
        let principal = credentials
            .role_arn
            .clone()
            .or_else(|| identity.user().is_some().then(|| identity.arn.clone()));
        let region = credentials.region.clone();
        let endpoint = credentials.endpoint_url.clone().unwrap_or_else(|| ec2_endpoint(&region));
        let reading = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        // An endpoint for all of AWS cannot have a name for each bucket.
        let path_style = credentials.endpoint_url.is_some();
        let iam = aws_sdk_iam::config::Builder::from(&config);
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style);
        Ok(Self {
            iam_effect: aws_sdk_iam::Client::from_conf(iam.clone().build()),
            s3_effect: aws_sdk_s3::Client::from_conf(s3.clone().build()),
            iam: aws_sdk_iam::Client::from_conf(iam.retry_config(reading.clone()).build()),
            s3: aws_sdk_s3::Client::from_conf(s3.retry_config(reading).build()),
            ec2: Ec2::new(transport, endpoint, region.clone(), keys),
            config,
            identity,
            region,
            principal,
            own_users,
            own_key,
            born,
        })
    }

    /// Whether the connection lives on this user's rights.
    pub fn is_own_user(&self, name: &str) -> bool {
        // IAM does not tell names apart by case.
        self.own_users.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether the connection signs with this key.
    pub fn is_own_key(&self, id: &str) -> bool {
        self.own_key == id
    }

    /// Who the holder of these keys is.
    pub async fn identity_of(&self, id: &str, secret: &SecretText) -> Result<Identity, Failure> {
        let provider = SharedCredentialsProvider::new(keys(id, secret, None));
        let config = self.config.clone().into_builder().credentials_provider(provider).build();
        caller(&config).await
    }

    /// ARN of a thing of this account: `service` and `resource` as in `iam`, `user/*`.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        let partition = self.identity.partition();
        match service {
            "s3" => format!("arn:{partition}:s3:::{resource}"),
            _ => format!("arn:{partition}:{service}::{}:{resource}", self.identity.account),
        }
    }
}

fn keys(id: &str, secret: &SecretText, token: Option<String>) -> Keys {
    Keys::new(id, secret.expose(), token, None, "connection")
}

fn config(credentials: &Credentials, transport: Transport, keys: Keys) -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(credentials.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .retry_config(RetryConfig::disabled())
        .http_client(transport);
    config.set_endpoint_url(credentials.endpoint_url.clone());
    config.build()
}

async fn who_am_i(config: &SdkConfig) -> Result<Identity, ConnectorError> {
    caller(config).await.map_err(|failure| {
        // Everybody may ask who they are: who may not is nobody.
        // <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
        let nobody = failure.is_denied();
        let mut error = failure.read();
        if nobody {
            error.kind = ErrorKind::Unauthorised;
            "AWS does not accept the credentials: check access_key_id and \
                             secret_access_key, and that the key is active"
                .clone_into(&mut error.message);
        }
        error
    })
}

async fn caller(config: &SdkConfig) -> Result<Identity, Failure> {
    let answer = aws_sdk_sts::Client::new(config).get_caller_identity().send().await;
    let answer = answer.map_err(|error| Failure::of("sts:GetCallerIdentity", error))?;
    match (answer.account, answer.arn) {
        (Some(account), Some(arn)) => Ok(Identity { account, arn }),
        _ => Err(Failure {
            call: "sts:GetCallerIdentity",
            why: super::error::Why::Unreadable("account or ARN is missing".into()),
        }),
    }
}

async fn assume(
    config: &SdkConfig,
    role: &str,
    credentials: &Credentials,
) -> Result<Keys, ConnectorError> {
    let answer = aws_sdk_sts::Client::new(config)
        .assume_role()
        .role_arn(role)
        .role_session_name(&credentials.session_name)
        .set_external_id(credentials.external_id.clone())
        .send()
        .await
        .map_err(|error| Failure::of("sts:AssumeRole", error))
        .map_err(|failure| {
            let denied = failure.is_denied();
            let mut error = failure.read();
            if denied {
                error.message = format!(
                    "the role {role} may not be assumed: its trust policy must name the user, and \
                     external_id must be the one that it asks for"
                );
            }
            error
        })?;
    let keys = answer.credentials.ok_or_else(|| {
        let message = "AWS answered sts:AssumeRole without credentials";
        ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message)
    })?;
    let secret = SecretText::new(keys.secret_access_key);
    Ok(self::keys(&keys.access_key_id, &secret, Some(keys.session_token)))
}

/// <https://docs.aws.amazon.com/general/latest/gr/ec2-service.html>
fn ec2_endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://ec2.{region}.{suffix}/")
}

/// Whether the endpoint is a URL of a host and nothing else, and protected.
fn check_endpoint(endpoint: &str) -> Result<(), ConnectorError> {
    let wrong = |why: &str| ConnectorError::invalid(format!("endpoint {why}"));
    let uri: Uri = endpoint.parse().map_err(|_| wrong("must be a URL such as https://host"))?;
    let authority = uri.authority().ok_or_else(|| wrong("must be a URL such as https://host"))?;
    if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
        return Err(wrong("must have a host and a port, and nothing else"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") => {
            let address: Result<std::net::IpAddr, _> = bare(authority.host()).parse();
            if address.is_ok_and(|address| address.is_loopback()) {
                Ok(())
            } else {
                Err(wrong("must be https: answers contain new secret keys"))
            }
        }
        _ => Err(wrong("must be https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protected_endpoints_are_taken() {
        for good in ["https://aws.example", "https://aws.example:8443/", "http://127.0.0.1:5000"] {
            assert!(check_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://aws.example",
            "http://localhost:5000",
            "http://169.254.169.254",
            "https://user@aws.example",
            "https://aws.example/path",
            "https://aws.example/?x=1",
            "ftp://aws.example",
            "aws.example",
        ] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_are_known_by_their_arn() {
        let of = |arn: &str| Identity { account: String::new(), arn: arn.to_owned() };
        let path = of("arn:aws-cn:iam::123456789012:user/some/path/anna");
        assert_eq!((path.user(), path.partition()), (Some("anna"), "aws-cn"));
        assert_eq!(of("arn:aws:iam::123456789012:root").user(), None);
        assert_eq!(of("arn:aws:sts::123456789012:assumed-role/r/user").user(), None);
    }
}
