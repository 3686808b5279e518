//! Where the records come from: a database, or an export of one.

use anyhow::{Context as _, bail, ensure};
use nexplane_core::proof::checkpoint::Checkpoint;
use nexplane_core::proof::note::Note;
use nexplane_core::proof::tile::WIDTH;
use nexplane_core::record;
use nexplane_core::time::Timestamp;
use nexplane_store::database::Role;
use nexplane_store::log::evidence;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection, PgPool};
use uuid::Uuid;

use super::Until;
use crate::audit::{Evidence as _, Folder};
use crate::directory::{Directory, Entry};
use crate::seal;

/// A log, read from its first record.
pub struct Source {
    kind: Kind,
    pub incarnation: Uuid,
    /// One after the last position that is there.
    pub end: u64,
    /// The signed notes of the checkpoints, by size.
    notes: Vec<String>,
    /// Names and addresses of people, which are in no log.
    pub people: Vec<Entry>,
}

enum Kind {
    /// One snapshot, with no right to change anything.
    Database(PgConnection),
    Folder(Folder),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Source {
    /// The login needs the role `nexplane_read`; people have names when it also has `nexplane_app`.
    pub async fn database(target: PgConnectOptions) -> anyhow::Result<Self> {
        let connection = Role::Read.at(target.clone()).connect().await;
        let mut connection = connection
            .context("cannot open the database; the login has to be a member of nexplane_read")?;
        let snapshot = evidence::begin(&mut connection)
            .await
            .context("cannot read the event log: is this the database of a Nexplane?")?;
        Ok(Self {
            kind: Kind::Database(connection),
            incarnation: snapshot.incarnation,
            end: snapshot.next_position,
            notes: snapshot.checkpoints,
            people: people(target).await.unwrap_or_default(),
        })
    }

    pub fn folder(mut folder: Folder) -> anyhow::Result<Self> {
        let (from, end) = folder.range();
        ensure!(
            from == 0,
            "this export begins at position {from}; a replay begins with the first event: export \
             without --from"
        );
        let origin = folder.manifest().origin.as_str();
        let incarnation = origin
            .rsplit('/')
            .next()
            .and_then(|id| id.parse().ok())
            .filter(|id| seal::origin(*id) == origin)
            .with_context(|| format!("{origin} is not the name of a log of Nexplane"))?;
        let notes = folder.checkpoints()?;
        Ok(Self { kind: Kind::Folder(folder), incarnation, end, notes, people: Vec::new() })
    }

    /// Up to 256 records from a position on, which is a multiple of 256.
    pub async fn records(&mut self, first: u64) -> anyhow::Result<Vec<String>> {
        let next = self.end.min(first + u64::from(WIDTH));
        let found: Vec<Option<String>> = match &mut self.kind {
            Kind::Folder(folder) => folder.piece(first)?.records,
            Kind::Database(connection) => {
                let rows = evidence::records(connection, first, next).await?;
                let mut rows = rows.into_iter().peekable();
                let at = |position| i64::try_from(position).unwrap_or(i64::MAX);
                (first..next)
                    .map(|position| {
                        rows.next_if(|row| row.position == at(position)).map(|row| row.text)
                    })
                    .collect()
            }
        };
        (first..next)
            .zip(found)
            .map(|(position, record)| {
                record.with_context(|| {
                    format!(
                        "there is no record at position {position}; see 'nexplane audit verify'"
                    )
                })
            })
            .collect()
    }

    /// How many events there were until then.
    pub async fn count_until(&mut self, until: &Until) -> anyhow::Result<u64> {
        let last = match *until {
            Until::Position(position) => Some(position),
            Until::Time(moment) => match &mut self.kind {
                Kind::Database(connection) => evidence::position_at(connection, moment).await?,
                Kind::Folder(_) => self.position_at(moment).await?,
            },
        };
        match last {
            Some(last) if last < self.end => Ok(last + 1),
            Some(last) => match self.end.checked_sub(1) {
                Some(newest) => {
                    bail!("there is no event at position {last}; the last one is at {newest}")
                }
                None => bail!("the log is empty"),
            },
            None => bail!("no event was recorded until then"),
        }
    }

    /// As the log answers it: the latest of the events recorded until then.
    async fn position_at(&mut self, moment: Timestamp) -> anyhow::Result<Option<u64>> {
        let mut latest = None;
        let mut first = 0;
        while first < self.end {
            let records = self.records(first).await?;
            for (record, position) in records.iter().zip(first..) {
                let at = record::decode(record)?.header.at;
                if at <= moment {
                    latest = latest.max(Some((at, position)));
                }
            }
            first += records.len() as u64;
        }
        Ok(latest.map(|(_, position)| position))
    }

    /// The newest signed note over at most this many events, and what it says.
    pub fn checkpoint(&self, count: u64) -> anyhow::Result<Option<(&str, Checkpoint)>> {
        for text in self.notes.iter().rev() {
            let note = Note::parse(text.as_bytes()).context("a checkpoint is not a signed note")?;
            let checkpoint: Checkpoint =
                note.text().parse().context("a signed note is not a checkpoint")?;
            if checkpoint.size() <= count {
                return Ok(Some((text, checkpoint)));
            }
        }
        Ok(None)
    }
}

/// Everybody in the directory, when the login may read it.
async fn people(target: PgConnectOptions) -> Result<Vec<Entry>, sqlx::Error> {
    let pool = PgPool::connect_with(Role::App.at(target)).await?;
    let people = Directory::new(pool.clone()).list().await;
    pool.close().await;
    people
}

/// Enters people who existed at the moment; they cannot sign in.
pub async fn enter(
    people: &[Entry],
    directory: &Directory,
    until: Timestamp,
) -> anyhow::Result<()> {
    for person in people.iter().filter(|person| person.created_at <= until) {
        let Entry { id, email, name, created_at } = person;
        directory.add(*id, email, name, None, *created_at).await?;
    }
    Ok(())
}
