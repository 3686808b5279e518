//! What the agent has promised and done, on disk before it matters.
//!
//! An append-only file of checksummed, chained lines, each durable (`fdatasync`) before
//! [`Journal::append`] returns. It answers a repeated order, tells after a crash what was begun,
//! numbers the receipts, and keeps the state that each effect left, without which it cannot be
//! undone. It can be read with `less`.
//!
//! A last line that a crash cut off is dropped: nothing was done yet on the strength of it. Any other
//! damage is an error: an agent that does not know what it did does not go on by itself.

mod medium;
mod record;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{Distrusted, Envelope, JobResult, Receipt, RefusalCode, SignedReceipt};
use nexplane_core::plan::Fingerprint;
use nexplane_core::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::deadman::Armed;
use medium::Medium;
pub use record::Record;

/// A journal larger than this is compacted when it is opened.
pub const COMPACT_ABOVE: u64 = 16 * 1024 * 1024;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("could not {attempt} the journal {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the journal {path} is damaged in line {line}: what was done before cannot be known")]
    Damaged { path: PathBuf, line: u64 },
    #[error("the journal {path} belongs to host {found}, not to {expected}")]
    OfAnotherHost { path: PathBuf, found: HostId, expected: HostId },
    #[error("an earlier write to the journal failed: restart the agent")]
    Poisoned,
}

/// What the journal knows of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub payload_hash: String,
    /// Until it has a result.
    pub envelope: Option<Envelope>,
    /// Fingerprint right before the effect, once the intent is recorded.
    pub intent: Option<Fingerprint>,
    /// The timer of an effect that may cut the line.
    pub armed: Option<Armed>,
    /// The line was there after the effect.
    pub confirmed: bool,
    pub after: Option<Fingerprint>,
    pub finished: bool,
    pub reported: bool,
    /// Where the line of the result is.
    result: Option<(u64, usize)>,
}

/// The journal of one host's agent. One process at a time; the caller holds the lock.
#[derive(Debug)]
pub struct Journal {
    medium: Medium,
    host: HostId,
    length: u64,
    head: String,
    jobs: HashMap<JobId, Entry>,
    /// Receipts that the control plane does not have yet, in their order.
    unreported: Vec<(JobId, u64, u64, usize)>,
    high_water: u64,
    receipts: u64,
    receipt_head: String,
    /// At most one of each code.
    distrusted: Vec<Distrusted>,
    poisoned: bool,
}

impl Journal {
    /// Opens the journal of `host`, or begins one.
    ///
    /// # Errors
    /// Damage other than a cut-off last line; a journal of another host; I/O.
    pub fn open(path: &Path, host: HostId) -> Result<Self, JournalError> {
        let medium = Medium::open(path).map_err(|source| JournalError::Io {
            attempt: "open",
            path: path.to_owned(),
            source,
        })?;
        Self::open_on(medium, host)
    }

    /// Begins a journal that is lost with this value.
    pub fn in_memory(host: HostId) -> Result<Self, JournalError> {
        Self::open_on(Medium::Memory(Vec::new()), host)
    }

    fn open_on(medium: Medium, host: HostId) -> Result<Self, JournalError> {
        let mut journal = Self::scan(medium, host)?;
        let size = journal.medium.size().map_err(|error| journal.io("look at", error))?;
        if journal.length < size {
            tracing::warn!(
                dropped_bytes = size - journal.length,
                "The journal's last line was cut off by a crash and is dropped"
            );
            let cut = journal.medium.cut(journal.length);
            cut.map_err(|error| journal.io("repair", error))?;
        }
        if journal.length == 0 {
            journal.append(&journal.opened())?;
            journal.medium.sync_name().map_err(|error| journal.io("create", error))?;
        }
        Ok(journal)
    }

