//! The bytes of one event in the log.
//!
//! A record is one line of JSON text, made once and never serialised again: what is stored is what
//! is hashed. Its position in the log is not in it (the position is the leaf index, RFC 9162 §2.1).
//! A record holds no secret and no personal data.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::actor::Actor;
use crate::id::StreamId;
use crate::proof::tree;
use crate::time::Timestamp;

/// `SHA-256(0x00 || record)`: the Merkle leaf hash of RFC 9162 §2.1.1.
pub type LeafHash = tree::Hash;

/// Everything of a record but its `data`, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub id: Uuid,
    pub stream: StreamId,
    /// Place in the stream, from 1.
    pub version: u64,
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema version of `data`, from 1.
    pub schema: u16,
    pub at: Timestamp,
    pub actor: Actor,
    /// The command that caused it; all events of one command share it.
    pub command: Uuid,
    /// The first command of the chain this belongs to.
    pub correlation: Uuid,
    /// The event or command that directly caused it.
    pub causation: Uuid,
}

/// One line of the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    #[serde(flatten)]
    pub header: Header,
    pub data: serde_json::Value,
}

#[derive(Debug, thiserror::Error)]
#[error("this text is not a record of the event log")]
pub struct BadRecord(#[from] serde_json::Error);

/// Writes the record text. `data` is taken over byte for byte.
pub fn encode(header: &Header, data: &RawValue) -> Result<String, BadRecord> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: Uuid,
        stream: StreamId,
        version: u64,
        #[serde(rename = "type")]
        kind: &'a str,
        schema: u16,
        at: Timestamp,
        actor: Actor,
        command: Uuid,
        correlation: Uuid,
        causation: Uuid,
        data: &'a RawValue,
    }
    Ok(serde_json::to_string(&Line {
        id: header.id,
        stream: header.stream,
        version: header.version,
        kind: &header.kind,
        schema: header.schema,
        at: header.at,
        actor: header.actor,
        command: header.command,
        correlation: header.correlation,
        causation: header.causation,
        data,
    })?)
}

/// Reads a record text.
pub fn decode(text: &str) -> Result<Record, BadRecord> {
    Ok(serde_json::from_str(text)?)
}

/// The leaf hash of a record's text.
pub fn leaf_hash(text: &str) -> LeafHash {
    tree::leaf_hash(text.as_bytes())
}
