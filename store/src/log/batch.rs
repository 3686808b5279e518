//! Which waiting commands go into one transaction, and the call that writes them.

use std::collections::{HashSet, VecDeque};

use nexplane_core::id::StreamId;
use sqlx::PgConnection;

use super::append::{AppendError, Appended, Guard, Prepared};
use super::appender::Request;

/// What the database said about one command.
pub(super) type Answer = Result<Appended, AppendError>;

/// Takes the next batch out of `waiting`, in order: at most `max_commands`, at most `max_bytes` of
/// records (the first command is taken whatever its size), and only commands whose order among
/// each other has no influence: no stream written twice, none both written and guarded, no command
/// id twice. The others stay, in order.
///
/// A command that stays holds back the later ones of its stream and its id, so that these are
/// tried in the order in which they came. The first one never stays, so nobody starves.
pub(super) fn take<T: AsRef<Prepared>>(
    waiting: &mut VecDeque<T>,
    max_commands: usize,
    max_bytes: usize,
) -> Vec<T> {
    let mut batch = Vec::new();
    let mut later = VecDeque::new();
    let mut bytes = 0;
    let mut ids = HashSet::new();
    let mut written: HashSet<StreamId> = HashSet::new();
    let mut guarded: HashSet<StreamId> = HashSet::new();
    let mut held: HashSet<StreamId> = HashSet::new();

    while batch.len() < max_commands {
        let Some(next) = waiting.pop_front() else { break };
        let command = next.as_ref();
        if !batch.is_empty() && bytes + command.bytes > max_bytes {
            waiting.push_front(next);
            break;
        }
        let fits = !ids.contains(&command.command)
            && !written.contains(&command.stream)
            && !guarded.contains(&command.stream)
            && !held.contains(&command.stream)
            && !command.guards.iter().any(|guard| written.contains(&guard.stream));
        ids.insert(command.command);
        if fits {
            bytes += command.bytes;
            written.insert(command.stream);
            guarded.extend(command.guards.iter().map(|guard| guard.stream));
            batch.push(next);
        } else {
            held.insert(command.stream);
            later.push_back(next);
        }
    }
    later.append(waiting);
    *waiting = later;
    batch
}

/// Columns of a call of `nexplane.append_batch`.
#[derive(Default)]
struct Columns<'a> {
    command_ids: Vec<uuid::Uuid>,
    request_hashes: Vec<&'a [u8]>,
    stream_ids: Vec<&'a str>,
    expected_versions: Vec<i64>,
    recorded: Vec<&'a str>,
    guards: Vec<Guard>,
    guard_commands: Vec<i32>,
    guard_streams: Vec<String>,
    guard_versions: Vec<i64>,
    event_commands: Vec<i32>,
    event_types: Vec<&'a str>,
    event_records: Vec<&'a str>,
    event_hashes: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [Request]) -> Result<Self, sqlx::Error> {
        let mut columns = Self::default();
        for (command, number) in batch.iter().map(|request| &request.prepared).zip(1_i32..) {
            columns.command_ids.push(command.command);
            columns.request_hashes.push(&command.request_hash);
            columns.stream_ids.push(&command.stream_name);
            columns.expected_versions.push(bigint(command.expected)?);
            columns.recorded.push(&command.at);
            for guard in &command.guards {
                columns.guards.push(*guard);
                columns.guard_commands.push(number);
                columns.guard_streams.push(guard.stream.to_string());
                columns.guard_versions.push(bigint(guard.version)?);
            }
            for event in &command.events {
                columns.event_commands.push(number);
                columns.event_types.push(&event.kind);
                columns.event_records.push(&event.record);
                columns.event_hashes.push(&event.leaf_hash);
            }
        }
        Ok(columns)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    command_no: i32,
    verdict: String,
    first_position: Option<i64>,
    last_position: Option<i64>,
    guard_no: Option<i32>,
    actual: Option<i64>,
}

/// Writes a batch in one statement, which is its own transaction, and returns the answers in the
/// order of the commands. On an error nothing is known, unless it is one of the database's own.
pub(super) async fn write(
    connection: &mut PgConnection,
    batch: &[Request],
) -> Result<Vec<Answer>, sqlx::Error> {
    let columns = Columns::of(batch)?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT command_no, verdict, first_position, last_position, guard_no, actual \
         FROM nexplane.append_batch($1, $2, $3, $4, $5::timestamptz[], $6, $7, $8, $9, $10, $11, \
         $12)",
    )
    .bind(&columns.command_ids)
    .bind(&columns.request_hashes)
    .bind(&columns.stream_ids)
    .bind(&columns.expected_versions)
    .bind(&columns.recorded)
    .bind(&columns.guard_commands)
    .bind(&columns.guard_streams)
    .bind(&columns.guard_versions)
    .bind(&columns.event_commands)
    .bind(&columns.event_types)
    .bind(&columns.event_records)
    .bind(&columns.event_hashes)
    .fetch_all(connection)
    .await?;

    let mut answers: Vec<Option<Answer>> = batch.iter().map(|_| None).collect();
    for row in rows {
        let index = nth(row.command_no)?;
        let (Some(slot), Some(request)) = (answers.get_mut(index), batch.get(index)) else {
            return Err(unexpected("an answer for a command that was not asked about"));
        };
        *slot = Some(answer(&row, &request.prepared, &columns.guards)?);
    }
    answers
        .into_iter()
        .map(|answer| answer.ok_or_else(|| unexpected("no answer for a command")))
        .collect()
}

