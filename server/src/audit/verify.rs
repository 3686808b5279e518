//! The verification itself: one pass over the evidence, with as little in memory as one piece per
//! thread and what the rules need to remember.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use nexplane_core::audit::{self, Auditor};
use nexplane_core::event::{Event, Recorded, UnreadableEvent};
use nexplane_core::proof::checkpoint::{self, Checkpoint};
use nexplane_core::proof::note::{Note, VerifierKey};
use nexplane_core::proof::tile::WIDTH;
use nexplane_core::proof::tree::{Frontier, Hash};
use nexplane_core::proof::witness::WitnessPolicy;
use nexplane_core::record::{self, Header};

use super::evidence::{Evidence, EvidenceError, Piece, Row};
use super::report::{Finding, Kind, Report};

/// Pieces that are decoded and wait for their turn, per thread.
const AHEAD: usize = 4;

/// What the verifier brings along and believes.
#[derive(Clone, Debug)]
pub struct Pins {
    /// The log's key.
    pub key: VerifierKey,
    pub witnesses: Option<WitnessPolicy>,
    /// Signed notes that somebody kept: the log must contain what they signed.
    pub kept: Vec<String>,
}

/// A signed root that the tree has to have at its size.
struct Expected {
    checkpoint: Checkpoint,
    note: Note,
    kept: bool,
}

