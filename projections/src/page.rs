//! Pages of lists: keyset cursors and limits.

use nexplane_core::api::Page;

/// Rows of a page when nobody says how many.
pub const DEFAULT_LIMIT: u32 = 50;

/// Rows of a page, at most.
pub const MAX_LIMIT: u32 = 200;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is not one that this list gave.
    #[error("this is not a cursor of this list")]
    Cursor,
    #[error("could not read the read model")]
    Database(#[from] sqlx::Error),
    #[error("a row of the read model cannot be read")]
    Row(#[from] serde_json::Error),
    #[error("could not read the event log")]
    Log(#[from] nexplane_store::log::ReadError),
    #[error("an event of the log cannot be read")]
    Event(#[from] crate::projection::DecodeError),
}

/// The number of rows to read for a page of `limit`: one more, to see whether there is a next page.
pub(crate) fn probe(limit: Option<u32>) -> i64 {
    i64::from(limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)) + 1
}

/// Cuts the extra row off and turns the rest into what the API shows; the cursor is made from the
/// last row that stays.
pub(crate) fn page<R, T>(
    mut rows: Vec<R>,
    probe: i64,
    cursor: impl Fn(&R) -> String,
    view: impl Fn(R) -> Result<T, QueryError>,
) -> Result<Page<T>, QueryError> {
    let limit = usize::try_from(probe - 1).unwrap_or(0);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = if more { rows.last().map(cursor) } else { None };
    Ok(Page { items: rows.into_iter().map(view).collect::<Result<_, _>>()?, next_cursor })
}

/// A cursor that is one number.
pub(crate) fn number(cursor: Option<&str>) -> Result<Option<i64>, QueryError> {
    cursor.map(|text| text.parse().map_err(|_| QueryError::Cursor)).transpose()
}
