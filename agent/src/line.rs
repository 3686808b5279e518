//! The agent's line to the control plane, tried anew: nothing of an earlier connection is used.
//!
//! A name is resolved, a connection opened and TLS agreed upon for each question, so that an answer says
//! that all of this works as the host is now. What is asked is the time, which the gateway tells nobody
//! without a certificate.

use std::sync::mpsc;
use std::time::Duration;

use nexplane_core::job::PollRequest;

use crate::client::{Client, ClientError};
use crate::deadman::Line;
use crate::identity::Identity;
use crate::sentence;

/// The line of one identity.
pub struct FreshLine {
    control_plane: String,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl std::fmt::Debug for FreshLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreshLine").field("to", &self.control_plane).finish_non_exhaustive()
    }
}

impl FreshLine {
    pub fn new(identity: &Identity) -> Self {
        let Identity { control_plane, ca_pem, certificate_pem, key_pem, .. } = identity;
        Self {
            control_plane: control_plane.clone(),
            ca_pem: ca_pem.clone(),
            certificate_pem: certificate_pem.clone(),
            key_pem: key_pem.clone(),
        }
    }
}

impl Line for FreshLine {
    fn reach(&self, patience: Duration) -> Result<(), String> {
        self.ask(patience, async |client| match client.time().await {
            Ok(_) => Ok(()),
            // A no is an answer: the control plane was reached, by this certificate.
            Err(ClientError::Refused { .. }) => Ok(()),
            Err(
                error @ (ClientError::Address(_)
                | ClientError::Pem(_)
                | ClientError::Tls(_)
                | ClientError::Setup(_)
                | ClientError::Unreachable(_)
                | ClientError::OutOfTime(_)
                | ClientError::TooLong { .. }
                | ClientError::Write(_)
                | ClientError::Malformed),
            ) => Err(sentence::of(&error)),
        })
    }

    fn poll(&self, request: &PollRequest, patience: Duration) -> Result<(), String> {
        let request = request.clone();
        self.ask(patience, async move |client| {
            client.poll(&request).await.map(drop).map_err(|error| sentence::of(&error))
        })
    }
}

impl FreshLine {
    /// On a thread with a runtime of its own: whoever asks may be in the middle of another one.
    fn ask(
        &self,
        patience: Duration,
        question: impl AsyncFnOnce(Client) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let Self { control_plane, ca_pem, certificate_pem, key_pem } = self;
        let client = Client::new(control_plane, ca_pem, certificate_pem, key_pem)
            .map_err(|error| sentence::of(&error))?;
        let (sender, receiver) = mpsc::channel();
        let ask = move || {
            let answer = answer(client, question, patience);
            // Nobody listens any more when it took too long.
            let _ = sender.send(answer);
        };
        std::thread::Builder::new()
            .name("line".to_owned())
            .spawn(ask)
            .map_err(|error| format!("the line could not be tried: {error}"))?;
        receiver.recv_timeout(patience).unwrap_or_else(|_| Err(no_answer(patience)))
    }
}

fn answer(
    client: Client,
    question: impl AsyncFnOnce(Client) -> Result<(), String>,
    patience: Duration,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the line could not be tried: {error}"))?;
    let answer = runtime.block_on(async { tokio::time::timeout(patience, question(client)).await });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(no_answer(patience)))
}

fn no_answer(patience: Duration) -> String {
    format!("no answer within {} ms", patience.as_millis())
}
