//! Keys of one logical database: counting and deleting them in small steps.
//!
//! Every step is one `SCAN` of about [`STEP`] keys and one command that deletes what it found, so other clients
//! are served in between. `SCAN` answers every key that is there from its beginning to its end; keys that come
//! meanwhile may stay. <https://redis.io/docs/latest/commands/scan/#scan-guarantees>

use std::collections::BTreeSet;

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::connection::{Connection, command};
use super::error::{after_change, is_forbidden};
use super::rights::{OnKey, SEARCH_KEYS, rights_check};
use super::saving::setting;
use super::session::Session;
use super::target::Seen;
use crate::sdk::{ConnectorError, DigestKey, Done, Effect, StepContext, TargetState, check};

/// Keys that one step looks at.
const STEP: u64 = 500;
/// Most keys of a database that is searched: looking at as many takes tens of seconds.
pub const MOST: u64 = 5_000_000;
/// Most keys that one change deletes.
pub const HIGHEST_LIMIT: u32 = 100_000;

/// Which keys are meant.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// With an expiry.
    Volatile,
    /// With a name that the pattern takes in.
    Matching(&'a str),
}

/// A database that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// All of its keys.
    keys: u64,
    /// Those that are meant; one more than the limit stands for all that is above it. Absent when the database
    /// is too large to be searched.
    meant: Option<u64>,
}

/// How many keys there are. Both numbers move by themselves in a database that is in use, so only whether there
/// are any is fingerprinted: what is approved is the pattern and the limit, and not a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub database: Seen<Counted>,
    limit: u32,
}

impl Keys {
    /// How many would go, as far as it is known.
    pub fn meant(&self) -> u64 {
        self.database.there().and_then(|counted| counted.meant).unwrap_or(0)
    }
}

impl TargetState for Keys {
    fn fields(&self) -> Vec<Field> {
        match &self.database {
            Seen::Absent => vec![Field::new("exists", false)],
            Seen::Unreadable => vec![Field::new("keys", "not readable by the connection")],
            Seen::There(counted) => vec![
                Field::new("exists", true),
                Field::new("keys", counted.keys),
                Field::new("keys_to_delete", counted.meant),
            ],
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match &self.database {
            Seen::Absent => Value::Null,
            Seen::Unreadable => json!("unreadable"),
            Seen::There(counted) => match counted.meant {
                Some(meant) => json!({ "any": meant > 0 }),
                None => json!({ "any": "too large to be searched" }),
            },
        }
    }
}

/// What was deleted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    deleted: u64,
}

pub async fn snapshot(
    session: &Session,
    target: &TargetRef,
    which: Which<'_>,
    limit: u32,
) -> Result<Keys, ConnectorError> {
    let number = session.database_of(target)?;
    let counted = async {
        let all = setting(session, "databases").await?.and_then(|text| text.parse::<u32>().ok());
        if all.is_some_and(|all| number >= all) {
            return Ok(Seen::Absent);
        }
        let connection = session.database(number).await?;
        Ok(Seen::There(count(&connection, number, which, limit).await?))
    };
    let database = match counted.await {
        Err(error) if is_forbidden(&error) => Seen::Unreadable,
        answer => answer?,
    };
    Ok(Keys { database, limit })
}

async fn count(
    connection: &Connection,
    number: u32,
    which: Which<'_>,
    limit: u32,
) -> Result<Counted, ConnectorError> {
    let keys: u64 = connection.ask(&["DBSIZE"]).await?;
    if keys > MOST {
        return Ok(Counted { keys, meant: None });
    }
    let above = u64::from(limit) + 1;
    let meant = match which {
        Which::Volatile => volatile(connection, number).await?.min(above),
        Which::Matching(_) => {
            let mut found = BTreeSet::new();
            let mut search = Search::new(which);
            // SCAN may answer a key more than once.
            while let Some(names) = search.step(connection).await? {
                found.extend(names);
                if u64::try_from(found.len()).is_ok_and(|count| count >= above) {
                    break;
                }
            }
            u64::try_from(found.len()).unwrap_or(above).min(above)
        }
    };
    Ok(Counted { keys, meant: Some(meant) })
}

