//! One connection to the server, from the egress guard to the greeting.

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, ServerError, Value,
};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::credentials::Credentials;
use super::error::{after_change, changing, greeting, not_understood, reading};
use super::target::UserName;
use crate::sdk::tls::{Verify, client_config, handshake};
use crate::sdk::{Advice, ConnectorError, ErrorKind, OpenContext, SecretText};

/// A command of several words.
pub fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

/// What a server says of itself in its answer to `HELLO`, which every user may ask for.
/// <https://redis.io/docs/latest/commands/hello/>
#[derive(Clone, Debug)]
pub struct Greeting {
    /// `redis` or `valkey`.
    pub server: String,
    /// Such as `7.0.15`.
    pub version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// `master` or `replica`.
    pub role: String,
}

impl Greeting {
    pub fn is_primary(&self) -> bool {
        self.role == "master"
    }

    pub fn is_cluster(&self) -> bool {
        self.mode == "cluster"
    }

    /// Whether it has commands with subcommands in its rules, and `ACL DRYRUN`: Redis 7.0 and later, every
    /// Valkey.
    fn is_supported(&self) -> bool {
        let major = self.version.split('.').next().and_then(|text| text.parse::<u32>().ok());
        major.is_some_and(|major| major >= 7)
    }
}

/// Everything that is needed to connect once more.
pub struct Way {
    pub cx: OpenContext,
    pub credentials: Credentials,
    tls: Option<ClientConfig>,
}

impl Way {
    /// Errors: `Invalid`, for certificates that cannot be read or are of no use without TLS.
    pub fn try_new(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let ca = credentials.ca_certificate.as_deref();
        if !credentials.tls && ca.is_some() {
            let message = "ca_certificate has no effect without TLS: switch tls on";
            return Err(ConnectorError::invalid(message));
        }
        let tls = credentials.tls.then(|| client_config(Verify::Full, ca)).transpose()?;
        Ok(Self { cx: cx.clone(), credentials, tls })
    }

    /// A connection of the connection's own user.
    pub async fn connect(&self) -> Result<Connection, ConnectorError> {
        // To a user that needs none, every password is right.
        let none = SecretText::new(String::new());
        let password = self.credentials.password.as_ref().unwrap_or(&none);
        self.log_in(&self.credentials.username, password).await
    }

    /// A connection of any user: a login, over the same way.
    pub async fn log_in(
        &self,
        user: &UserName,
        password: &SecretText,
    ) -> Result<Connection, ConnectorError> {
        let host = &self.credentials.host;
        let stream = self.cx.egress.connect(host, self.credentials.port).await?;
        // Small messages back and forth; a failure only costs speed.
        drop(stream.set_nodelay(true));
        match &self.tls {
            Some(tls) => {
                // A server without TLS waits for a line that never comes. We say so before our time is over.
                let limit = self.cx.call_timeout * 2 / 3;
                let shaken = tokio::time::timeout(limit, handshake(stream, host, tls.clone()));
                let stream = shaken.await.map_err(|_| {
                    let message = "the server does not answer to TLS: is it the port with TLS?";
                    ConnectorError::new(ErrorKind::Timeout, Advice::Later, message)
                })??;
                Connection::greet(stream, user, password).await
            }
            None => Connection::greet(stream, user, password).await,
        }
    }
}

/// One connection. Ends when it is dropped.
pub struct Connection {
    inner: MultiplexedConnection,
    pub greeting: Greeting,
    /// What moves its bytes. Left alone it would wait for an answer that never comes.
    _driver: Driver,
}

/// A task that ends with the value.
struct Driver(tokio::task::AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    async fn greet<S>(
        stream: S,
        user: &UserName,
        password: &SecretText,
    ) -> Result<Self, ConnectorError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Our own layer has the time limits.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (mut inner, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(reading)?;
        let driver = Driver(tokio::spawn(driver).abort_handle());
        let mut hello = command(&["HELLO", "2", "AUTH", user.as_str()]);
        hello.arg(password.expose()).arg("SETNAME").arg("nexplane");
        let answer: Value = hello.query_async(&mut inner).await.map_err(greeting)?;
        let pairs: Vec<(String, Value)> = pairs(answer)?;
        let text = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.and_then(|(_, value)| value_text(value)).unwrap_or_default()
        };
        let said = Greeting {
            server: text("server"),
            version: text("version"),
            mode: text("mode"),
            role: text("role"),
        };
        if said.version.is_empty() || said.role.is_empty() && said.mode != "sentinel" {
            let message = "what answers there is not a Redis server";
            return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
        }
        if said.mode == "sentinel" {
            return Err(ConnectorError::invalid(
                "this is a Sentinel: connect to the Redis server that it watches",
            ));
        }
        if !said.is_supported() {
            return Err(ConnectorError::invalid(format!(
                "the server is {} {}: Redis 7.0 or later is needed",
                said.server, said.version
            )));
        }
        Ok(Self { inner, greeting: said, _driver: driver })
    }

    /// Asks for something. Errors promise that nothing was changed.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, ConnectorError> {
        command(words).query_async(&mut self.inner.clone()).await.map_err(reading)
    }

    /// The same, without the answer's own words in the error: it may quote secrets.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, ConnectorError> {
        command.query_async(&mut self.inner.clone()).await.map_err(reading)
    }

    /// Changes something. Unless the server said no, an error leaves open whether it happened.
    pub async fn change<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, ConnectorError> {
        command.query_async(&mut self.inner.clone()).await.map_err(changing)
    }

    /// Commands in one `MULTI`: nobody else's command runs in between. The answer of each, errors included,
    /// because Redis runs the rest of a `MULTI` all the same.
    pub async fn atomically(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, ConnectorError> {
        let mut pipeline = ::redis::pipe();
        pipeline.atomic().ignore_errors();
        let count = commands.len();
        for command in commands {
            pipeline.add_command(command);
        }
        let answer: Value =
            pipeline.query_async(&mut self.inner.clone()).await.map_err(|error| {
                // Without a MULTI the commands run one by one, whatever is said about it.
                let refused = error.clone().into_server_errors().unwrap_or_default();
                let is_open = refused.iter().any(|(index, _)| *index >= count);
                let answer = changing(error);
                if is_open { after_change(answer) } else { answer }
            })?;
        let Value::Array(answers) = answer else { return Err(not_understood()) };
        Ok(answers)
    }

    /// Questions that are sent at once: the answer of each, errors included.
    pub async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, ConnectorError> {
        let mut pipeline = ::redis::pipe();
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.query_async(&mut self.inner.clone()).await.map_err(reading)
    }
}

/// Whether a command in a `MULTI` was done. Errors: the server's answer, when it said no to this one.
pub fn done(answer: &Value) -> Result<(), &ServerError> {
    if let Value::ServerError(error) = answer { Err(error) } else { Ok(()) }
}

/// A value as its type. Errors: `Unexpected`.
pub fn decode<T: FromRedisValue>(value: Value) -> Result<T, ConnectorError> {
    ::redis::from_redis_value(value).map_err(|error| {
        let message = "the server's answer was not understood";
        ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message).because(error)
    })
}

/// A list of names and values, as protocol version 2 has it.
pub fn pairs(value: Value) -> Result<Vec<(String, Value)>, ConnectorError> {
    let items: Vec<Value> = decode(value)?;
    let mut found = Vec::new();
    let mut items = items.into_iter();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        found.push((decode(name)?, value));
    }
    Ok(found)
}

fn value_text(value: &Value) -> Option<String> {
    ::redis::from_redis_value(value.clone()).ok()
}
