//! `/audit`: what happened, as a list, as a file, and one by one.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use nexplane_core::api::{EventDetail, EventView, Page, Positions};
use nexplane_core::id::{Category, StreamId};
use nexplane_core::record::{self, Record};
use nexplane_core::time::Timestamp;
use nexplane_projections::audit::{self, AuditFilter, AuditOrder, Term};
use serde::Deserialize;
use uuid::Uuid;

use super::guard::{Query, catch_up};
use super::{changes, names};
use crate::app::App;
use crate::problem::{ApiError, ApiResult};

/// Events that an export reads at once.
const PIECE: u32 = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    actor: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    resource: Option<String>,
    /// An id, or a number as people say it.
    change_request_id: Option<String>,
    q: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
    /// Of an export.
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON Lines: an event as `GET /audit` shows it, per line.
    #[default]
    Jsonl,
    /// RFC 4180, with a header.
    Csv,
}

/// `GET /audit`: newest first.
pub async fn list(
    State(app): State<App>,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<Page<EventView>>> {
    if query.format.is_some() {
        return Err(ApiError::invalid_field("", "format: only of /audit/export"));
    }
    let filter = filter(&app, &query).await?;
    page(&app, &filter, query.cursor.as_deref(), query.limit).await
}

/// One page, newest first, with names.
pub async fn page(
    app: &App,
    filter: &AuditFilter,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> ApiResult<Json<Page<EventView>>> {
    let order = AuditOrder::NewestFirst;
    let mut page = audit::list(&app.pool, filter, order, cursor, super::limit(limit)?).await?;
    names::of_events(app, page.items.iter_mut()).await?;
    Ok(Json(page))
}

/// `GET /audit/events/{position}`: one event, its record, and what is around it. The event is as the
/// audit view has it, also when somebody has changed the record since.
pub async fn event(
    State(app): State<App>,
    Path(position): Path<u64>,
) -> ApiResult<Json<EventDetail>> {
    let nothing = || ApiError::not_found("event");
    let mut event = audit::find(&app.pool, position).await?.ok_or_else(nothing)?;
    names::of_events(&app, std::iter::once(&mut event)).await?;
    let stored = app.log.read(position, 2).await.map_err(ApiError::unavailable)?;
    let record = stored.first().ok_or_else(nothing)?.record.to_string();
    let next = stored.get(1).map(|next| next.position);

    let stream: StreamId = event.stream.parse().map_err(ApiError::internal)?;
    let (before, after) = (event.version.saturating_sub(1), event.version.saturating_add(1));
    let beside =
        app.log.positions(stream, &[before, after]).await.map_err(ApiError::unavailable)?;
    let [command_at, correlation_at, causation_at] = causes(&app, position, &record).await?;
    Ok(Json(EventDetail {
        record,
        next,
        previous_in_stream: beside.get(&before).copied(),
        next_in_stream: beside.get(&after).copied(),
        command_at,
        correlation_at,
        causation_at,
        event,
    }))
}

/// Where command, correlation and causation of a record are in the log. A record that cannot be read
/// names none.
async fn causes(app: &App, position: u64, record: &str) -> ApiResult<[Option<Positions>; 3]> {
    let Ok(Record { header, .. }) = record::decode(record) else { return Ok([None; 3]) };
    let ids = [header.command, header.correlation, header.causation];
    let known = app.log.spans(&ids).await.map_err(ApiError::unavailable)?;
    let mut places =
        ids.map(|id| known.get(&id).map(|(first, last)| Positions { first: *first, last: *last }));
    if let [.., causation @ None] = &mut places {
        // What is no command is an event.
        let cause = audit::before(&app.pool, position, header.causation).await?;
        *causation = cause.map(|at| Positions { first: at, last: at });
    }
    Ok(places)
}

async fn filter(app: &App, query: &AuditQuery) -> ApiResult<AuditFilter> {
    let actor = match query.actor.as_deref() {
        None | Some("") => None,
        Some("system") => Some(Uuid::nil()),
        Some(text) => match text.parse::<Uuid>() {
            Ok(id) => Some(id),
            Err(_) => {
                let (entry, _) = app.directory.by_email(text).await?.ok_or_else(|| {
                    ApiError::invalid_field("", "actor: give an id, an e-mail address, or system")
                })?;
                Some(entry.id.0)
            }
        },
    };
    let resource = query
        .resource
        .as_deref()
        .filter(|text| !text.is_empty())
        .map(|text| {
            // A stream's name is the resource's id with its category.
            let id = text.split_once('-').filter(|(head, _)| head.parse::<Category>().is_ok());
            id.map_or(text, |(_, id)| id).parse::<Uuid>()
        })
        .transpose()
        .map_err(|_| ApiError::invalid_field("", "resource: give an id"))?;
    let change = match query.change_request_id.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Some(changes::change_id(app, text).await?),
        None => None,
    };
    Ok(AuditFilter {
        without: None,
        from: query.from,
        to: query.to,
        actor,
        kind: query.kind.clone(),
        resource,
        change,
        q: terms(app, query.q.as_deref().unwrap_or_default()).await?,
        whole: false,
    })
}

/// What is searched for, with the people that are called so.
async fn terms(app: &App, search: &str) -> ApiResult<Vec<Term>> {
    let mut terms = audit::terms(search);
    if terms.is_empty() {
        return Ok(terms);
    }
    let people = app.directory.list().await?;
    for term in &mut terms {
        let meant = people.iter().filter(|person| term.means(&person.name, &person.email));
        term.people = meant.map(|person| person.id.0).collect();
    }
    Ok(terms)
}

/// `GET /audit/export`: everything that fits the filter and was written before it was asked for,
/// oldest first, as it is read; nothing (503) while the audit view is too far behind for that. For
/// evidence that proves itself there is `nexplane audit export`.
pub async fn export(
    State(app): State<App>,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Response> {
    if query.cursor.is_some() || query.limit.is_some() {
        return Err(ApiError::invalid_field(
            "",
            "an export has no pages: leave cursor and limit out",
        ));
    }
    // A change is filtered by what the list of changes says that its number is.
    catch_up(&app, &["audit", "changes"]).await?;
    let filter = filter(&app, &query).await?;
    let format = query.format.unwrap_or_default();
    let (content, name) = match format {
        Format::Jsonl => ("application/x-ndjson", "audit.jsonl"),
        Format::Csv => ("text/csv; charset=utf-8", "audit.csv"),
    };
    // An error in the first piece is still an answer; later it breaks the file off.
    let first = piece(&app, &filter, None).await?;
    let head = match format {
        Format::Jsonl => String::new(),
        Format::Csv => row(&COLUMNS.map(str::to_owned)),
    };
    let state = (app, filter, Some(first), head);
    let body = stream::try_unfold(state, move |(app, filter, ready, mut text)| async move {
        let Some(page) = ready else { return Ok::<_, std::io::Error>(None) };
        for event in &page.items {
            match format {
                Format::Jsonl => {
                    text.push_str(&serde_json::to_string(event)?);
                    text.push('\n');
                }
                Format::Csv => text.push_str(&row(&cells(event))),
            }
        }
        let next = match page.next_cursor {
            Some(cursor) => {
                let next = piece(&app, &filter, Some(&cursor)).await;
                Some(next.map_err(|error| std::io::Error::other(error.detail().to_owned()))?)
            }
            None => None,
        };
        Ok(Some((Bytes::from(text), (app, filter, next, String::new()))))
    });
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers =
        [(header::CONTENT_TYPE, content), (header::CONTENT_DISPOSITION, disposition.as_str())];
    Ok((headers, Body::from_stream(body)).into_response())
}

async fn piece(
    app: &App,
    filter: &AuditFilter,
    cursor: Option<&str>,
) -> ApiResult<Page<EventView>> {
    let order = AuditOrder::OldestFirst;
    let mut page = audit::list(&app.pool, filter, order, cursor, Some(PIECE)).await?;
    names::of_events(app, page.items.iter_mut()).await?;
    Ok(page)
}

const COLUMNS: [&str; 12] = [
    "position",
    "id",
    "at",
    "actor_kind",
    "actor",
    "actor_name",
    "type",
    "stream",
    "version",
    "change_request_id",
    "summary",
    "stream_name",
];

fn cells(event: &EventView) -> [String; 12] {
    let kind = serde_json::to_value(event.actor.kind).unwrap_or_default();
    [
        event.position.to_string(),
        event.id.to_string(),
        event.at.to_string(),
        kind.as_str().unwrap_or_default().to_owned(),
        event.actor.id.to_string(),
        event.actor_name.clone().unwrap_or_default(),
        event.kind.clone(),
        event.stream.clone(),
        event.version.to_string(),
        event.change_request_id.map(|id| id.to_string()).unwrap_or_default(),
        event.summary.clone(),
        event.stream_name.clone().unwrap_or_default(),
    ]
}

/// A line as in RFC 4180. What a spreadsheet would take for a formula gets an apostrophe in front:
/// titles and names are other people's words.
fn row(cells: &[String]) -> String {
    let quoted = cells.iter().map(|cell| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let guard = if formula { "'" } else { "" };
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        let cells = ["a\"b", "=cmd|' /C calc'!A0", "1,2", "two\nlines", ""].map(str::to_owned);
        let expected = "\"a\"\"b\",\"'=cmd|' /C calc'!A0\",\"1,2\",\"two\nlines\",\"\"\r\n";
        assert_eq!(row(&cells), expected);
    }
}
