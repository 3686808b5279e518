//! Orders of a host and their receipts, read for people: what was asked, how far it got, and whether each receipt is
//! the host's own. Nothing here hands an order out or changes one.
//!
//! What was signed is checked here and does not leave: facts and before-states of a host are shown elsewhere, by
//! those who know what of them is a secret.

use std::collections::HashMap;

use nexplane_agent::key::receipt_is_authentic;
use nexplane_core::api::{
    HostOrderView, OrderKind, OrderState, ReceiptLink, ReceiptProof, ReceiptView,
};
use nexplane_core::id::{ChangeId, HostId, JobId};
use nexplane_core::job::{Envelope, Job, JobResult, Order, Receipt, SignedReceipt};
use nexplane_core::time::Timestamp;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

/// Most characters of what an agent says about an order.
const MAX_DETAIL: usize = 2_000;

/// Which orders of a host are read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Also those that change nothing.
    pub questions: bool,
    /// Only those before this one.
    pub before: Option<i64>,
    pub limit: u32,
}

#[derive(FromRow)]
struct OrderRow {
    job_id: Uuid,
    seq: i64,
    envelope: String,
    ordered_us: i64,
    not_after_us: i64,
    is_over: bool,
    delivered_us: Option<i64>,
    withdrawn: bool,
    received: bool,
    started_us: Option<i64>,
    finished_us: Option<i64>,
}

/// The orders of a host, the newest first.
pub async fn orders(
    pool: &PgPool,
    host: HostId,
    wanted: Wanted,
) -> Result<Vec<HostOrderView>, sqlx::Error> {
    let rows: Vec<OrderRow> = sqlx::query_as(
        "SELECT job_id, seq, envelope,
                (extract(epoch FROM created_at) * 1000000)::bigint AS ordered_us,
                (extract(epoch FROM not_after) * 1000000)::bigint AS not_after_us,
                not_after <= now() AS is_over,
                (extract(epoch FROM delivered_at) * 1000000)::bigint AS delivered_us,
                withdrawn_at IS NOT NULL AS withdrawn, received_at IS NOT NULL AS received,
                (extract(epoch FROM intent_at) * 1000000)::bigint AS started_us,
                (extract(epoch FROM finished_at) * 1000000)::bigint AS finished_us
         FROM nexplane.agent_jobs
         WHERE host_id = $1 AND seq < $2 AND (has_effect OR $3) ORDER BY seq DESC LIMIT $4",
    )
    .bind(host.0)
    .bind(wanted.before.unwrap_or(i64::MAX))
    .bind(wanted.questions)
    .bind(i64::from(wanted.limit))
    .fetch_all(pool)
    .await?;
    let jobs: Vec<Uuid> = rows.iter().map(|row| row.job_id).collect();
    let mut receipts = receipts(pool, host, &jobs).await?;
    rows.into_iter()
        .map(|row| {
            let answers = receipts.remove(&row.job_id).unwrap_or_default();
            row.view(answers)
        })
        .collect()
}

impl OrderRow {
    fn view(self, answers: Vec<Answer>) -> Result<HostOrderView, sqlx::Error> {
        let job: Job = read(&read::<Envelope>(&self.envelope)?.payload)?;
        // The first receipt is the outcome; a later one is evidence.
        let (receipts, said): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        let answer = said.into_iter().next().flatten();
        let (state, detail) = match &answer {
            Some(receipt) => outcome(&receipt.result),
            None => (self.progress(), None),
        };
        let detail = detail.map(plain);
        let Told { kind, action, change, summary } = Told::of(job.order);
        Ok(HostOrderView {
            id: JobId(self.job_id),
            seq: self.seq.unsigned_abs(),
            kind,
            action,
            change,
            change_number: None,
            change_title: None,
            summary,
            state,
            detail,
            ordered_at: Timestamp::from_micros(self.ordered_us),
            not_after: Timestamp::from_micros(self.not_after_us),
            delivered_at: self.delivered_us.map(Timestamp::from_micros),
            started_at: self.started_us.map(Timestamp::from_micros),
            finished_at: self.finished_us.map(Timestamp::from_micros),
            undo_until: answer.and_then(|receipt| receipt.undo_until),
            receipts,
        })
    }

    /// How far an order without an answer is. One that was handed out is open however old it is: its agent knows
    /// what came of it.
    const fn progress(&self) -> OrderState {
        if self.withdrawn {
            OrderState::Withdrawn
        } else if self.started_us.is_some() {
            OrderState::Started
        } else if self.received {
            OrderState::Received
        } else if self.delivered_us.is_some() {
            OrderState::Delivered
        } else if self.is_over {
            OrderState::Expired
        } else {
            OrderState::Waiting
        }
    }
}

/// What an order is about.
struct Told {
    kind: OrderKind,
    action: Option<String>,
    change: Option<ChangeId>,
    summary: Option<String>,
}

