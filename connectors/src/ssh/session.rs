//! An authenticated connection, and commands over it.
//!
//! Commands of one session run one after the other, and one that was begun is seen to its end even when
//! nobody waits for it any more: the next one, which reads what became of it, is not begun before. One that
//! does not end in time may go on for ever on the host, so the session ends with it, and begins no other.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexplane_agent::host::package::redacted;
use russh::client::{self, AuthResult, Handle};
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{ChannelMsg, Disconnect, Preferred};
use zeroize::Zeroizing;

use super::command::{Command, NOT_BEGUN};
use super::complaints::{Complaints, is_locked, is_needed, is_refusal};
use super::credentials::{Credentials, Sudo};
use super::error::{self, Stage};
use super::host_key::{Pin, Verifier};
use crate::sdk::{Advice, ConnectorError, ErrorKind, OpenContext, SecretText};

/// Most that a command may print: more is an error, except after an effect.
pub const MOST: usize = 8 * 1024 * 1024;
/// Bytes of a command line, at most.
const LONGEST_LINE: usize = 100 * 1024;
/// A command is given up before the time of the call that it is a part of is over, so that it is we who say
/// what became of it: by an eighth of that time, but no more than this.
const MARGIN: Duration = Duration::from_secs(2);
/// How long taking leave of the server may take.
const LEAVE: Duration = Duration::from_secs(1);
/// How long the server may think about a password. One that has expired it would have changed at once (RFC 4252
/// §8), and the library says nothing of that request; other refusals take a few seconds at most.
const LOGIN: Duration = Duration::from_secs(10);

/// An open session, or a part of it.
#[derive(Clone, Debug)]
pub struct Session {
    line: Arc<Line>,
    /// Nobody waits for this part any more, so it begins no other command.
    given_up: Arc<AtomicBool>,
    /// The account's own name.
    pub username: String,
    /// The account's own number.
    pub uid: u32,
    pub sudo: bool,
    pub address: String,
    /// How long a command that reads may take.
    reading: Duration,
}

struct Line {
    handle: Handle<Verifier>,
    turn: Arc<tokio::sync::Mutex<Turn>>,
}

/// Whose it is may run a command.
#[derive(Debug, Default)]
struct Turn {
    /// A command may still be running on the host, so no other is begun.
    is_over: bool,
}

impl Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// What a command that ended left.
#[derive(Debug)]
pub struct Answer {
    pub status: u32,
    pub output: Zeroizing<Vec<u8>>,
    /// What it complained of, its beginning and its end.
    pub errors: String,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// What it printed. Nothing that we read is anything but UTF-8, except names in comments.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(&self.output).into_owned())
    }
}

