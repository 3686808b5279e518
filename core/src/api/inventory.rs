//! Everything else the API shows: people, connections, assets, hosts, projections.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actor::Role;
use crate::connection::event::Limits;
use crate::id::{AssetId, ConnectionId, HostId, PersonId};
use crate::plan::Check;
use crate::risk::Environment;
use crate::time::Timestamp;

/// `POST /auth/login`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    pub email: String,
    pub password: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoginResponse {
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
}

/// `POST /auth/first-run`: makes the first admin with the one-time link's token.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FirstRunRequest {
    pub token: String,
    pub email: String,
    pub name: String,
    pub password: String,
}

/// `GET /auth/me`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Me {
    pub id: PersonId,
    pub email: String,
    pub name: String,
    pub roles: Vec<Role>,
    /// Signed in with an API token of kind `machine`.
    pub machine: bool,
    /// Of which moment this is a replay; absent when it is the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayView>,
    /// This installation is a sandbox to look around in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub demo: bool,
}

/// The moment that is replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReplayView {
    /// Of the last event that is shown.
    pub position: u64,
    /// When it was recorded.
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserView {
    pub id: PersonId,
    pub email: String,
    pub name: String,
    pub roles: Vec<Role>,
    pub disabled: bool,
    pub created_at: Timestamp,
}

/// `POST /users`. Without a password, one is made and returned once.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUserRequest {
    pub email: String,
    pub name: String,
    pub roles: Vec<Role>,
    #[serde(default)]
    pub password: Option<String>,
}

/// `PATCH /users/{id}`
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditUserRequest {
    pub name: Option<String>,
    pub roles: Option<Vec<Role>>,
    pub disabled: Option<bool>,
    pub password: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenView {
    pub id: uuid::Uuid,
    pub name: String,
    pub owner: PersonId,
    /// `user` or `machine`.
    pub kind: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionView {
    pub id: ConnectionId,
    pub name: String,
    /// Connector id.
    #[serde(rename = "type")]
    pub kind: String,
    pub environment: Environment,
    /// Credentials without their secret fields; where a secret is elsewhere, its reference stands in the field.
    pub settings: Value,
    pub limits: Limits,
    /// Seconds from one discovery to the next; null: only when somebody asks.
    pub discover_every_s: Option<u32>,
    /// When it is discovered by itself the next time.
    pub discover_next: Option<Timestamp>,
    /// `untested`, `ok` or `failing`.
    pub status: String,
    pub checks: Vec<Check>,
    pub tested_at: Option<Timestamp>,
    pub discovered_at: Option<Timestamp>,
    /// Of the last discovery, when it failed.
    pub discovery_error: Option<String>,
    pub assets: u64,
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// `GET /secret-sources`: where a secret of a connection's credentials may be instead of in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SecretSources {
    /// Whether this server has a folder of secrets.
    pub files: bool,
    /// Connections that a reference to Vault can name, by name; the first 200.
    pub vaults: Vec<VaultSource>,
}

/// A connection that reads secrets for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VaultSource {
    pub id: ConnectionId,
    pub name: String,
}

/// `POST /connections`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewConnectionRequest {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub environment: Environment,
    /// As the connector's schema in the catalog says. In a secret field may stand where the secret is:
    /// `{"secret_ref": {"file": "…"}}`, or `{"secret_ref": {"vault": {"connection": "…", "mount": "…", "path": "…",
    /// "field": "…", "version": 1}}}`, the version if need be.
    pub credentials: Value,
    /// Seconds from one discovery to the next, 300 to 604,800; without it, only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover_every_s: Option<u32>,
}

/// `PATCH /connections/{id}`
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditConnectionRequest {
    pub name: Option<String>,
    pub environment: Option<Environment>,
    /// Replaces all credentials.
    pub credentials: Option<Value>,
    pub limits: Option<Limits>,
    /// Seconds from one discovery to the next, 300 to 604,800; 0: only when somebody asks.
    pub discover_every_s: Option<u32>,
}

/// Answer of `POST /connections/{id}/test`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestResult {
    pub ok: bool,
    /// One line per permission.
    pub checks: Vec<Check>,
}

