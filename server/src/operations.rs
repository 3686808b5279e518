//! How the installation is: what waits and since when, what has not moved for longer than it should, who carries
//! out what, how far the log is sealed. `GET /operations` shows it and `/metrics` counts it, from here.
//!
//! | It has stalled when | for longer than |
//! |---|---|
//! | a change executes and no server works on it | a minute |
//! | a change executes and nothing happens | 15 minutes |
//! | a scheduled change has not started | two minutes |
//! | a host's orders are not fetched: its agent is there | a minute |
//! | a host's orders are not fetched: its agent is not there | – |
//! | nobody knows whether a change took effect | – |
//! | Nexplane does not act on an event | ten seconds |
//! | an event is not sealed | a minute |
//!
//! Deliberately absent: read models that are behind, which `GET /projections` tells.

use std::collections::{BTreeMap, HashMap};

use nexplane_core::api::{
    AgentsView, ChangeState, LeaseView, OperationsView, QueueKind, QueueView, SealView,
    StalledKind, StalledView, Subject, WitnessView,
};
use nexplane_core::id::RunId;
use nexplane_core::time::Timestamp;
use nexplane_projections::operations::{self, Standing};
use nexplane_projections::{changes, upkeep};
use uuid::Uuid;

use crate::app::App;
use crate::gateway::Gateway;
use crate::problem::{ApiError, ApiResult};
use crate::stream;

const UNATTENDED_S: i64 = 60;
const SILENT_S: i64 = 15 * 60;
const NOT_STARTED_S: i64 = 2 * 60;
const UNFETCHED_S: i64 = 60;
const REACTION_S: i64 = 10;
const SEAL_S: i64 = 60;
/// Stalled work and leases that are shown.
const SHOWN: usize = 100;

/// What this server is, which agents are compared with.
const CURRENT: &str = env!("CARGO_PKG_VERSION");

/// Everything but the moments at which leases were taken, which the log has.
pub async fn read(app: &App) -> ApiResult<OperationsView> {
    let at = app.moment().unwrap_or_else(stream::now);
    let mut queues = operations::changes(&app.pool).await?;
    let mut stalled = Vec::new();

    let leases = leases(app).await?;
    queues.push(turns(app).await?);
    let (orders, waiting_hosts) = orders(app, at).await?;
    queues.extend(orders);
    stalled.extend(waiting_hosts);
    let head = app.log.head().await.map_err(ApiError::unavailable)?.next_position;
    let (reaction, late) = reactions(app, at, head).await?;
    queues.push(reaction);
    stalled.extend(late);
    queues.sort_by_key(|queue| queue.kind);

    let executing = operations::standing(&app.pool, ChangeState::Executing).await?;
    stalled.extend(executing.into_iter().filter_map(|change| unmoved(change, &leases, at)));
    stalled.extend(not_started(app, at).await?);
    let unknown = operations::standing(&app.pool, ChangeState::OutcomeUnknown).await?;
    stalled.extend(unknown.into_iter().map(|change| StalledView {
        kind: StalledKind::Unsettled,
        since: change.since,
        sentence: "Nobody knows whether it took effect.".to_owned(),
        advice: "Look at the target, then open the change and settle it.".to_owned(),
        subject: Some(change.subject),
    }));
    let seal = seal(app, head).await?;
    stalled.extend(unsealed(&seal, at));
    stalled.sort_by_key(|stalled| stalled.since);
    stalled.truncate(SHOWN);

    let versions = operations::agents(&app.pool, CURRENT).await?;
    let older: Vec<&str> =
        versions.iter().filter(|row| row.behind).map(|row| row.version.as_str()).collect();
    let behind_hosts = operations::hosts_with(&app.pool, &older).await?;
    let behind = versions.iter().filter(|row| row.behind).map(|row| row.hosts).sum();
    let (discoveries, discoveries_in_all) = operations::failed_discoveries(&app.pool).await?;
    let polls = app.gateway.as_ref().map_or(0, Gateway::held_polls);
    Ok(OperationsView {
        at,
        queues,
        stalled,
        leases_in_all: leases.len() as u64,
        leases: leases.into_values().take(SHOWN).collect(),
        seal,
        agents: AgentsView { current: CURRENT.to_owned(), versions, behind, behind_hosts },
        discoveries,
        discoveries_in_all,
        live_connections: u64::try_from(app.metrics.live.get()).unwrap_or_default(),
        agent_polls: polls as u64,
    })
}