impl Session {
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let pin = Pin::read(&credentials.host_key)?;
        let proof = Proof::of(&credentials)?;
        let stream = cx.egress.connect(&credentials.host, credentials.port).await?;
        // Commands are small messages that wait for each other's answers.
        stream.set_nodelay(true).map_err(|source| {
            let message = "the connection broke at once";
            ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message).because(source)
        })?;
        let config = client::Config {
            preferred: Preferred { key: pin.algorithms().into(), ..Preferred::DEFAULT },
            inactivity_timeout: None,
            keepalive_interval: Some(Duration::from_secs(10)),
            keepalive_max: 3,
            ..client::Config::default()
        };
        let other = Arc::new(Mutex::new(None));
        let verifier = Verifier { pin: pin.clone(), other: Arc::clone(&other) };
        let opened = client::connect_stream(Arc::new(config), stream, verifier).await;
        let mut handle = opened.map_err(|source| {
            let shown = *other.lock().unwrap_or_else(PoisonError::into_inner);
            match shown {
                Some(shown) => error::other_host_key(pin.fingerprint(), shown).because(source),
                None => error::of(source, Stage::Opening),
            }
        })?;
        let name = credentials.username.as_str();
        match proof {
            Proof::Key(key, certificate) => {
                authenticate(&mut handle, name, key, certificate.map(|it| *it)).await?;
            }
            Proof::Password(password) => log_in(&mut handle, name, &password).await?,
        }
        let turn = Arc::default();
        let mut session = Self {
            line: Arc::new(Line { handle, turn }),
            given_up: Arc::default(),
            username: name.to_owned(),
            uid: u32::MAX,
            sudo: credentials.sudo == Sudo::Passwordless,
            address: credentials.host,
            reading: cx.call_timeout,
        };
        session.uid = session.own_id().await?;
        Ok(session)
    }

    /// Also the question whether commands can be run at all.
    async fn own_id(&self) -> Result<u32, ConnectorError> {
        let answer = self.ask(&Command::OwnId).await?;
        let text = answer.text();
        text.trim().parse().map_err(|_| {
            let (said, errors) = (text.trim(), &answer.errors);
            let message = format!(
                "the account cannot run commands: '/usr/bin/id -u' ended with {} and said '{said}' {errors}; it \
                 needs a POSIX shell and no forced command",
                answer.status
            );
            ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
        })
    }

    /// The same line, for work on another thread, until [`Session::give_up`].
    #[must_use]
    pub fn part(&self) -> Self {
        Self { given_up: Arc::default(), ..self.clone() }
    }

    /// From now on this part begins no other command; one that was begun is seen to its end.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    /// Whether what is done needs no other account's leave.
    pub const fn is_root(&self) -> bool {
        self.uid == 0 || self.sudo
    }

    /// How long a call may take that only reads.
    pub const fn reading(&self) -> Duration {
        self.reading
    }

    /// Runs a command that only reads; whatever its exit status is.
    pub async fn ask(&self, command: &Command<'_>) -> Result<Answer, ConnectorError> {
        self.run(command, self.reading).await
    }

    /// The same within a shorter time.
    pub async fn ask_within(
        &self,
        command: &Command<'_>,
        limit: Duration,
    ) -> Result<Answer, ConnectorError> {
        self.run(command, limit.min(self.reading)).await
    }

    /// Runs one that has to end well, and gives what it printed.
    pub async fn read(&self, command: &Command<'_>) -> Result<Zeroizing<String>, ConnectorError> {
        self.read_within(command, self.reading).await
    }

    /// The same for one that may take as long as the call that it is a part of.
    pub async fn read_within(
        &self,
        command: &Command<'_>,
        limit: Duration,
    ) -> Result<Zeroizing<String>, ConnectorError> {
        let answer = self.run(command, limit).await?;
        if answer.ok() { Ok(answer.text()) } else { Err(self.failed(command, &answer)) }
    }

    /// Runs a command with an effect; `limit` is that of the call that it is a part of.
    pub async fn change(
        &self,
        command: &Command<'_>,
        limit: Duration,
    ) -> Result<(), ConnectorError> {
        if command.needs_root() && !self.is_root() && !command.is_for_owners() {
            return Err(self.forbidden(command));
        }
        let answer = self.run(command, limit).await?;
        if answer.ok() { Ok(()) } else { Err(self.failed(command, &answer)) }
    }

    /// Whether the account may start what the command starts.
    pub async fn may(&self, command: &Command<'_>) -> Result<bool, ConnectorError> {
        if self.uid == 0 || !command.needs_root() {
            return Ok(true);
        }
        if !self.sudo {
            return Ok(false);
        }
        self.ask(&Command::MayStart(command)).await.map(|answer| answer.ok())
    }

    /// The rules that sudo has for the account, as it lists them; none where they are not asked.
    pub async fn rules(&self) -> Result<Option<Zeroizing<String>>, ConnectorError> {
        if self.uid == 0 || !self.sudo {
            return Ok(None);
        }
        self.ask(&Command::Rules).await.map(|answer| answer.ok().then(|| answer.text()))
    }

    /// What a person has to do so that the account may.
    pub fn how_to_allow(&self, command: &Command<'_>) -> String {
        let (user, program) = (&self.username, command.for_sudoers());
        if self.sudo {
            format!("as root put a rule into /etc/sudoers.d: {user} ALL=(root) NOPASSWD: {program}")
        } else {
            format!(
                "as root put a rule into /etc/sudoers.d: {user} ALL=(root) NOPASSWD: {program}, and set sudo \
                 of the connection to 'passwordless'"
            )
        }
    }

    fn forbidden(&self, command: &Command<'_>) -> ConnectorError {
        let (user, program) = (&self.username, command.called());
        let message = format!(
            "{user} may not run {program} as root; nothing was changed; {}",
            self.how_to_allow(command)
        );
        ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
    }

    pub fn failed(&self, command: &Command<'_>, answer: &Answer) -> ConnectorError {
        // Exit status 1 is sudo's no as well as many a program's.
        if self.sudo && command.needs_root() && answer.status == 1 && is_refusal(&answer.errors) {
            return self.forbidden(command);
        }
        let program = command.called();
        // `env(1)` and `sudo(8)` of a program that is not there.
        if answer.status == 127 {
            let message = format!("there is no {program} on the host");
            return ConnectorError::new(ErrorKind::NotFound, Advice::Never, message);
        }
        let status = answer.status;
        let errors = answer.errors.trim().lines().map(redacted).collect::<Vec<_>>().join("\n");
        if command.goes_on() && status == NOT_BEGUN {
            let message = format!(
                "{program} was not started, because the account could not make a temporary file; nothing was changed: \
                 {errors}"
            );
            return ConnectorError::new(ErrorKind::Conflict, Advice::Later, message);
        }
        if command.is_of_packages() && is_locked(&errors) {
            let message = format!(
                "another package manager is at work on the host; nothing was changed: wait until it is done: {errors}"
            );
            return ConnectorError::new(ErrorKind::Conflict, Advice::Later, message);
        }
        if command.is_of_packages() && is_needed(&errors) {
            return ConnectorError::conflict(format!(
                "another package needs what would go by now; nothing was changed: plan again: {errors}"
            ));
        }
        let message = format!("{program} ended with exit status {status}: {errors}");
        if !command.is_effect() {
            return ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message);
        }
        // From 128 on it is a signal that ended it, wherever it was.
        if command.is_atomic() && status < 128 {
            let message = format!("{message}; nothing was changed");
            return ConnectorError::new(ErrorKind::Conflict, Advice::Later, message);
        }
        ConnectorError::new(ErrorKind::Unexpected, Advice::OutcomeUnknown, message)
    }

    async fn run(&self, command: &Command<'_>, limit: Duration) -> Result<Answer, ConnectorError> {
        let (line, text, input) =
            (Arc::clone(&self.line), command.line(self.sudo && self.uid != 0), command.input());
        // OpenSSH hangs up on packets of 256 KiB, and the kernel takes no longer argument than 128 KiB.
        if text.len() > LONGEST_LINE {
            let message = "the command would be too long: the path has too many parts";
            return Err(ConnectorError::invalid(message));
        }
        let mut turn = Arc::clone(&self.line.turn).lock_owned().await;
        if turn.is_over {
            let message = "the session ended when a command did not end in time; nothing was run: open another";
            return Err(ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message));
        }
        if self.given_up.load(Ordering::SeqCst) {
            let message = "nobody waits for it any more; nothing was run";
            return Err(ConnectorError::new(ErrorKind::Timeout, Advice::Later, message));
        }
        let is_effect = command.is_effect();
        let limit = limit.saturating_sub(MARGIN.min(limit / 8));
        // A task of its own goes on when the caller stops waiting.
        let work = tokio::spawn(async move {
            if let Ok(done) = tokio::time::timeout(limit, line.exec(text, input, is_effect)).await {
                return done;
            }
            turn.is_over = true;
            let why = "a command did not end in time";
            let leave = line.handle.disconnect(Disconnect::ByApplication, why, "en");
            // It is the same for us whether the server hears of it.
            drop(tokio::time::timeout(LEAVE, leave).await);
            let advice = if is_effect { Advice::OutcomeUnknown } else { Advice::Later };
            let message = format!(
                "the command did not end within {} s, and may still be running on the host; the session was ended",
                limit.as_secs_f32()
            );
            Err(ConnectorError::new(ErrorKind::Timeout, advice, message))
        });
        work.await.unwrap_or_else(|source| {
            let advice = if is_effect { Advice::OutcomeUnknown } else { Advice::Later };
            let message = "the task that runs commands ended";
            Err(ConnectorError::new(ErrorKind::Unexpected, advice, message).because(source))
        })
    }
}

