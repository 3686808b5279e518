//! What can be asked of a connection.

use serde_json::Value;

use crate::connection::event::{Limits, Purpose};
use crate::id::{ChangeId, ConnectionId, HostId, SecretId};
use crate::plan::Check;
use crate::risk::Environment;

#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionCommand {
    /// By an admin; with a `host`, by Nexplane only.
    Create {
        /// 1–80 characters: letters, digits, space, `.`, `_` and `-`, the first a letter or digit.
        /// No slash: assets are called `<connection>/<external key>`. A built-in connection has the
        /// name of its host, which may be longer.
        name: String,
        /// Connector id, such as `postgres`.
        connector: String,
        environment: Environment,
        /// Credentials without their secret fields; a JSON object. References to secrets that are elsewhere are in
        /// it ([`crate::secret_ref`]).
        settings: Value,
        /// The whole credentials in the secret table; none for connectors that need none.
        credentials: Option<SecretId>,
        /// Set for built-in connections and for nothing else; their connector is `host`.
        host: Option<HostId>,
    },
    /// By an admin.
    Rename {
        /// As in [`ConnectionCommand::Create`].
        name: String,
    },
    /// By an admin.
    Relabel { environment: Environment },
    /// By an admin.
    Limit { limits: Limits },
    /// By an admin.
    ScheduleDiscovery {
        /// Seconds from one discovery to the next, 300 to 604,800; none: only when somebody asks.
        every_s: Option<u32>,
    },
    /// By an admin, all credentials at once. Not for built-in connections: they have none.
    ReplaceCredentials { settings: Value, credentials: SecretId },
    /// By an admin. For good.
    Remove {
        /// Whether the host of a built-in connection is revoked, read by the caller from the host's
        /// stream and guarded in the append; `false` for every other connection.
        host_revoked: bool,
    },
    /// By an operator, an admin or Nexplane. Recorded every time: a test is a fact with a moment.
    RecordTest {
        /// One per permission. The test passed when there is at least one and all are ok.
        checks: Vec<Check>,
    },
    /// By an operator, an admin or Nexplane. Recorded every time.
    RecordDiscovery { found: u64, new: u64, changed: u64, gone: u64, duration_ms: u64 },
    /// By an operator, an admin or Nexplane. Recorded every time.
    RecordDiscoveryFailure {
        /// Kind of the connector's error, for programs.
        kind: String,
        /// For people, without secrets.
        reason: String,
    },
    /// Before credentials are decrypted: by an operator, an admin or Nexplane; by a machine of an
    /// operator or admin to plan. Recorded every time, except when there are no credentials: then
    /// nothing is decrypted and there is nothing to record.
    OpenCredentials {
        purpose: Purpose,
        /// The change that is planned or executed; no other purpose has one.
        change: Option<ChangeId>,
        /// The connection whose credentials refer to a secret that this one reads. The purpose is then that of the
        /// other.
        reads_for: Option<ConnectionId>,
    },
}