impl Told {
    fn of(order: Order) -> Self {
        let question = |kind, action| Self { kind, action, change: None, summary: None };
        match order {
            Order::Inspect { operation, target: _, parameters: _ } => {
                question(OrderKind::Inspect, Some(operation))
            }
            Order::Verify { operation, target: _, parameters: _, prepared: _, undoes: _ } => {
                question(OrderKind::Verify, Some(operation))
            }
            Order::CollectFacts => question(OrderKind::CollectFacts, None),
            Order::Apply { step, authority, prepared: _ } => Self {
                kind: OrderKind::Apply,
                action: Some(step.action),
                change: Some(authority.change),
                summary: Some(step.summary),
            },
            Order::Revert { step, undoes: _, authority } => Self {
                kind: OrderKind::Revert,
                action: Some(step.action),
                change: Some(authority.change),
                summary: Some(step.summary),
            },
        }
    }
}

fn outcome(result: &JobResult) -> (OrderState, Option<&str>) {
    match result {
        JobResult::Applied { changed: false, .. } => (OrderState::Unchanged, None),
        JobResult::Applied { changed: true, .. }
        | JobResult::Inspected { .. }
        | JobResult::Verified { .. }
        | JobResult::Facts { .. }
        | JobResult::Reverted { .. } => (OrderState::Done, None),
        JobResult::Refused { detail, .. } => (OrderState::Refused, Some(detail)),
        JobResult::Failed { detail } => (OrderState::Failed, Some(detail)),
        JobResult::Unknown { detail } => (OrderState::Unknown, Some(detail)),
    }
}

/// A host's words as they can be shown: no control characters, and not endless.
fn plain(text: &str) -> String {
    let shown = text.chars().take(MAX_DETAIL);
    shown
        .map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// A receipt as it is shown, and what it says, unless that is forgotten.
type Answer = (ReceiptView, Option<Receipt>);

#[derive(FromRow)]
struct ReceiptRow {
    job_id: Uuid,
    number: i64,
    payload_hash: String,
    receipt: Option<String>,
    received_us: i64,
    before: Option<String>,
    keys: Vec<Vec<u8>>,
}

/// The receipts of some jobs of a host, each checked with the keys that the host had when it came: the newest ones,
/// since an agent without a network may have signed with the key before.
async fn receipts(
    pool: &PgPool,
    host: HostId,
    jobs: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Answer>>, sqlx::Error> {
    let rows: Vec<ReceiptRow> = sqlx::query_as(
        "SELECT r.job_id, r.number, r.payload_hash, r.receipt,
                (extract(epoch FROM r.received_at) * 1000000)::bigint AS received_us,
                b.payload_hash AS before,
                ARRAY(SELECT c.public_key FROM nexplane.agent_certificates c
                      WHERE c.host_id = r.host_id AND c.issued_at <= r.received_at
                      ORDER BY c.issued_at DESC LIMIT 64) AS keys
         FROM nexplane.agent_receipts r
         LEFT JOIN nexplane.agent_receipts b ON b.host_id = r.host_id AND b.number = r.number - 1
         WHERE r.host_id = $1 AND r.job_id = ANY($2) ORDER BY r.number",
    )
    .bind(host.0)
    .bind(jobs)
    .fetch_all(pool)
    .await?;
    let mut receipts: HashMap<Uuid, Vec<Answer>> = HashMap::new();
    for row in rows {
        let (proof, said) = match &row.receipt {
            Some(text) => {
                let signed: SignedReceipt = read(text)?;
                let said: Receipt = read(&signed.payload)?;
                (Some(check(&row, &signed, &said)), Some(said))
            }
            None => (None, None),
        };
        let view = ReceiptView {
            number: row.number.unsigned_abs(),
            received_at: Timestamp::from_micros(row.received_us),
            hash: row.payload_hash,
            proof,
        };
        receipts.entry(row.job_id).or_default().push((view, said));
    }
    Ok(receipts)
}

fn check(row: &ReceiptRow, signed: &SignedReceipt, receipt: &Receipt) -> ReceiptProof {
    let link = match &row.before {
        _ if row.number == 1 && receipt.previous.bytes().all(|digit| digit == b'0') => {
            ReceiptLink::First
        }
        Some(before) if *before == receipt.previous => ReceiptLink::Follows,
        Some(_) => ReceiptLink::Broken,
        None if row.number == 1 => ReceiptLink::Broken,
        None => ReceiptLink::Missing,
    };
    ReceiptProof {
        signed_at: receipt.at,
        hash_holds: hex::encode(Sha256::digest(&signed.payload)) == row.payload_hash
            && u64::try_from(row.number) == Ok(receipt.number)
            && receipt.job == JobId(row.job_id),
        signature_holds: row.keys.iter().any(|key| receipt_is_authentic(signed, key)),
        link,
        previous: receipt.previous.clone(),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}