impl Line {
    async fn exec(
        &self,
        command: String,
        input: Option<Zeroizing<Vec<u8>>>,
        is_effect: bool,
    ) -> Result<Answer, ConnectorError> {
        let before = |source| error::of(source, Stage::Before);
        let under_way = if is_effect { Stage::Effect } else { Stage::Reading };
        let after = |source| error::of(source, under_way);
        let mut channel = self.handle.channel_open_session().await.map_err(before)?;
        // From here on nobody knows what arrives.
        channel.exec(true, command).await.map_err(after)?;
        if let Some(input) = input {
            channel.data(input.as_slice()).await.map_err(after)?;
        }
        channel.eof().await.map_err(after)?;
        let (mut output, mut errors) = (Zeroizing::new(Vec::new()), Complaints::default());
        let (mut status, mut ended_by) = (None, None);
        while let Some(message) = channel.wait().await {
            // What else can be said is for servers, or says nothing of the command.
            if let ChannelMsg::Data { data } = &message {
                if output.len() + data.len() <= MOST {
                    output.extend_from_slice(data);
                } else if !is_effect {
                    let message = format!("a command printed more than {MOST} bytes");
                    return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
                }
            } else if let ChannelMsg::ExtendedData { data, .. } = &message {
                errors.add(data);
            } else if let ChannelMsg::ExitStatus { exit_status } = message {
                status = Some(exit_status);
            } else if let ChannelMsg::ExitSignal { signal_name, .. } = &message {
                ended_by = Some(format!("{signal_name:?}"));
            } else if matches!(message, ChannelMsg::Failure) {
                let message = "the server does not let the account run commands; nothing was run";
                return Err(ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message));
            }
        }
        let errors = errors.text();
        match (status, ended_by) {
            (Some(status), _) => Ok(Answer { status, output, errors }),
            (None, Some(signal)) => {
                let advice = if is_effect { Advice::OutcomeUnknown } else { Advice::Later };
                let message = format!("the command was ended by a signal ({signal})");
                Err(ConnectorError::new(ErrorKind::Unexpected, advice, message))
            }
            (None, None) => Err(after(russh::Error::Disconnect)),
        }
    }
}