/// Judges evidence. `progress` is told how many records are done.
pub fn verify(
    mut evidence: Box<dyn Evidence>,
    pins: &Pins,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, EvidenceError> {
    let range = evidence.range();
    let mut report = Report::new(evidence.place(), pins.key.name().to_owned(), range);
    if let Some(origin) = evidence.origin().filter(|origin| *origin != pins.key.name()) {
        let sentence = format!("this is said to be of {origin}, the key is of {}", pins.key.name());
        report.tampering("log.origin", None, sentence);
    }
    let expected = checkpoints(evidence.as_mut(), pins, &mut report)?;
    let Some(frontier) = start(evidence.as_mut(), &mut report)? else { return Ok(report) };
    let mut pass = Pass {
        frontier,
        expected,
        next: 0,
        auditor: Auditor::starting_at(range.0),
        good: Vec::new(),
        report,
    };
    let evidence = pass.run(evidence, progress)?;
    pass.finish(evidence, pins)
}

/// The notes of the evidence and those that were kept, by size; what is wrong with one is a finding.
fn checkpoints(
    evidence: &mut dyn Evidence,
    pins: &Pins,
    report: &mut Report,
) -> Result<Vec<Expected>, EvidenceError> {
    let own = evidence.checkpoints()?.into_iter().map(|text| (text, false));
    let kept = pins.kept.iter().map(|text| (text.clone(), true));
    let mut expected = Vec::new();
    for (text, kept) in own.chain(kept) {
        let whose = if kept { "a checkpoint that was kept" } else { "a checkpoint" };
        let note = Note::parse(text.as_bytes());
        let verified = note.map_err(|error| error.to_string()).and_then(|note| {
            let verified = checkpoint::verify(&note, &pins.key);
            verified.map(|checkpoint| (checkpoint, note)).map_err(|error| error.to_string())
        });
        match verified {
            Ok((checkpoint, note)) => expected.push(Expected { checkpoint, note, kept }),
            Err(why) => report.tampering(
                "log.signature",
                None,
                format!("{whose} is not one of this log, or not signed by the pinned key: {why}"),
            ),
        }
    }
    expected.sort_by_key(|expected| expected.checkpoint.size());
    Ok(expected)
}

/// The tree before the first record.
fn start(
    evidence: &mut dyn Evidence,
    report: &mut Report,
) -> Result<Option<Frontier>, EvidenceError> {
    let (from, to) = evidence.range();
    if !from.is_multiple_of(u64::from(WIDTH)) || from > to {
        report.tampering("log.range", None, format!("{from}..{to} is no range of an export"));
        return Ok(None);
    }
    if from == 0 {
        return Ok(Some(Frontier::new()));
    }
    let peaks = evidence.peaks_before(from)?;
    let frontier = peaks.and_then(|peaks| Frontier::try_from_parts(from, peaks).ok());
    if frontier.is_none() {
        let sentence = format!("the tiles before position {from} are missing or damaged");
        report.incomplete("log.tiles", sentence);
    }
    Ok(frontier)
}

/// One record, looked at by itself.
struct Looked {
    leaf: Option<Hash>,
    claimed: Option<Hash>,
    event: Read,
    column: Option<String>,
}

/// What a record's text says.
enum Read {
    Event(Box<(Header, Event)>),
    /// A record, of an event that this build cannot read.
    Unreadable(UnreadableEvent),
    /// No record.
    Not(String),
}

struct LookedPiece {
    first: u64,
    wrong: Vec<String>,
    records: Vec<Looked>,
}

/// What needs no memory of other records, and so can be done by any thread.
fn look(piece: Piece) -> LookedPiece {
    let Piece { first, records, claimed, rows, wrong } = piece;
    let mut rows = rows.into_iter();
    let looked = (first..)
        .zip(records.into_iter().zip(claimed))
        .map(|(position, (record, claimed))| {
            let row = rows.next().flatten();
            let Some(text) = record else {
                let event = Read::Not("there is no record".to_owned());
                return Looked { leaf: None, claimed, event, column: None };
            };
            let decoded = record::decode(&text);
            let column = row.and_then(|row| column(position, decoded.as_ref().ok()?, &row));
            let event = match decoded.map(Event::decode) {
                Ok(Ok(event)) => Read::Event(Box::new(event)),
                Ok(Err(unreadable)) => Read::Unreadable(unreadable),
                Err(error) => Read::Not(crate::problem::chain(&error)),
            };
            Looked { leaf: Some(record::leaf_hash(&text)), claimed, event, column }
        })
        .collect();
    LookedPiece { first, wrong, records: looked }
}

/// What a column says that the record does not.
fn column(position: u64, record: &record::Record, row: &Row) -> Option<String> {
    let header = &record.header;
    let says = [
        ("position", row.position.to_string(), position.to_string()),
        ("stream_id", row.stream.clone(), header.stream.to_string()),
        ("category", row.category.clone(), header.stream.category.as_str().to_owned()),
        ("version", row.version.to_string(), header.version.to_string()),
        ("type", row.kind.clone(), header.kind.clone()),
        ("recorded_at", row.recorded_at_us.to_string(), header.at.as_micros().to_string()),
    ];
    let differing = says.into_iter().find(|(_, column, record)| column != record);
    differing.map(|(name, column, record)| {
        format!("the column {name} says {column}, the record says {record}")
    })
}

struct Pass {
    frontier: Frontier,
    expected: Vec<Expected>,
    /// The next of `expected`.
    next: usize,
    auditor: Auditor,
    /// Indexes of checkpoints whose root was right.
    good: Vec<usize>,
    report: Report,
}

impl Pass {
    /// Reads everything: one thread fetches, some look, this one judges in order.
    fn run(
        &mut self,
        mut evidence: Box<dyn Evidence>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Box<dyn Evidence>, EvidenceError> {
        let (from, to) = evidence.range();
        let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get).min(16);
        self.reach(from);
        thread::scope(|scope| {
            let mut inputs: Vec<SyncSender<Piece>> = Vec::new();
            let mut outputs: Vec<Receiver<LookedPiece>> = Vec::new();
            for _ in 0..threads {
                let (input, pieces) = sync_channel::<Piece>(AHEAD);
                let (done, output) = sync_channel(AHEAD);
                scope.spawn(move || {
                    for piece in pieces {
                        if done.send(look(piece)).is_err() {
                            return;
                        }
                    }
                });
                inputs.push(input);
                outputs.push(output);
            }
            let fetching = scope.spawn(move || {
                let starts = (from..to).step_by(usize::from(WIDTH));
                for (first, input) in starts.zip(inputs.iter().cycle()) {
                    if input.send(evidence.piece(first)?).is_err() {
                        break;
                    }
                }
                Ok(evidence)
            });
            for (first, output) in
                (from..to).step_by(usize::from(WIDTH)).zip(outputs.iter().cycle())
            {
                // The fetching thread has failed; its error is what the caller gets.
                let Ok(piece) = output.recv() else { break };
                self.judge(piece);
                progress((first + u64::from(WIDTH)).min(to) - from);
            }
            drop(outputs);
            match fetching.join() {
                Ok(fetched) => fetched,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn judge(&mut self, piece: LookedPiece) {
        for wrong in piece.wrong {
            self.report.tampering("log.piece", Some(piece.first), wrong);
        }
        for (position, looked) in (piece.first..).zip(piece.records) {
            if let Some(sentence) = looked.column {
                self.report.tampering("log.column", Some(position), sentence);
            }
            let Some(leaf) = looked.leaf else {
                self.report.tampering("log.gap", Some(position), "there is no record");
                // What follows is looked at all the same; no root can be right any more.
                let _ = self.frontier.append(looked.claimed.unwrap_or_default());
                self.reach(position + 1);
                continue;
            };
            if looked.claimed.is_some_and(|claimed| claimed != leaf) {
                let sentence = "the record is not the one that its hash was made of";
                self.report.tampering("log.leaf", Some(position), sentence);
            }
            if self.frontier.append(leaf).is_err() {
                return;
            }
            match looked.event {
                Read::Event(event) => {
                    let (header, event) = *event;
                    self.auditor.observe(&Recorded { position, header, event });
                }
                Read::Unreadable(event) => self.auditor.observe_unreadable(position, &event),
                Read::Not(why) => {
                    let sentence = format!("this cannot be read as an event: {why}");
                    self.report.tampering("log.unreadable", Some(position), sentence);
                }
            }
            self.reach(position + 1);
        }
    }

    /// The tree has `size` leaves now: compares it with what was signed for that size.
    fn reach(&mut self, size: u64) {
        while let Some(expected) = self.expected.get(self.next) {
            let signed = expected.checkpoint.size();
            if signed > size {
                return;
            }
            // What was signed before the first record of an export cannot be judged by it.
            if signed == size {
                if *expected.checkpoint.root() == self.frontier.root() {
                    self.good.push(self.next);
                } else {
                    let whose = if expected.kept { " that was kept" } else { "" };
                    self.report.tampering(
                        "log.root",
                        size.checked_sub(1),
                        format!(
                            "the first {size} records do not have the root of the checkpoint{whose}: \
                             they are not the ones that were signed"
                        ),
                    );
                }
            }
            self.next += 1;
        }
    }

    fn finish(
        mut self,
        mut evidence: Box<dyn Evidence>,
        pins: &Pins,
    ) -> Result<Report, EvidenceError> {
        let to = self.report.to;
        for expected in self.expected.iter().skip(self.next) {
            let size = expected.checkpoint.size();
            self.report.tampering(
                "log.shorter",
                None,
                format!("{size} records were signed, the evidence ends after {to}"),
            );
        }
        let wrong = evidence.cross_check()?;
        for sentence in wrong {
            self.report.tampering("log.beside", None, sentence);
        }
        let good: Vec<&Expected> =
            self.good.iter().filter_map(|index| self.expected.get(*index)).collect();
        self.report.checkpoints = good.len() as u64;
        match good.last() {
            Some(last) => {
                self.report.size = last.checkpoint.size();
                self.report.root = hex::encode(last.checkpoint.root());
                let unsealed = to - last.checkpoint.size();
                if unsealed > 0 {
                    self.report.incomplete(
                        "log.unsealed",
                        format!("the last {unsealed} records are not under a checkpoint yet"),
                    );
                }
            }
            None => self.report.incomplete("log.unsealed", "no checkpoint covers the records"),
        }
        if let Some(policy) = &pins.witnesses {
            witnessed(policy, &good, &mut self.report);
        }
        if let Some(sentence) = evidence.unsealed()? {
            self.report.incomplete("log.unsealed", sentence);
        }
        judged(self.auditor.finish(), &mut self.report);
        Ok(self.report)
    }
}

/// What the rules say.
fn judged(rules: audit::Report, report: &mut Report) {
    let listed = rules.violations.len() + rules.incomplete.len();
    let unlisted = rules.violations_in_all + rules.incomplete_in_all - listed as u64;
    for violation in rules.violations {
        report.add(Finding {
            kind: Kind::Tampering,
            rule: violation.rule.to_owned(),
            position: Some(violation.position),
            stream: Some(violation.stream.to_string()),
            sentence: violation.sentence,
        });
    }
    for missing in rules.incomplete {
        report.add(Finding {
            kind: Kind::Incomplete,
            rule: "audit.not_provable".to_owned(),
            position: Some(missing.position),
            stream: Some(missing.stream.to_string()),
            sentence: missing.sentence,
        });
    }
    report.findings_total += unlisted;
}

/// The newest checkpoint that the quorum cosigned, and wrong signatures of witnesses.
fn witnessed(policy: &WitnessPolicy, good: &[&Expected], report: &mut Report) {
    let mut unsure: HashMap<String, u64> = HashMap::new();
    for expected in good {
        match policy.evaluate(&expected.note) {
            Ok(evaluation) if evaluation.quorum => {
                report.witnessed_size = Some(expected.checkpoint.size());
                report.witnesses =
                    evaluation.cosignatures.iter().map(|c| c.witness.name.clone()).collect();
            }
            Ok(_) => {}
            Err(error) => *unsure.entry(error.to_string()).or_default() += 1,
        }
    }
    for (why, count) in unsure {
        let sentence = format!("{count} checkpoints have a wrong signature of a witness: {why}");
        report.tampering("witness.signature", None, sentence);
    }
    if report.witnessed_size.is_none() {
        report.incomplete(
            "witness.quorum",
            "no checkpoint has the cosignatures that the witness policy asks for: whoever has the \
             log's key could have made all of it",
        );
    }
}
