//! AWS, played by moto and by ministack: neither is AWS, and they are wrong in different places, so it is for
//! each test to say which one it needs.
//!
//! | | moto 5 | ministack 1 |
//! |---|---|---|
//! | signatures | checked | checked |
//! | policies | by action, for users | by action and resource |
//! | `DryRun` | as EC2 | ignored: it stops the instance |
//! | CreateSnapshots | yes | no |
//! | SimulatePrincipalPolicy | ours, out of moto's reading of policies (`moto.py`) | yes |
//! | keys that are inactive | work | refused |
//!
//! Both are shared by all tests of a run and listen on 127.0.0.1 only. A test makes users, buckets and
//! instances of its own.

use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{PeerError, cached, free_port, healthy, password, run};

const MOTO: &str = include_str!("moto.py");
const START_WITHIN: Duration = Duration::from_mins(1);

/// A running stand-in, and an account that may do everything there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Aws {
    pub port: u16,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Aws {
    /// Where it answers for all of AWS.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// moto, which checks signatures and policies from the first request that a test can make.
pub async fn moto() -> Result<Aws, PeerError> {
    run::join("moto", async |nursery| {
        let program = cached("moto/bin/python", "moto")?;
        let port = free_port()?;
        let log = nursery.spawn(
            "moto",
            Command::new(program)
                .args(["-c", MOTO, "-H", "127.0.0.1", "-p", &port.to_string()])
                .env_clear()
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("HOME", &nursery.folder)
                .env("TMPDIR", &nursery.folder)
                // The three requests of `first_user` are from nobody.
                .env("INITIAL_NO_AUTH_ACTION_COUNT", "3")
                .current_dir(&nursery.folder),
        )?;
        healthy("moto", &log, START_WITHIN, async || {
            get(port, "/moto-api/data.json").await.is_ok()
        })
        .await?;
        let (access_key_id, secret_access_key) = first_user(port).await?;
        Ok(Aws { port, access_key_id, secret_access_key })
    })
    .await
}

/// ministack, which checks signatures and policies.
pub async fn ministack() -> Result<Aws, PeerError> {
    run::join("ministack", async |nursery| {
        let program = cached("ministack/bin/ministack", "ministack")?;
        let port = free_port()?;
        let id = password().to_uppercase();
        let aws = Aws {
            port,
            access_key_id: format!("AKIA{}", id.get(..16).unwrap_or(&id)),
            secret_access_key: password(),
        };
        let log = nursery.spawn(
            "ministack",
            Command::new(program)
                .env_clear()
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("HOME", &nursery.folder)
                .env("TMPDIR", &nursery.folder)
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("AUTH", "true")
                .env("AWS_ACCESS_KEY_ID", &aws.access_key_id)
                .env("AWS_SECRET_ACCESS_KEY", &aws.secret_access_key)
                .current_dir(&nursery.folder),
        )?;
        healthy("ministack", &log, START_WITHIN, async || {
            get(port, "/_localstack/health").await.is_ok()
        })
        .await?;
        Ok(aws)
    })
    .await
}

/// Makes a user of moto that may do everything: id and secret of its key.
async fn first_user(port: u16) -> Result<(String, String), PeerError> {
    let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
                  %22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
    call(port, "Action=CreateUser&UserName=first").await?;
    let put = format!("Action=PutUserPolicy&UserName=first&PolicyName=all&PolicyDocument={policy}");
    call(port, &put).await?;
    let answer = call(port, "Action=CreateAccessKey&UserName=first").await?;
    let part = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    };
    let keys = part("AccessKeyId").zip(part("SecretAccessKey"));
    keys.ok_or_else(|| PeerError::Other(format!("moto made no key: {answer}")))
}

async fn call(port: u16, form: &str) -> Result<String, PeerError> {
    let body = format!("{form}&Version=2010-05-08");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: iam.amazonaws.com\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/iam/aws4_request, \
         SignedHeaders=host, Signature=none\r\n\r\n{body}",
        body.len()
    );
    exchange(port, &request).await
}

async fn get(port: u16, path: &str) -> Result<String, PeerError> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    exchange(port, &request).await
}

async fn exchange(port: u16, request: &str) -> Result<String, PeerError> {
    let attempt = || PeerError::io("ask a stand-in of AWS");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(attempt())?;
    stream.write_all(request.as_bytes()).await.map_err(attempt())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(attempt())?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(answer)
    } else {
        Err(PeerError::Other(format!("a stand-in of AWS answered: {answer}")))
    }
}