/// Keys with an expiry, as the server counts them: `db0:keys=7,expires=2,avg_ttl=0`.
/// <https://redis.io/docs/latest/commands/info/>
async fn volatile(connection: &Connection, number: u32) -> Result<u64, ConnectorError> {
    let info: String = connection.ask(&["INFO", "keyspace"]).await?;
    Ok(expires(&info, number))
}

fn expires(info: &str, number: u32) -> u64 {
    let prefix = format!("db{number}:");
    let line = info.lines().find_map(|line| line.trim_end().strip_prefix(&prefix));
    // A database without keys has no line.
    line.and_then(|line| {
        line.split(',').find_map(|part| part.strip_prefix("expires=")?.parse().ok())
    })
    .unwrap_or(0)
}

/// One walk through a database.
struct Search<'a> {
    which: Which<'a>,
    cursor: Option<u64>,
}

impl<'a> Search<'a> {
    const fn new(which: Which<'a>) -> Self {
        Self { which, cursor: Some(0) }
    }

    /// The next names, which may be none; nothing at the end.
    async fn step(
        &mut self,
        connection: &Connection,
    ) -> Result<Option<Vec<Vec<u8>>>, ConnectorError> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut scan = command(&["SCAN", &cursor.to_string()]);
        if let Which::Matching(pattern) = self.which {
            scan.arg("MATCH").arg(pattern);
        }
        scan.arg("COUNT").arg(STEP);
        let (next, names): (u64, Vec<Vec<u8>>) = connection.query(&scan).await?;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(names))
    }
}

/// Deletes in one step those of the keys that still expire, and no more than it may: whether they do is asked
/// where nothing can come in between. Answers how many went, and how many would have been too many.
const DELETE_VOLATILE: &str = "local gone, left = 0, 0 \
     for _, key in ipairs(KEYS) do \
       if redis.call('PTTL', key) >= 0 then \
         if gone < tonumber(ARGV[1]) then gone = gone + redis.call('UNLINK', key) \
         else left = left + 1 end \
       end \
     end \
     return {gone, left}";

/// Deletes of these names what is meant, and no more than `most`. Answers how many went, and how many are left.
async fn delete_some(
    connection: &Connection,
    which: Which<'_>,
    names: &[Vec<u8>],
    most: u64,
) -> Result<(u64, u64), ConnectorError> {
    match which {
        Which::Volatile => {
            let mut script = command(&["EVAL", DELETE_VOLATILE, &names.len().to_string()]);
            for name in names {
                script.arg(name);
            }
            connection.change(script.arg(most)).await
        }
        Which::Matching(_) => {
            let some = names.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            let left = u64::try_from(names.len() - some).unwrap_or(u64::MAX);
            let mut unlink = command(&["UNLINK"]);
            for name in names.iter().take(some) {
                unlink.arg(name);
            }
            let gone = if some == 0 { 0 } else { connection.change(&unlink).await? };
            Ok((gone, left))
        }
    }
}