fn answer(row: &Row, command: &Prepared, guards: &[Guard]) -> Result<Answer, sqlx::Error> {
    let placed = |duplicate| {
        Ok::<_, sqlx::Error>(Appended {
            first_position: unsigned(row.first_position)?,
            last_position: unsigned(row.last_position)?,
            duplicate,
        })
    };
    Ok(match row.verdict.as_str() {
        "appended" => Ok(placed(false)?),
        "duplicate" => Ok(placed(true)?),
        "key_reused" => Err(AppendError::KeyReused),
        "conflict" => Err(AppendError::Conflict {
            stream: command.stream,
            expected: command.expected,
            actual: unsigned(row.actual)?,
        }),
        "guard_failed" => {
            let guard = guards
                .get(nth(row.guard_no.unwrap_or_default())?)
                .ok_or_else(|| unexpected("a guard that was not asked about"))?;
            Err(AppendError::GuardFailed {
                stream: guard.stream,
                expected: guard.version,
                actual: unsigned(row.actual)?,
            })
        }
        _ => return Err(unexpected("an unknown verdict")),
    })
}

fn unexpected(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("nexplane.append_batch returned {what}"))
}

/// Index of something that the database counts from 1.
fn nth(number: i32) -> Result<usize, sqlx::Error> {
    usize::try_from(i64::from(number) - 1).map_err(|_| unexpected("a number that is not from 1"))
}

fn bigint(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn unsigned(number: Option<i64>) -> Result<u64, sqlx::Error> {
    let number = number.ok_or_else(|| unexpected("no number where one belongs"))?;
    u64::try_from(number).map_err(|_| unexpected("a negative number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexplane_core::id::ChangeId;
    use uuid::Uuid;

    #[derive(Debug)]
    struct Waiting(Prepared);

    impl AsRef<Prepared> for Waiting {
        fn as_ref(&self) -> &Prepared {
            &self.0
        }
    }

    fn stream(number: u128) -> StreamId {
        ChangeId(Uuid::from_u128(number)).into()
    }

    fn waiting(commands: &[(u128, u128, &[u128], usize)]) -> VecDeque<Waiting> {
        commands
            .iter()
            .map(|&(id, written, guards, bytes)| {
                Waiting(Prepared {
                    command: Uuid::from_u128(id),
                    request_hash: [0; 32],
                    stream: stream(written),
                    stream_name: stream(written).to_string(),
                    expected: 0,
                    at: String::new(),
                    guards: guards
                        .iter()
                        .map(|&guard| Guard { stream: stream(guard), version: 0 })
                        .collect(),
                    events: Vec::new(),
                    bytes,
                })
            })
            .collect()
    }

    fn batches(
        mut waiting: VecDeque<Waiting>,
        max_commands: usize,
        max_bytes: usize,
    ) -> Vec<Vec<u128>> {
        let mut batches = Vec::new();
        while !waiting.is_empty() {
            let batch = take(&mut waiting, max_commands, max_bytes);
            assert!(!batch.is_empty());
            batches.push(batch.iter().map(|command| command.0.command.as_u128()).collect());
        }
        batches
    }

    #[test]
    fn independent_commands_share_a_batch_up_to_its_limits() {
        let five =
            [(1, 1, &[][..], 4), (2, 2, &[], 4), (3, 3, &[], 4), (4, 4, &[], 40), (5, 5, &[], 4)];
        assert_eq!(batches(waiting(&five), 9, 100), [vec![1, 2, 3, 4, 5]]);
        assert_eq!(batches(waiting(&five), 2, 100), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(batches(waiting(&five), 9, 10), [vec![1, 2], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn one_command_per_stream_in_the_order_they_came() {
        let commands = [(1, 1, &[][..], 0), (2, 1, &[], 0), (3, 2, &[], 0), (4, 1, &[], 0)];
        assert_eq!(batches(waiting(&commands), 9, 9), [vec![1, 3], vec![2], vec![4]]);
    }

    #[test]
    fn a_command_id_is_not_repeated_in_a_batch() {
        let commands = [(1, 1, &[][..], 0), (1, 2, &[], 0), (3, 3, &[], 0)];
        assert_eq!(batches(waiting(&commands), 9, 9), [vec![1, 3], vec![1]]);
    }

    #[test]
    fn no_stream_is_written_and_guarded_in_one_batch() {
        let guard_later = [(1, 1, &[][..], 0), (2, 2, &[1], 0), (3, 3, &[4], 0)];
        assert_eq!(batches(waiting(&guard_later), 9, 9), [vec![1, 3], vec![2]]);
        let write_later = [(1, 1, &[2][..], 0), (2, 2, &[], 0), (3, 3, &[2], 0)];
        assert_eq!(batches(waiting(&write_later), 9, 9), [vec![1, 3], vec![2]]);
        let mutual = [(1, 1, &[2][..], 0), (2, 2, &[1], 0)];
        assert_eq!(batches(waiting(&mutual), 9, 9), [vec![1], vec![2]]);
    }

    #[test]
    fn a_command_that_stays_holds_back_its_stream() {
        // 2 waits because stream 1 is written; 3 writes the same stream as 2 and must not overtake.
        let commands = [(1, 1, &[][..], 0), (2, 2, &[1], 0), (3, 2, &[], 0)];
        assert_eq!(batches(waiting(&commands), 9, 9), [vec![1], vec![2], vec![3]]);
    }
}