/// Of every run that somebody works on, who does. Few: a server works on so many at a time.
async fn leases(app: &App) -> ApiResult<BTreeMap<RunId, LeaseView>> {
    let rows: Vec<(Uuid, Uuid, i64, bool)> = sqlx::query_as(
        "SELECT run_id, worker, (extract(epoch FROM expires_at) * 1000000)::bigint, \
             expires_at < now() FROM nexplane.run_leases ORDER BY run_id",
    )
    .fetch_all(&app.pool)
    .await?;
    let runs: Vec<Uuid> = rows.iter().map(|(run, ..)| *run).collect();
    let changes = operations::changes_of_runs(&app.pool, &runs).await?;
    let mut changes: HashMap<RunId, Subject> = changes.into_iter().collect();
    let lease = |(run, worker, until, expired): (Uuid, Uuid, i64, bool)| {
        let run = RunId(run);
        let view = LeaseView {
            run,
            worker: worker.to_string(),
            here: app.engine.worker() == worker,
            since: None,
            until: Timestamp::from_micros(until),
            expired,
            subject: changes.remove(&run),
        };
        (run, view)
    };
    Ok(rows.into_iter().map(lease).collect())
}

/// Runs that asked for a target after another one.
async fn turns(app: &App) -> ApiResult<QueueView> {
    let waiting: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT own.change, min(own.ticket) FROM nexplane.target_queue own \
         WHERE EXISTS (SELECT FROM nexplane.target_queue other \
                       WHERE other.asset = own.asset AND other.ticket < own.ticket \
                         AND NOT (other.reads AND own.reads)) \
         GROUP BY own.run, own.change ORDER BY 2",
    )
    .fetch_all(&app.pool)
    .await?;
    let found = match waiting.first() {
        Some((change, _)) => operations::change(&app.pool, *change).await?,
        None => None,
    };
    let (subject, oldest) = found.map_or((None, None), |(subject, at)| (Some(subject), at));
    Ok(QueueView { kind: QueueKind::Turn, waiting: waiting.len() as u64, oldest, subject })
}

/// Orders of one host that are open.
#[derive(sqlx::FromRow)]
struct OpenOrders {
    host_id: Uuid,
    unfetched: i64,
    unfetched_since: Option<i64>,
    unanswered: i64,
    unanswered_since: Option<i64>,
}

/// Orders to agents, and the hosts that they wait for.
async fn orders(app: &App, at: Timestamp) -> ApiResult<([QueueView; 2], Vec<StalledView>)> {
    let rows: Vec<OpenOrders> = sqlx::query_as(
        "SELECT host_id, \
             count(*) FILTER (WHERE delivered_at IS NULL) AS unfetched, \
             (extract(epoch FROM min(created_at) FILTER (WHERE delivered_at IS NULL)) * 1000000)::bigint \
                 AS unfetched_since, \
             count(*) FILTER (WHERE delivered_at IS NOT NULL) AS unanswered, \
             (extract(epoch FROM min(delivered_at)) * 1000000)::bigint AS unanswered_since \
         FROM nexplane.agent_jobs WHERE finished_at IS NULL AND withdrawn_at IS NULL \
             AND (delivered_at IS NOT NULL OR not_after > now()) GROUP BY host_id",
    )
    .fetch_all(&app.pool)
    .await?;
    let oldest = |of: fn(&OpenOrders) -> Option<i64>| {
        rows.iter().filter_map(|row| Some((of(row)?, row.host_id))).min()
    };
    let first = [oldest(|row| row.unfetched_since), oldest(|row| row.unanswered_since)];
    // Those that wait longest first, and of those no more than are shown.
    let mut unfetched: Vec<&OpenOrders> = rows.iter().filter(|row| row.unfetched > 0).collect();
    unfetched.sort_by_key(|row| row.unfetched_since);
    let ids: Vec<Uuid> = unfetched
        .iter()
        .take(SHOWN)
        .map(|row| row.host_id)
        .chain(first.iter().flatten().map(|(_, host)| *host))
        .collect();
    let known: HashMap<_, _> = operations::hosts(&app.pool, &ids).await?.into_iter().collect();
    let of = |host: &Uuid| known.get(&nexplane_core::id::HostId(*host));
    let queue = |kind, waiting: i64, oldest: Option<(i64, Uuid)>| QueueView {
        kind,
        waiting: waiting.unsigned_abs(),
        oldest: oldest.map(|(since, _)| Timestamp::from_micros(since)),
        subject: oldest.and_then(|(_, host)| Some(of(&host)?.subject.clone())),
    };
    let [unfetched_first, unanswered_first] = first;
    let queues = [
        queue(QueueKind::Order, rows.iter().map(|row| row.unfetched).sum(), unfetched_first),
        queue(QueueKind::Answer, rows.iter().map(|row| row.unanswered).sum(), unanswered_first),
    ];
    let stalled = |row: &&OpenOrders| {
        let (host, since) = (of(&row.host_id)?, Timestamp::from_micros(row.unfetched_since?));
        let orders = match row.unfetched {
            1 => "One order waits".to_owned(),
            many => format!("{many} orders wait"),
        };
        let (sentence, advice) = if host.is_online {
            if at.seconds_since(since) < UNFETCHED_S {
                return None;
            }
            (
                format!("{orders} for its agent, which is there and does not fetch them."),
                "Look at the agent's own log on the host, then start it again.",
            )
        } else {
            (
                format!("{orders} for its agent, and the host is {}.", host.status),
                "Start the agent on the host, or see on its page why it is not there.",
            )
        };
        Some(StalledView {
            kind: StalledKind::Host,
            since,
            sentence,
            advice: advice.to_owned(),
            subject: Some(host.subject.clone()),
        })
    };
    let stalled = unfetched.iter().take(SHOWN).filter_map(stalled).collect();
    Ok((queues, stalled))
}

