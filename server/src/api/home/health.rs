//! Whether the installation is well, in one sentence per part.

use nexplane_core::api::{HealthLine, HealthPart, HealthState, HostCounts};
use nexplane_core::time::Timestamp;
use nexplane_projections::hosts;
use nexplane_projections::inventory::{self, ConnectionHealth};

use crate::app::App;
use crate::problem::{ApiError, ApiResult};
use crate::stream;

/// Events that a read model may be behind while it works as usual: two batches.
const USUAL_LAG: u64 = 1_000;
/// Seconds within which every event is sealed, with time to spare: a sealer waits for one second.
const SEALED_WITHIN_S: i64 = 60;

/// The lines, and what was found of connections.
pub async fn of(app: &App, at: Timestamp) -> ApiResult<(Vec<HealthLine>, ConnectionHealth)> {
    let found = inventory::connection_health(&app.pool).await?;
    let lines = vec![
        projections(app).await?,
        hosts_line(&hosts::count(&app.pool, &hosts::HostFilter::default()).await?),
        connections(&found),
        seal(app, at).await?,
    ];
    Ok((lines, found))
}

fn line(part: HealthPart, state: HealthState, sentence: String) -> HealthLine {
    HealthLine { part, state, sentence }
}

async fn projections(app: &App) -> ApiResult<HealthLine> {
    let rows = app.projections.status().await.map_err(ApiError::unavailable)?;
    let names = |wanted: &dyn Fn(&nexplane_core::api::ProjectionView) -> bool| {
        let names: Vec<_> =
            rows.iter().filter(|row| wanted(row)).map(|row| row.name.as_str()).collect();
        names.join(", ")
    };
    let stalled = names(&|row| row.state == "stalled");
    let rebuilding = names(&|row| row.state == "rebuilding");
    let behind = names(&|row| row.lag > USUAL_LAG);
    let (state, sentence) = if !stalled.is_empty() {
        (HealthState::Bad, format!("Stopped, so lists that are made of it are old: {stalled}."))
    } else if !rebuilding.is_empty() {
        (HealthState::Attention, format!("Being built again: {rebuilding}."))
    } else if !behind.is_empty() {
        (HealthState::Attention, format!("Behind the log: {behind}."))
    } else {
        (HealthState::Good, "Every list is up to date with the log.".to_owned())
    };
    Ok(line(HealthPart::Projections, state, sentence))
}

fn hosts_line(counts: &HostCounts) -> HealthLine {
    let HostCounts { online, offline, locked, revoked: _ } = *counts;
    let all = online + offline + locked;
    let (state, sentence) = if all == 0 {
        (HealthState::Unknown, "No host has an agent yet.".to_owned())
    } else if locked > 0 {
        (
            HealthState::Bad,
            format!("{locked} locked and {offline} offline, of {}.", many(all, "host")),
        )
    } else if offline > 0 {
        (HealthState::Attention, format!("{offline} of {} offline.", many(all, "host")))
    } else if all == 1 {
        (HealthState::Good, "The host is online.".to_owned())
    } else {
        (HealthState::Good, format!("All {all} hosts are online."))
    };
    line(HealthPart::Hosts, state, sentence)
}

fn connections(found: &ConnectionHealth) -> HealthLine {
    let ConnectionHealth { total, failing, first_failing, untested, discovered: _ } = found;
    let (state, sentence) = match first_failing {
        Some(name) if *failing > 1 => {
            let others = failing - 1;
            (
                HealthState::Bad,
                format!("The last test of {name} and of {} failed.", many(others, "other")),
            )
        }
        Some(name) => (HealthState::Bad, format!("The last test of {name} failed.")),
        None if *total == 0 => (HealthState::Unknown, "Nothing is connected yet.".to_owned()),
        None if *untested > 0 => (
            HealthState::Unknown,
            format!("Not tested with their present credentials: {untested} of {total}."),
        ),
        None => {
            (HealthState::Good, format!("The last test of {} passed.", every(*total, "connection")))
        }
    };
    line(HealthPart::Connections, state, sentence)
}

async fn seal(app: &App, at: Timestamp) -> ApiResult<HealthLine> {
    let head = app.log.head().await.map_err(ApiError::unavailable)?.next_position;
    let Some(sealed) = app.seals.newest().await? else {
        let sentence = "Nothing is sealed yet, so nobody could prove what was recorded.".to_owned();
        return Ok(line(HealthPart::Seal, HealthState::Attention, sentence));
    };
    let tail = head.saturating_sub(sealed.size);
    if tail > 0 {
        let first = app.log.read(sealed.size, 1).await.map_err(ApiError::unavailable)?;
        let since = first.first().map(stream::recorded).transpose()?.map(|first| first.header.at);
        if since.is_some_and(|since| at.seconds_since(since) > SEALED_WITHIN_S) {
            let sentence = format!("Not sealed for more than a minute: {}.", many(tail, "event"));
            return Ok(line(HealthPart::Seal, HealthState::Bad, sentence));
        }
    }
    // Every signature is a line that begins so; the first is the log's own.
    let witnesses = sealed.note.lines().filter(|line| line.starts_with("— ")).count();
    let witnesses = u64::try_from(witnesses).unwrap_or(u64::MAX).saturating_sub(1);
    Ok(match witnesses {
        0 => line(
            HealthPart::Seal,
            HealthState::Unknown,
            format!(
                "Sealed up to event {}; no witness has signed that.",
                sealed.size.saturating_sub(1)
            ),
        ),
        _ => line(
            HealthPart::Seal,
            HealthState::Good,
            format!(
                "Sealed up to event {}, signed by {}.",
                sealed.size.saturating_sub(1),
                if witnesses == 1 {
                    "a witness".to_owned()
                } else {
                    format!("{witnesses} witnesses")
                },
            ),
        ),
    })
}

fn many(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn every(count: u64, what: &str) -> String {
    if count == 1 { format!("the {what}") } else { format!("all {count} {what}s") }
}
