//! A witness: somebody else's machine that signs what a log has shown it, and never two histories.
//!
//! It speaks [C2SP tlog-witness](https://c2sp.org/tlog-witness): a log sends its newest checkpoint and
//! the proof that it continues the one that the witness knows; the witness cosigns it. What it last
//! signed of a log is on its disk before anybody has the signature. It knows nothing of what the log
//! is about, needs no database and no access to one, and is meant to run where the log's
//! administrators have no rights: a log that two histories were shown of then needs both.
//!
//! Deliberately absent: fetching from logs (they come to it), TLS (a proxy does that; what goes over
//! the line is signed), and forgetting a log.

mod client;
mod memory;
mod serve;

use nexplane_core::proof::note::{BadKey, SignatureType, Signer, VerifierKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

pub use client::{Witnesses, WitnessesError};
pub use memory::{Memory, MemoryError, Verdict};
pub use serve::{Witness, router};

/// A witness's key.
pub struct WitnessKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl std::fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WitnessKey")
            .field("verifier", &self.verifier.to_string())
            .finish_non_exhaustive()
    }
}

impl WitnessKey {
    /// A new key, as it is kept: PKCS #8.
    pub fn generate() -> Option<Vec<u8>> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(pkcs8.as_ref().to_vec())
    }

    pub fn from_pkcs8(pkcs8: &[u8], name: &str) -> Result<Option<Self>, BadKey> {
        let Ok(pair) = Ed25519KeyPair::from_pkcs8(pkcs8) else { return Ok(None) };
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        let verifier = VerifierKey::try_new(name, SignatureType::CosignatureV1, &public)?;
        Ok(Some(Self { pair, verifier }))
    }

    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }
}

impl Signer for WitnessKey {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}