/// Events that the process managers have not acted on.
async fn reactions(
    app: &App,
    at: Timestamp,
    head: u64,
) -> ApiResult<(QueueView, Option<StalledView>)> {
    let next: i64 = sqlx::query_scalar("SELECT next_position FROM nexplane.reactor")
        .fetch_one(&app.pool)
        .await?;
    let next = next.unsigned_abs();
    let oldest = if next < head { recorded_at(app, next).await? } else { None };
    let waiting = head.saturating_sub(next);
    let queue = QueueView { kind: QueueKind::Reaction, waiting, oldest, subject: None };
    let late = oldest.filter(|since| at.seconds_since(*since) > REACTION_S).map(|since| {
        StalledView {
            kind: StalledKind::Reactions,
            since,
            sentence: "Nexplane does not act on what happened: nothing starts, expires or is discovered by itself."
                .to_owned(),
            advice: "Look for errors of the reactor in the server's log. One server at a time acts, and another takes \
                     over when it ends: start it again."
                .to_owned(),
            subject: None,
        }
    });
    Ok((queue, late))
}

/// When the event at a position was recorded.
async fn recorded_at(app: &App, position: u64) -> ApiResult<Option<Timestamp>> {
    let events = app.log.read(position, 1).await.map_err(ApiError::unavailable)?;
    let Some(stored) = events.first() else { return Ok(None) };
    let recorded = stream::recorded(stored).map_err(ApiError::internal)?;
    Ok(Some(recorded.header.at))
}

/// A change that executes and does not get on.
fn unmoved(
    change: Standing,
    leases: &BTreeMap<RunId, LeaseView>,
    at: Timestamp,
) -> Option<StalledView> {
    let Standing { subject, since, run, waits } = change;
    // What is carried out target by target has many runs, and waits for people when it is paused.
    let lease = leases.get(&run?).filter(|lease| !lease.expired);
    let age = at.seconds_since(since);
    let (kind, sentence, advice) = if lease.is_none() && age > UNATTENDED_S {
        (
            StalledKind::Unattended,
            "It executes, and no server works on it.".to_owned(),
            "A server takes it over within a minute, if one runs. If none does, look at the servers' logs.",
        )
    } else if age > SILENT_S {
        let waits = waits.map_or_else(String::new, |waits| format!(" {waits}"));
        (
            StalledKind::Silent,
            format!("It executes, and nothing has happened since.{waits}"),
            "Open it to see the step that it is at. Cancelling it lets that step end and starts no other.",
        )
    } else {
        return None;
    };
    Some(StalledView { kind, since, sentence, advice: advice.to_owned(), subject: Some(subject) })
}

