//! What the API shows of one host: its orders, and the receipts by which its agent answered them.

use serde::{Deserialize, Serialize};

use crate::id::{ChangeId, JobId};
use crate::time::Timestamp;

/// `GET /hosts/summary`: how many hosts have each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostCounts {
    pub online: u64,
    pub offline: u64,
    pub locked: u64,
    pub revoked: u64,
}

/// What an agent was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    Inspect,
    Verify,
    CollectFacts,
    Apply,
    Revert,
}

/// How far an order got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// No poll has fetched it yet.
    Waiting,
    /// A poll has fetched it.
    Delivered,
    /// It is in the agent's journal.
    Received,
    /// The agent has begun with it.
    Started,
    /// Carried out, as the agent's receipt says.
    Done,
    /// The host was so already.
    Unchanged,
    /// The agent would not: nothing was changed.
    Refused,
    /// It was tried and the host said no.
    Failed,
    /// The agent cannot tell.
    Unknown,
    /// Taken back before any agent had it.
    Withdrawn,
    /// Nobody fetched it in time.
    Expired,
}

impl OrderState {
    /// The agent may still answer.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Delivered | Self::Received | Self::Started)
    }
}

/// One order to a host's agent, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostOrderView {
    pub id: JobId,
    /// Rises with every order of this host.
    pub seq: u64,
    pub kind: OrderKind,
    /// Action id, such as `host.set_file_content`; absent for facts.
    pub action: Option<String>,
    /// For which change, when the order has an effect.
    pub change: Option<ChangeId>,
    pub change_number: Option<u64>,
    pub change_title: Option<String>,
    /// One sentence of the plan: what was to happen.
    pub summary: Option<String>,
    pub state: OrderState,
    /// The agent's words, when it would not, could not or cannot tell.
    pub detail: Option<String>,
    pub ordered_at: Timestamp,
    /// The agent may not begin with it after this.
    pub not_after: Timestamp,
    pub delivered_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Until when the host keeps what it needs to undo it, at least.
    pub undo_until: Option<Timestamp>,
    /// Oldest first. The first one is the outcome; later ones are evidence.
    pub receipts: Vec<ReceiptView>,
}

/// A receipt that a host's agent signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptView {
    /// From 1, per host.
    pub number: u64,
    /// SHA-256 of what was signed, hexadecimal.
    pub hash: String,
    /// When this control plane got it.
    pub received_at: Timestamp,
    /// What was found when it was read for this answer; absent once the answer to a mere question is forgotten
    /// and only its hash is left.
    pub proof: Option<ReceiptProof>,
}

/// What a stored receipt shows when it is checked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptProof {
    /// By the host's clock.
    pub signed_at: Timestamp,
    /// The content has the hash that was noted when it came.
    pub hash_holds: bool,
    /// It is signed with a key that this host had a certificate for.
    pub signature_holds: bool,
    pub link: ReceiptLink,
    /// The hash of the receipt before, as this one names it.
    pub previous: String,
}

/// How a receipt fits the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReceiptLink {
    /// It is the first, and says so.
    First,
    /// It names the hash of the one before.
    Follows,
    /// The one before is not here; the host's own journal has it.
    Missing,
    /// It names another one than is here.
    Broken,
}

impl ReceiptProof {
    /// Everything that can be checked was, and holds.
    pub const fn holds(&self) -> bool {
        self.hash_holds
            && self.signature_holds
            && matches!(self.link, ReceiptLink::First | ReceiptLink::Follows)
    }
}