/// Answer of `POST /connections/{id}/discover`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiscoverResult {
    pub found: u64,
    pub new: u64,
    pub changed: u64,
    pub gone: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AssetView {
    pub id: AssetId,
    /// `<connection name>/<external key>`
    pub key: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub connection_id: ConnectionId,
    pub connection_name: String,
    pub external_key: String,
    pub environment: Environment,
    pub metadata: Value,
    pub owner: Option<String>,
    pub tags: Vec<String>,
    pub critical: bool,
    /// `present` or `gone`.
    pub status: String,
    /// The first 200 in each direction.
    pub relations: Vec<RelationView>,
    /// How many there are in all.
    #[serde(default)]
    pub relation_count: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub version: u64,
    pub position: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RelationView {
    /// `runs_on`, `member_of`, `uses`, `owns` …
    pub kind: String,
    /// `out`: this asset → other; `in`: other → this asset.
    pub direction: String,
    pub asset: AssetId,
    pub name: String,
    #[serde(rename = "type")]
    pub asset_type: String,
    /// Of the other asset, as operators say.
    #[serde(default)]
    pub critical: bool,
}

/// `PATCH /assets/{id}`: the fields that belong to operators.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditAssetRequest {
    pub owner: Option<String>,
    pub tags: Option<Vec<String>>,
    pub critical: Option<bool>,
    pub environment: Option<Environment>,
}

/// `GET /assets/{id}/blast-radius`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlastRadius {
    pub asset: AssetId,
    pub dependants: Vec<DependantView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DependantView {
    pub id: AssetId,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// 1 for direct dependants.
    pub depth: u32,
    pub critical: bool,
    /// The relation by which it depends.
    pub via: String,
}

/// `GET /change-requests/{id}/blast-radius`: what depends on the targets of a change, as one page of a list and
/// with what a drawing of that page needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeRadius {
    /// The first 8, without a depth.
    pub targets: Vec<DependantView>,
    pub target_count: u64,
    /// Dependants, each as near as it is to the nearest target; the nearest first, of those the critical ones.
    pub items: Vec<DependantView>,
    /// How many there are in all.
    pub count: u64,
    /// How many of them are critical.
    pub critical: u64,
    /// Relations between the assets of this answer, at most 400.
    pub edges: Vec<super::ViaView>,
    pub next_cursor: Option<String>,
}

/// One difference between two looks of discovery at an asset: `GET /assets/{id}/drift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DriftView {
    /// Of the event that says so.
    pub position: u64,
    pub at: Timestamp,
    pub kind: DriftKind,
    /// What differs, at most 100.
    pub facts: Vec<FactChange>,
    /// How many facts differ in all.
    pub fact_count: u64,
    pub verdict: DriftVerdict,
    /// The change of ours that is behind it, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<DriftChange>,
    /// Why the verdict is so, in a sentence.
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// It was there both times.
    Differs,
    Gone,
    Returned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriftVerdict {
    /// A change of ours was carried out on it between the two looks, and read back every fact that differs.
    Explained,
    /// A change of ours was carried out on it between the two looks, but did not read back all that differs.
    Partly,
    /// No change of ours was carried out on it between the two looks.
    Unexplained,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DriftChange {
    pub id: crate::id::ChangeId,
    pub number: u64,
    pub title: String,
    pub state: super::ChangeState,
}

/// A fact of an asset before and after; null is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FactChange {
    /// A field of the metadata, `name`, or `relations`.
    pub name: String,
    pub before: Value,
    pub after: Value,
    /// The change that is behind the difference read this field back.
    pub verified: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostView {
    pub id: HostId,
    pub hostname: String,
    /// `online`, `offline`, `locked` or `revoked`.
    pub status: String,
    /// As the agent told last: at enrolment, or with its facts since.
    pub agent_version: String,
    /// The agent's version is older than that of the control plane.
    pub agent_is_behind: bool,
    pub policy_hash: Option<String>,
    /// Absent while the policy is the one of the enrolment.
    pub policy_changed_at: Option<Timestamp>,
    /// SHA-256 of the public key that counts (DER SubjectPublicKeyInfo), hexadecimal.
    pub certificate_key_hash: String,
    /// Enrolment or last renewal.
    pub certificate_issued_at: Timestamp,
    pub certificate_expires_at: Option<Timestamp>,
    pub connection_id: ConnectionId,
    pub asset_id: Option<AssetId>,
    pub enrolled_at: Timestamp,
    /// Last change of status.
    pub status_since: Timestamp,
    pub reason: Option<String>,
    pub revoked_by: Option<PersonId>,
    pub revoked_by_name: Option<String>,
    pub version: u64,
}

/// `POST /hosts/enrollment-tokens`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EnrollmentTokenRequest {
    pub hostname: Option<String>,
    /// 60 to 86,400; 900 when absent.
    pub ttl_s: Option<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnrollmentToken {
    pub token: String,
    /// Which host there will be once the token was used.
    pub host_id: HostId,
    pub ca_pem: String,
    pub gateway: String,
    pub expires_at: Timestamp,
    /// The line to paste on the host.
    pub command: String,
}

/// One row of `GET /projections`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProjectionView {
    pub name: String,
    pub version: u32,
    /// The next position it will read.
    pub position: u64,
    /// Events in the log that it has not seen.
    pub lag: u64,
    /// `live`, `rebuilding` or `stalled`.
    pub state: String,
    pub error: Option<String>,
}

