//! A small client of the API, for the commands.

use anyhow::Context as _;
use nexplane_core::api::Problem;
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// How to reach a server, and as whom.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// Address of the server.
    #[arg(long, env = "NEXPLANE_SERVER", default_value = "http://127.0.0.1:8000", global = true)]
    pub server: String,

    /// File with an API token; better than the environment, which other processes may see.
    #[arg(long, env = "NEXPLANE_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<std::path::PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// Why a request has no result; decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no.
    #[error("{} ({}, trace {})", .0.detail, .0.code, .0.trace_id)]
    Refused(Box<Problem>),
    #[error("cannot reach the server; is it running, and is --server right?")]
    Unreachable(#[source] reqwest::Error),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Client {
    pub fn new(server: &Server) -> anyhow::Result<Self> {
        let token = match (&server.token_file, std::env::var("NEXPLANE_TOKEN")) {
            (Some(path), _) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token file {}", path.display()))?,
            (None, Ok(token)) => token,
            (None, Err(_)) => anyhow::bail!(
                "there is no token: set NEXPLANE_TOKEN or --token-file; \
                 'nexplane token create --email YOU --name laptop' makes one"
            ),
        };
        Self::with(&server.server, &token)
    }

    pub fn with(server: &str, token: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(10))
            // Planning for thousands of targets takes minutes.
            .timeout(std::time::Duration::from_mins(10))
            .build()?;
        let base = server.trim_end_matches('/').to_owned();
        Ok(Self { http, base, token: token.trim().to_owned() })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send::<(), T>(Method::GET, path, None).await
    }

    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn patch<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// For what is answered without a body.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        let url = format!("{}/api/v1{path}", self.base);
        let request = self.http.delete(url).bearer_auth(&self.token);
        let response = request.send().await.map_err(ClientError::Unreachable)?;
        if response.status().is_success() {
            return Ok(());
        }
        read(response).await
    }

    async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = self.http.request(method, url);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.header("Idempotency-Key", Uuid::now_v7().to_string()).json(body);
        }
        let response = request.send().await.map_err(ClientError::Unreachable)?;
        read(response).await
    }

    /// The address of the live WebSocket, and the token for its handshake.
    pub fn live(&self) -> (String, &str) {
        let base = self.base.replacen("http", "ws", 1);
        (format!("{base}/api/v1/live"), &self.token)
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    if response.status().is_success() {
        let body = response.json().await.context("the server's answer cannot be read")?;
        return Ok(body);
    }
    let status = response.status();
    match response.json::<Problem>().await {
        Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
        Err(_) => {
            Err(anyhow::anyhow!("the server answered {status}; is that a Nexplane server?").into())
        }
    }
}