/// Deletes what is meant, step by step. Refuses when there is more of it than the limit, before or meanwhile.
pub async fn delete(
    session: &Session,
    cx: &StepContext,
    before: &Keys,
    which: Which<'_>,
) -> Result<Effect<Deleted>, ConnectorError> {
    let number = session.database_of(&cx.step.target)?;
    let limit = u64::from(before.limit);
    let connection = session.database(number).await?;
    let now = count(&connection, number, which, before.limit).await?;
    match now.meant {
        None => return Err(ConnectorError::conflict(too_large(now.keys))),
        Some(0) => return Ok(Effect { changed: false, outcome: Deleted { deleted: 0 } }),
        Some(meant) if meant > limit => return Err(ConnectorError::conflict(too_many(limit))),
        Some(_) if before.meant() == 0 => {
            return Err(ConnectorError::conflict(
                "there was nothing to delete when it was planned, and now there is: plan again",
            ));
        }
        Some(_) => {}
    }
    let mut deleted: u64 = 0;
    let after = |deleted: u64, error: ConnectorError| {
        if deleted > 0 { after_change(error) } else { error }
    };
    let mut search = Search::new(which);
    loop {
        let step = search.step(&connection).await.map_err(|error| after(deleted, error))?;
        let Some(names) = step else { break };
        if names.is_empty() {
            continue;
        }
        let some = delete_some(&connection, which, &names, limit - deleted).await;
        let (gone, left) = some.map_err(|error| after(deleted, error))?;
        deleted += gone;
        cx.progress.report(Done { done: deleted, most: now.meant, unit: "keys" });
        if left > 0 {
            let error = ConnectorError::conflict(format!(
                "more keys came while they were deleted: stopped at the limit after {deleted}, \
                 plan again"
            ));
            return Err(after(deleted, error));
        }
    }
    Ok(Effect { changed: deleted > 0, outcome: Deleted { deleted } })
}

/// Whether the keys are gone. Where they come back by themselves it is the outcome that says so: it is there
/// only after a walk through the whole database.
pub fn are_gone(now: &Keys, outcome: Option<&Deleted>) -> bool {
    match &now.database {
        Seen::There(counted) => counted.meant == Some(0) || outcome.is_some(),
        Seen::Absent | Seen::Unreadable => false,
    }
}

fn too_large(keys: u64) -> String {
    format!("the database has {keys} keys: one of more than {MOST} is not searched")
}

fn too_many(limit: u64) -> String {
    format!("more than {limit} keys would be deleted: raise the limit, or name fewer keys")
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    state: &Keys,
    name: &str,
    on_keys: &[OnKey<'_>],
) -> Result<Vec<Check>, ConnectorError> {
    let own = session.own();
    let (exists, detail) = match &state.database {
        Seen::There(_) => (true, format!("{} is there", target.name)),
        Seen::Absent => (false, "the server has no such database: run discovery again".to_owned()),
        Seen::Unreadable => {
            let rules: Vec<_> = SEARCH_KEYS.iter().map(|right| right.rule).collect();
            (false, format!("as an administrator run: ACL SETUSER {own} {}", rules.join(" ")))
        }
    };
    let greeting = &session.line.greeting;
    let mut checks = vec![
        check("the database exists", exists, detail),
        check(
            "the server can be written to",
            greeting.is_primary(),
            if greeting.is_primary() {
                "it is not a replica"
            } else {
                "it is a replica: connect to the primary"
            },
        ),
        check(
            "the server has all keys of the database",
            !greeting.is_cluster(),
            if greeting.is_cluster() {
                "it is a node of a cluster, which has a part of the keys only: not offered there"
            } else {
                "it is no node of a cluster"
            },
        ),
        rights_check(session, name, &SEARCH_KEYS, on_keys).await?,
    ];
    if let Seen::There(counted) = &state.database {
        let (what, limit) = ("no more keys than the limit would go", u64::from(state.limit));
        checks.push(match counted.meant {
            None => check(what, false, too_large(counted.keys)),
            Some(meant) if meant > limit => check(what, false, too_many(limit)),
            Some(meant) => check(what, true, format!("{meant} of at most {limit}")),
        });
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::expires;

    #[test]
    fn expiring_keys_are_counted_by_the_server() {
        let info =
            "# Keyspace\r\ndb0:keys=7,expires=2,avg_ttl=0\r\ndb10:keys=1,expires=1,avg_ttl=5\r\n";
        assert_eq!([0, 1, 10].map(|number| expires(info, number)), [2, 0, 1]);
        assert_eq!(expires("", 0), 0);
    }
}
