//! Published vectors and refusals. What holds for all trees is in `core/tests/proof`.

mod bundle;
#[cfg(feature = "proof")]
mod checkpoint;
#[cfg(feature = "proof")]
mod event;
#[cfg(feature = "proof")]
mod note;
mod tile;
mod tree;
#[cfg(feature = "proof")]
mod witness;

/// A key pair made from a seed.
#[cfg(feature = "proof")]
struct Pair(ed25519_dalek::SigningKey);

#[cfg(feature = "proof")]
impl Pair {
    fn from_seed(seed: u8) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    fn key(&self, name: &str, kind: super::note::SignatureType) -> super::note::VerifierKey {
        super::note::VerifierKey::try_new(name, kind, self.0.verifying_key().as_bytes())
            .expect("a key made from a seed is a key")
    }
}

#[cfg(feature = "proof")]
impl super::note::Signer for Pair {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        ed25519_dalek::Signer::sign(&self.0, message).to_bytes()
    }
}