fn private_key(
    text: &SecretText,
    passphrase: Option<&SecretText>,
) -> Result<Arc<PrivateKey>, ConnectorError> {
    // Forms take the last line break away, without which it is no PEM.
    let pem = Zeroizing::new(format!("{}\n", text.expose().trim()));
    let key = PrivateKey::from_openssh(pem.as_bytes()).map_err(|_| {
        ConnectorError::invalid(
            "private_key is not a private key in OpenSSH's format (it begins with '-----BEGIN OPENSSH \
             PRIVATE KEY-----'); another format is converted by: ssh-keygen -p -f <file>",
        )
    })?;
    let key = match (key.is_encrypted(), passphrase) {
        (false, _) => key,
        (true, None) => {
            return Err(ConnectorError::invalid("private_key has a passphrase: give it"));
        }
        (true, Some(passphrase)) => key.decrypt(passphrase.expose().as_bytes()).map_err(|_| {
            let message = "the passphrase does not open private_key";
            ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message)
        })?,
    };
    Ok(Arc::new(key))
}

fn certificate(text: &str) -> Result<Certificate, ConnectorError> {
    Certificate::from_openssh(text.trim()).map_err(|_| {
        ConnectorError::invalid(
            "certificate is not a user certificate in OpenSSH's format (the content of a file such as \
             id_ed25519-cert.pub)",
        )
    })
}

