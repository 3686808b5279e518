//! Signatures: the agent's own, on receipts, and the dispatchers', on orders.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::job::{
    DispatcherKey, Envelope, JOB_CONTEXT, RECEIPT_CONTEXT, Receipt, SignedReceipt,
};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair,
    UnparsedPublicKey,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the private key is not a PKCS#8 P-256 key in PEM")]
    Private,
    #[error("signing failed: the machine has no randomness")]
    Signing,
}

/// The agent's certificate key: ECDSA P-256 with SHA-256.
pub struct AgentKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentKey").finish_non_exhaustive()
    }
}

impl AgentKey {
    /// # Errors
    /// [`KeyError::Private`] when the text is not a PKCS#8 P-256 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Private)?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            der.secret_pkcs8_der(),
            &random,
        )
        .map_err(|_| KeyError::Private)?;
        Ok(Self { pair, random })
    }

    /// Signs a receipt as the exact text that is sent.
    pub fn sign(&self, receipt: &Receipt) -> Result<SignedReceipt, KeyError> {
        let payload = serde_json::to_string(receipt).expect("receipts are structs of JSON values");
        let signature = self
            .pair
            .sign(&self.random, &[RECEIPT_CONTEXT, payload.as_bytes()].concat())
            .map_err(|_| KeyError::Signing)?;
        Ok(SignedReceipt { payload, signature: STANDARD.encode(signature) })
    }
}

/// True when the receipt was signed with the key of this uncompressed P-256 point.
pub fn receipt_is_authentic(receipt: &SignedReceipt, public_key: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key);
    STANDARD.decode(&receipt.signature).is_ok_and(|signature| {
        key.verify(&[RECEIPT_CONTEXT, receipt.payload.as_bytes()].concat(), &signature).is_ok()
    })
}

/// True when one of the pinned dispatchers signed the order.
pub fn order_is_authentic(envelope: &Envelope, dispatchers: &[DispatcherKey]) -> bool {
    let signed = [JOB_CONTEXT, envelope.payload.as_bytes()].concat();
    let Ok(signature) = STANDARD.decode(&envelope.signature) else { return false };
    dispatchers.iter().filter(|key| key.key_id == envelope.key_id).any(|key| {
        STANDARD.decode(&key.public_key).is_ok_and(|public| {
            UnparsedPublicKey::new(&ED25519, public).verify(&signed, &signature).is_ok()
        })
    })
}
