//! The lines of a journal.
//!
//! A line is `<checksum> <JSON>\n`; the checksum is SHA-256 over the previous line's checksum and
//! this line's JSON, so that a line can be neither changed, nor removed, nor put elsewhere.

use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{Distrusted, Envelope, RefusalCode, SignedReceipt};
use nexplane_core::plan::Fingerprint;
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::deadman::Armed;

/// One fact, durable before what follows from it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// First line of every journal: whose it is, and what an earlier, compacted file had reached.
    Opened {
        host: HostId,
        high_water: u64,
        receipts: u64,
        receipt_head: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        distrusted: Vec<Distrusted>,
    },
    /// The order passed every check and will be carried out.
    Received { job: JobId, seq: u64, at: Timestamp, envelope: Envelope },
    /// The before-state is saved; the effect may begin.
    Intent { job: JobId, at: Timestamp, before: Fingerprint },
    /// The before-state is saved, and what follows may cut the line to the control plane: unless it is
    /// confirmed in time, it is taken back.
    Armed { job: JobId, armed: Armed },
    /// The control plane was reached after the effect, over a connection made after it.
    Confirmed { job: JobId, at: Timestamp },
    /// What came of it. `trusted` is false when the order was not even authentic: then its id and
    /// sequence number mean nothing.
    Result {
        job: JobId,
        seq: u64,
        trusted: bool,
        /// SHA-256 of the order's payload, hexadecimal.
        payload_hash: String,
        /// State that an order with an effect left.
        after: Option<Fingerprint>,
        receipt: SignedReceipt,
    },
    /// The control plane has the receipt.
    Reported { job: JobId, number: u64 },
    /// Orders that were not taken for the control plane's, and got no receipt.
    Distrusted { code: RefusalCode, count: u64, last_at: Timestamp },
    /// What compaction keeps of a reported job with an effect, for undoing it.
    Done { job: JobId, seq: u64, payload_hash: String, after: Fingerprint },
}

/// Checksum of the line before the first.
pub const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The line of a record, with its end of line, and its checksum.
pub fn encode(previous: &str, record: &Record) -> (String, String) {
    let json = serde_json::to_string(record).expect("records are structs of JSON values");
    let sum = checksum(previous, json.as_bytes());
    (format!("{sum} {json}\n"), sum)
}

/// The record of a line (without its end of line), when its checksum is right.
pub fn decode(previous: &str, line: &[u8]) -> Option<(Record, String)> {
    let (sum, json) = line.split_at_checked(START.len())?;
    let json = json.strip_prefix(b" ")?;
    let expected = checksum(previous, json);
    if sum != expected.as_bytes() {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, expected))
}

fn checksum(previous: &str, json: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"nexplane journal v1\0");
    hash.update(previous.as_bytes());
    hash.update(json);
    hex::encode(hash.finalize())
}