    /// What a journal says, without changing it; `None` when there is none.
    pub fn read(path: &Path, host: HostId) -> Result<Option<Self>, JournalError> {
        let path = path.to_owned();
        match File::open(&path) {
            Ok(file) => Self::scan(Medium::File { path, file }, host).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JournalError::Io { attempt: "open", path, source }),
        }
    }

    fn scan(medium: Medium, host: HostId) -> Result<Self, JournalError> {
        let path = medium.path();
        let io = |source| JournalError::Io { attempt: "read", path: path.clone(), source };
        let mut journal = Self {
            medium: Medium::Memory(Vec::new()),
            host,
            length: 0,
            head: record::START.to_owned(),
            jobs: HashMap::new(),
            unreported: Vec::new(),
            high_water: 0,
            receipts: 0,
            receipt_head: record::START.to_owned(),
            distrusted: Vec::new(),
            poisoned: false,
        };
        let mut reader = BufReader::new(medium.reader().map_err(io)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let size = reader.read_until(b'\n', &mut line).map_err(io)?;
            if size == 0 {
                break;
            }
            let whole = line.strip_suffix(b"\n");
            match whole.and_then(|text| record::decode(&journal.head, text)) {
                Some((Record::Opened { host: found, .. }, _)) if found != host => {
                    return Err(JournalError::OfAnotherHost { path, found, expected: host });
                }
                Some((record, head)) => {
                    journal.take(record, size);
                    journal.head = head;
                }
                None if is_cut_off(&line, &mut reader).map_err(io)? => break,
                None => return Err(JournalError::Damaged { path, line: number }),
            }
        }
        drop(reader);
        journal.medium = medium;
        Ok(journal)
    }

    /// Makes a record durable, then takes note of it.
    ///
    /// # Errors
    /// After an error it is not known whether the record is on disk; the journal refuses everything
    /// further and has to be opened again.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        let (line, head) = record::encode(&self.head, record);
        if let Err(source) = self.medium.append(line.as_bytes()) {
            self.poisoned = true;
            return Err(self.io("write", source));
        }
        self.take(record.clone(), line.len());
        self.head = head;
        Ok(())
    }

    fn take(&mut self, record: Record, size: usize) {
        let at = self.length;
        self.length += size as u64;
        match record {
            Record::Opened { host: _, high_water, receipts, receipt_head, distrusted } => {
                self.high_water = high_water;
                self.receipts = receipts;
                self.receipt_head = receipt_head;
                self.distrusted = distrusted;
            }
            Record::Received { job, seq, envelope, .. } => {
                self.high_water = self.high_water.max(seq);
                let payload_hash = payload_hash(&envelope.payload);
                let envelope = Some(envelope);
                self.jobs.insert(job, Entry { seq, payload_hash, envelope, ..Entry::default() });
            }
            Record::Intent { job, before, .. } => {
                self.jobs.entry(job).or_default().intent = Some(before);
            }
            Record::Armed { job, armed } => {
                let entry = self.jobs.entry(job).or_default();
                (entry.armed, entry.confirmed) = (Some(armed), false);
            }
            Record::Confirmed { job, .. } => self.jobs.entry(job).or_default().confirmed = true,
            Record::Result { job, seq, trusted, payload_hash, after, receipt } => {
                self.receipts += 1;
                self.receipt_head = hex::encode(Sha256::digest(&receipt.payload));
                self.unreported.push((job, self.receipts, at, size));
                if trusted {
                    self.high_water = self.high_water.max(seq);
                    let entry = self.jobs.entry(job).or_default();
                    entry.seq = seq;
                    entry.payload_hash = payload_hash;
                    entry.envelope = None;
                    entry.after = after;
                    entry.finished = true;
                    entry.result = Some((at, size));
                } else if let Some((code, at)) = refusal(&receipt) {
                    self.distrust(code, 1, at);
                }
            }
            Record::Distrusted { code, count, last_at } => self.distrust(code, count, last_at),
            Record::Reported { job, number } => {
                self.unreported.retain(|(_, unreported, ..)| *unreported != number);
                if let Some(entry) = self.jobs.get_mut(&job) {
                    entry.reported = true;
                }
            }
            Record::Done { job, seq, payload_hash, after } => {
                let entry = Entry {
                    seq,
                    payload_hash,
                    after: Some(after),
                    finished: true,
                    reported: true,
                    ..Entry::default()
                };
                self.jobs.insert(job, entry);
            }
        }
    }

    fn distrust(&mut self, code: RefusalCode, count: u64, last_at: Timestamp) {
        match self.distrusted.iter_mut().find(|known| known.code == code) {
            Some(known) => {
                known.total = known.total.saturating_add(count);
                known.last_at = last_at;
            }
            None => self.distrusted.push(Distrusted { code, total: count, last_at }),
        }
    }

    /// The orders that were not taken for the control plane's, all since this journal was begun.
    pub fn distrusted(&self) -> &[Distrusted] {
        &self.distrusted
    }

    pub fn job(&self, job: &JobId) -> Option<&Entry> {
        self.jobs.get(job)
    }

    /// The highest sequence number of an authentic order.
    pub const fn high_water(&self) -> u64 {
        self.high_water
    }

    /// Number of the last receipt, and the hash of its payload.
    pub fn receipt_head(&self) -> (u64, &str) {
        (self.receipts, &self.receipt_head)
    }

    /// Orders that were begun and have no result, in the order of their sequence numbers.
    pub fn unfinished(&self) -> Vec<(JobId, Envelope)> {
        let mut jobs: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, entry)| !entry.finished)
            .filter_map(|(job, entry)| Some((entry.seq, *job, entry.envelope.clone()?)))
            .collect();
        jobs.sort_by_key(|(seq, job, _)| (*seq, *job));
        jobs.into_iter().map(|(_, job, envelope)| (job, envelope)).collect()
    }

    /// Receipts that the control plane does not have yet, in their order, with their numbers.
    pub fn unreported(&self) -> Result<Vec<(JobId, u64, SignedReceipt)>, JournalError> {
        self.unreported
            .iter()
            .map(|(job, number, at, size)| Ok((*job, *number, self.receipt_at(*at, *size)?)))
            .collect()
    }

    /// The receipt of a finished job; `None` when unknown, open, or dropped by compaction.
    pub fn receipt(&self, job: &JobId) -> Result<Option<SignedReceipt>, JournalError> {
        match self.jobs.get(job).and_then(|entry| entry.result) {
            Some((at, size)) => self.receipt_at(at, size).map(Some),
            None => Ok(None),
        }
    }

    fn receipt_at(&self, at: u64, size: usize) -> Result<SignedReceipt, JournalError> {
        match self.record_at(at, size)? {
            Some(Record::Result { receipt, .. }) => Ok(receipt),
            Some(_) | None => Err(JournalError::Damaged { path: self.medium.path(), line: 0 }),
        }
    }

    /// The line has been checked when the journal was opened, or was written by this process.
    fn record_at(&self, at: u64, size: usize) -> Result<Option<Record>, JournalError> {
        let line = self.medium.read_at(at, size).map_err(|error| self.io("read", error))?;
        Ok(line.get(record::START.len() + 1..).and_then(|json| serde_json::from_slice(json).ok()))
    }

    /// Writes the journal anew when it is large, without what is finished, reported and not needed
    /// for undoing: `keep` says which jobs still can be undone.
    pub fn compact(
        &mut self,
        above: u64,
        keep: impl Fn(&JobId) -> bool,
    ) -> Result<bool, JournalError> {
        if self.length <= above || !self.unfinished().is_empty() || !self.unreported.is_empty() {
            return Ok(false);
        }
        let mut done: Vec<_> = self
            .jobs
            .iter()
            .filter(|(job, _)| keep(job))
            .filter_map(|(job, entry)| Some((*job, entry, entry.after.clone()?)))
            .collect();
        done.sort_by_key(|(job, entry, _)| (entry.seq, *job));
        let records = done.into_iter().map(|(job, entry, after)| Record::Done {
            job,
            seq: entry.seq,
            payload_hash: entry.payload_hash.clone(),
            after,
        });
        let mut text = String::new();
        let mut head = record::START.to_owned();
        for record in std::iter::once(self.opened()).chain(records) {
            let (line, next) = record::encode(&head, &record);
            text.push_str(&line);
            head = next;
        }
        let medium = self.medium.replaced(&text).map_err(|error| self.io("compact", error))?;
        *self = Self::open_on(medium, self.host)?;
        Ok(true)
    }

    fn opened(&self) -> Record {
        Record::Opened {
            host: self.host,
            high_water: self.high_water,
            receipts: self.receipts,
            receipt_head: self.receipt_head.clone(),
            distrusted: self.distrusted.clone(),
        }
    }

    fn io(&self, attempt: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { attempt, path: self.medium.path(), source }
    }
}

/// What a receipt refuses, and when.
fn refusal(receipt: &SignedReceipt) -> Option<(RefusalCode, Timestamp)> {
    let Receipt { at, result, .. } = serde_json::from_str(&receipt.payload).ok()?;
    if let JobResult::Refused { code, .. } = result { Some((code, at)) } else { None }
}

/// SHA-256 of an order's payload, hexadecimal.
pub fn payload_hash(payload: &str) -> String {
    hex::encode(Sha256::digest(payload))
}

/// True when an invalid line is what a crash leaves at the end of a file: no end of line, or blocks
/// of zeros that were never filled, and nothing after it.
fn is_cut_off(line: &[u8], rest: &mut impl Read) -> io::Result<bool> {
    let nothing_after = rest.read(&mut [0])? == 0;
    Ok(nothing_after && (!line.ends_with(b"\n") || line.contains(&0)))
}

#[cfg(test)]
mod tests;