/// How we show who we are.
enum Proof {
    Key(Arc<PrivateKey>, Option<Box<Certificate>>),
    Password(SecretText),
}

impl Proof {
    fn of(credentials: &Credentials) -> Result<Self, ConnectorError> {
        let Credentials { private_key: key, password, passphrase, certificate: paper, .. } =
            credentials;
        match (key, password) {
            (Some(key), None) => {
                let key = private_key(key, passphrase.as_ref())?;
                let paper = paper.as_deref().map(certificate).transpose()?;
                if paper.as_ref().is_some_and(|it| it.public_key() != key.public_key().key_data()) {
                    let message = "the certificate is for another key than private_key";
                    return Err(ConnectorError::invalid(message));
                }
                Ok(Self::Key(key, paper.map(Box::new)))
            }
            (None, Some(password)) if passphrase.is_none() && paper.is_none() => {
                Ok(Self::Password(password.clone()))
            }
            (None, Some(_)) => Err(ConnectorError::invalid(
                "passphrase and certificate belong to a private_key, not to a password",
            )),
            (Some(_), Some(_)) | (None, None) => {
                Err(ConnectorError::invalid("give either private_key or password"))
            }
        }
    }
}

/// A login with a password, to the server whose key was pinned.
async fn log_in(
    handle: &mut Handle<Verifier>,
    user: &str,
    password: &SecretText,
) -> Result<(), ConnectorError> {
    let opening = |source| error::of(source, Stage::Opening);
    let answer = handle.authenticate_password(user, password.expose());
    let Ok(answer) = tokio::time::timeout(LOGIN, answer).await else {
        let message = format!(
            "the server did not say within {} s whether it takes the password of {user}: it may have expired, so that \
             the server asks for another; log in by hand once, and change it",
            LOGIN.as_secs()
        );
        return Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message));
    };
    let said = match answer.map_err(opening)? {
        AuthResult::Success => return Ok(()),
        AuthResult::Failure { partial_success: true, .. } => {
            "takes it, but asks for something else besides, which is not supported"
        }
        AuthResult::Failure { partial_success: false, .. } => {
            "refused it: check it, and PasswordAuthentication in sshd_config"
        }
    };
    let message = format!("the server does not let {user} in with the password: it {said}");
    Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message))
}

async fn authenticate(
    handle: &mut Handle<Verifier>,
    user: &str,
    key: Arc<PrivateKey>,
    certificate: Option<Certificate>,
) -> Result<(), ConnectorError> {
    let opening = |source| error::of(source, Stage::Opening);
    let print = key.fingerprint(HashAlg::Sha256);
    let with = if certificate.is_some() { "certificate of the key" } else { "key" };
    let answer = match certificate {
        Some(certificate) => handle.authenticate_openssh_cert(user, key, certificate).await,
        None => {
            let hash = if key.algorithm().is_rsa() {
                let best = handle.best_supported_rsa_hash().await.map_err(opening)?;
                // Never SHA-1 (RFC 8332 §1), whatever the server says.
                Some(best.flatten().unwrap_or(HashAlg::Sha512))
            } else {
                None
            };
            handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, hash)).await
        }
    };
    let said = match answer.map_err(opening)? {
        AuthResult::Success => return Ok(()),
        AuthResult::Failure { partial_success: true, .. } => {
            "takes the key, but asks for something else besides, which is not supported"
        }
        AuthResult::Failure { partial_success: false, .. } => "refused it",
    };
    let message = format!(
        "the server does not let {user} in with the {with} {print}: it {said}; the key belongs into \
         ~{user}/.ssh/authorized_keys, or the certificate's CA into TrustedUserCAKeys"
    );
    Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message))
}