/// `GET /risk/summary`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RiskSummary {
    pub open: RiskCounts,
    /// Open changes, riskiest first.
    pub top: Vec<RiskRow>,
    /// Finished changes per type: how many, how many failed.
    pub history: Vec<RiskHistory>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RiskCounts {
    pub low: u64,
    pub medium: u64,
    pub high: u64,
    pub critical: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RiskRow {
    pub change: crate::id::ChangeId,
    pub number: u64,
    pub title: String,
    pub score: u8,
    pub level: crate::risk::RiskLevel,
    pub state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RiskHistory {
    pub change_type: String,
    pub finished: u64,
    pub failed: u64,
    pub outcome_unknown: u64,
    pub rolled_back: u64,
    /// A person said that they took effect; no reading of a target did.
    #[serde(default)]
    pub settled: u64,
}

/// `GET /risk/calibration`: what was predicted against what happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RiskCalibration {
    /// One per score from 1 to 10, also of those that no finished change had.
    pub scores: Vec<ScoreOutcome>,
}

/// How finished changes of one score went. Rollbacks are no changes of their own here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScoreOutcome {
    pub score: u8,
    pub level: crate::risk::RiskLevel,
    pub finished: u64,
    /// Failed, of unknown outcome, or rolled back; each counts once.
    pub went_wrong: u64,
    /// Between these two per cent lies the true share of changes that go wrong, with 95 % confidence; absent when
    /// there are none to tell by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely: Option<LikelyShare>,
}

/// An interval of a share, in per cent, rounded outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LikelyShare {
    pub from: u8,
    pub to: u8,
}

impl LikelyShare {
    /// Wilson's score interval, which is of use for small numbers, too. None of none.
    /// <https://doi.org/10.1080/01621459.1927.10502953>
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of changes, and a result from 0 to 100"
    )]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        /// Of the normal distribution, for 95 %.
        const Z: f64 = 1.96;
        if whole == 0 {
            return None;
        }
        let n = whole as f64;
        let share = (part.min(whole)) as f64 / n;
        let scale = 1.0 + Z * Z / n;
        let middle = share + Z * Z / (2.0 * n);
        let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let percent = |share: f64| (share / scale * 100.0).clamp(0.0, 100.0);
        Some(Self {
            from: percent(middle - reach).floor() as u8,
            to: percent(middle + reach).ceil() as u8,
        })
    }
}

/// Messages of the live WebSocket, `/api/v1/live`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// `changes`, `change:<id>`, `hosts`, `assets`, `projections`, `connections`.
    pub subscribe: Vec<String>,
    #[serde(default)]
    pub since: Option<u64>,
}

/// How far the effect of a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepProgress {
    /// Its number in the plan.
    pub step: u32,
    pub done: u64,
    /// What `done` will be in the end, at most; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
    /// What is counted, such as `keys`.
    pub unit: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum LiveMessage {
    Notice {
        topic: String,
        position: u64,
        changed: Value,
    },
    /// How far the effect of a step is that lasts: for `change:<id>`, while it lasts. Kept nowhere.
    Progress {
        topic: String,
        progress: StepProgress,
    },
    Resync {
        resync: bool,
    },
    Error {
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::LikelyShare;

    #[test]
    fn a_likely_share_is_wide_for_few_and_narrow_for_many() {
        let of = |part, whole| LikelyShare::of(part, whole).map(|share| (share.from, share.to));
        assert_eq!(of(0, 0), None);
        assert_eq!(of(0, 1), Some((0, 80)));
        assert_eq!(of(1, 1), Some((20, 100)));
        // The example of a coin that fell on one side in half of the throws.
        assert_eq!(of(5, 10), Some((23, 77)));
        assert_eq!(of(5_000, 10_000), Some((49, 51)));
        assert_eq!(of(9, 3), LikelyShare::of(3, 3).map(|share| (share.from, share.to)));
    }
}