/// Changes that should have started by themselves.
async fn not_started(app: &App, at: Timestamp) -> ApiResult<Vec<StalledView>> {
    let late = upkeep::scheduled(&app.pool, Some(at.plus_seconds(-NOT_STARTED_S))).await?;
    let ids: Vec<_> = late.iter().take(SHOWN).map(|(change, _)| *change).collect();
    let titles = changes::titles(&app.pool, &ids).await?;
    let stalled = |(id, since)| {
        let (number, title) = titles.get(&id)?.clone();
        Some(StalledView {
            kind: StalledKind::NotStarted,
            since,
            sentence: "It should have started by itself.".to_owned(),
            advice: "Open it: it says what it waits for. A target that cannot be read is tried again until its \
                     window closes."
                .to_owned(),
            subject: Some(Subject::Change { id, number, title }),
        })
    };
    Ok(late.into_iter().take(SHOWN).filter_map(stalled).collect())
}

async fn seal(app: &App, events: u64) -> ApiResult<SealView> {
    let last = app.seals.last().await?;
    let size = last.map_or(0, |(size, _)| size);
    let unsealed_since = if size < events { recorded_at(app, size).await? } else { None };
    let witnesses = app.seals.witnessed().await?.into_iter();
    Ok(SealView {
        events,
        sealed: size.checked_sub(1),
        sealed_at: last.map(|(_, at)| at),
        unsealed: events.saturating_sub(size),
        unsealed_since,
        here: app.log_key.is_some(),
        witnesses: witnesses
            .filter_map(|(name, size, at)| {
                Some(WitnessView { name, position: size.checked_sub(1)?, at })
            })
            .collect(),
    })
}

fn unsealed(seal: &SealView, at: Timestamp) -> Option<StalledView> {
    let since = seal.unsealed_since.filter(|since| at.seconds_since(*since) > SEAL_S)?;
    Some(StalledView {
        kind: StalledKind::Seal,
        since,
        sentence: format!(
            "{} events are not sealed: nothing proves yet that they stay as they are.",
            seal.unsealed
        ),
        advice:
            "Look for why the log is no longer sealed in the log of the server that has its key."
                .to_owned(),
        subject: None,
    })
}

#[cfg(test)]
mod tests {
    use nexplane_core::id::ChangeId;

    use super::*;

    fn executing(run: Option<RunId>) -> Standing {
        let subject =
            Subject::Change { id: ChangeId(Uuid::nil()), number: 7, title: "Lock app".to_owned() };
        Standing { subject, since: Timestamp::from_micros(0), run, waits: None }
    }

    fn lease(run: RunId, expired: bool) -> BTreeMap<RunId, LeaseView> {
        let view = LeaseView {
            run,
            worker: "w".to_owned(),
            here: false,
            since: None,
            until: Timestamp::from_micros(0),
            expired,
            subject: None,
        };
        BTreeMap::from([(run, view)])
    }

    #[test]
    fn what_executes_has_stalled_when_nobody_works_on_it_or_nothing_happens_for_long() {
        let run = RunId(Uuid::from_u128(1));
        let kind = |leases: &BTreeMap<_, _>, run, second: i64| {
            let at = Timestamp::from_micros(0).plus_seconds(second);
            unmoved(executing(run), leases, at).map(|stalled| stalled.kind)
        };
        let (held, lapsed) = (lease(run, false), lease(run, true));
        assert_eq!(kind(&held, Some(run), SILENT_S), None);
        assert_eq!(kind(&held, Some(run), SILENT_S + 1), Some(StalledKind::Silent));
        assert_eq!(kind(&lapsed, Some(run), UNATTENDED_S), None);
        assert_eq!(kind(&lapsed, Some(run), UNATTENDED_S + 1), Some(StalledKind::Unattended));
        assert_eq!(kind(&BTreeMap::new(), Some(run), 3600), Some(StalledKind::Unattended));
        assert_eq!(kind(&BTreeMap::new(), None, 3600), None, "a rollout has a run for each target");
    }

    #[test]
    fn what_is_not_sealed_for_a_minute_is_told() {
        let since = Timestamp::from_micros(0);
        let view = |unsealed_since| SealView {
            events: 9,
            sealed: Some(3),
            sealed_at: Some(since),
            unsealed: 5,
            unsealed_since,
            here: true,
            witnesses: Vec::new(),
        };
        assert_eq!(unsealed(&view(None), since.plus_seconds(9000)), None);
        assert_eq!(unsealed(&view(Some(since)), since.plus_seconds(SEAL_S)), None);
        let told = unsealed(&view(Some(since)), since.plus_seconds(SEAL_S + 1)).unwrap();
        assert!(told.sentence.starts_with("5 events"), "{told:?}");
    }
}
