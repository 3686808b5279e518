//! The key that the server must have. There is no trust on first use: the key is known before.

use std::sync::{Arc, Mutex, PoisonError};

use russh::Channel;
use russh::client::{self, ChannelOpenHandle, Msg};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::sdk::ConnectorError;

/// The key that the server must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    Key(Box<PublicKey>),
    Fingerprint(Fingerprint),
}

impl Pin {
    /// Reads a public key in OpenSSH's format, or a SHA-256 fingerprint.
    pub fn read(text: &str) -> Result<Self, ConnectorError> {
        let text = text.trim();
        let refused = || {
            ConnectorError::invalid(
                "host_key is neither a public key in OpenSSH's format ('ssh-ed25519 AAAA…') nor a \
                 fingerprint ('SHA256:…'); the host's own is printed there by: \
                 cat /etc/ssh/ssh_host_ed25519_key.pub",
            )
        };
        if text.starts_with("SHA256:") {
            let fingerprint: Fingerprint = text.parse().map_err(|_| refused())?;
            return Ok(Self::Fingerprint(fingerprint));
        }
        let key = PublicKey::from_openssh(text).map_err(|_| refused())?;
        Ok(Self::Key(Box::new(key)))
    }

    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Key(key) => key.fingerprint(HashAlg::Sha256),
            Self::Fingerprint(fingerprint) => *fingerprint,
        }
    }

    /// The kinds of host key to ask the server for: the one of the pinned key, so that a server with
    /// several shows that one. Never RSA with SHA-1 (RFC 8332 §1).
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let all = russh::Preferred::DEFAULT.key;
        let safe = all.iter().filter(|algorithm| **algorithm != Algorithm::Rsa { hash: None });
        let is_wanted = |algorithm: &Algorithm| match self {
            Self::Fingerprint(_) => true,
            Self::Key(key) if key.algorithm().is_rsa() => algorithm.clone().is_rsa(),
            Self::Key(key) => *algorithm == key.algorithm(),
        };
        safe.filter(|algorithm| is_wanted(algorithm)).cloned().collect()
    }

    fn is(&self, shown: &PublicKey) -> bool {
        match self {
            Self::Key(key) => key.key_data() == shown.key_data(),
            Self::Fingerprint(fingerprint) => shown.fingerprint(HashAlg::Sha256) == *fingerprint,
        }
    }
}

/// Says yes to one key, and remembers which other one was shown.
#[derive(Debug)]
pub struct Verifier {
    pub pin: Pin,
    pub other: Arc<Mutex<Option<Fingerprint>>>,
}

impl client::Handler for Verifier {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let key = shown.public_key();
        let is_it = self.pin.is(&key);
        if !is_it {
            let fingerprint = key.fingerprint(HashAlg::Sha256);
            *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        }
        Ok(is_it)
    }

    // No honest server opens a channel to a client that forwards nothing: each ends the connection.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(russh::Error::Disconnect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_key_and_its_fingerprint_are_the_same_pin() {
        let pin = Pin::read(&format!("  {KEY} root@host\n")).unwrap();
        let printed = pin.fingerprint().to_string();
        assert!(printed.starts_with("SHA256:") && printed.len() == 50, "{printed}");
        let Pin::Key(key) = &pin else { panic!("{pin:?}") };
        let by_print = Pin::read(&printed).unwrap();
        assert!(pin.is(key) && by_print.is(key));
        assert_eq!(pin.algorithms(), [Algorithm::Ed25519]);
        assert!(!by_print.algorithms().contains(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn what_is_no_pin_is_refused_with_what_to_do() {
        for text in
            ["", "SHA256:abc", "MD5:aa:bb", "yes", "ssh-ed25519 AAAA", "* ssh-ed25519 AAAAC3Nz"]
        {
            let error = Pin::read(text).expect_err(text);
            assert!(error.message.contains("ssh_host_ed25519_key.pub"), "{error}");
        }
    }
}
