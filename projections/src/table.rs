//! Tables of read models: what they look like, what they are called, how rows get into them.
//!
//! A projection says once which columns a table has; its definition, its view and the statement
//! that writes it are made from that. Rows travel as one JSON text per table and batch, so a batch
//! costs a fixed number of statements however many rows it writes.

use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection};

/// The PostgreSQL schema that holds everything of ours.
pub const SCHEMA: &str = "nexplane";

/// A column of a read model's table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    sql_type: &'static str,
    optional: bool,
}

/// A column that every row has a value in.
pub const fn column(name: &'static str, sql_type: &'static str) -> Column {
    Column { name, sql_type, optional: false }
}

/// A column that may be null.
pub const fn optional(name: &'static str, sql_type: &'static str) -> Column {
    Column { name, sql_type, optional: true }
}

/// A table of a read model, behind a view of the same name.
#[derive(Debug)]
pub struct Table {
    /// The view's name, such as `rm_changes`. Unique among all projections.
    pub name: &'static str,
    pub columns: &'static [Column],
    /// Primary key.
    pub key: &'static [&'static str],
    /// What follows `CREATE INDEX ON <table>`: `(state, number)`, `USING gin (targets)`. No index
    /// may be a B-tree over text of unbounded length: an entry has to fit into a third of a page.
    pub indexes: &'static [&'static str],
}

/// Which tables a read model is in: those of a projection's version, made at its n-th building.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation {
    pub version: u32,
    pub number: u32,
}

impl Generation {
    /// `nexplane.rm_changes_v1_g2`
    pub fn of(self, table: &Table) -> String {
        format!("{SCHEMA}.{}_v{}_g{}", table.name, self.version, self.number)
    }
}

/// Makes the tables of a generation, without the indexes that only queries need.
pub(crate) async fn create(
    db: &mut PgConnection,
    at: Generation,
    tables: &[&Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|c| {
                let null = if c.optional { "" } else { " NOT NULL" };
                format!("\"{}\" {}{null}", c.name, c.sql_type)
            })
            .collect();
        run(
            db,
            format!(
                "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
                at.of(table),
                columns.join(", "),
                quoted(table.key.iter().copied())
            ),
        )
        .await?;
    }
    Ok(())
}

/// Makes the indexes of a generation and lets the planner look at its tables.
pub(crate) async fn create_indexes(
    db: &mut PgConnection,
    at: Generation,
    tables: &[&Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let name = at.of(table);
        for index in table.indexes {
            run(db, format!("CREATE INDEX ON {name} {index}")).await?;
        }
        run(db, format!("ANALYZE {name}")).await?;
    }
    Ok(())
}

/// Lets the views show a generation.
pub(crate) async fn show(
    db: &mut PgConnection,
    at: Generation,
    tables: &[&Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let view = table.name;
        run(db, format!("DROP VIEW IF EXISTS {SCHEMA}.{view}")).await?;
        run(db, format!("CREATE VIEW {SCHEMA}.{view} AS SELECT * FROM {}", at.of(table))).await?;
    }
    Ok(())
}

/// Removes the tables of a generation, as far as they exist.
pub(crate) async fn drop_tables(
    db: &mut PgConnection,
    at: Generation,
    tables: &[&Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        run(db, format!("DROP TABLE IF EXISTS {}", at.of(table))).await?;
    }
    Ok(())
}

/// Which generations of a table exist, whether in use or left behind.
pub(crate) async fn generations(
    db: &mut PgConnection,
    table: &Table,
) -> Result<Vec<Generation>, sqlx::Error> {
    let found: Vec<(i32, i32)> = sqlx::query_as(
        "SELECT part[1]::integer, part[2]::integer FROM pg_catalog.pg_tables, \
         regexp_match(tablename, '^' || $2 || '_v(\\d{1,9})_g(\\d{1,9})$') part \
         WHERE schemaname = $1 AND part IS NOT NULL",
    )
    .bind(SCHEMA)
    .bind(table.name)
    .fetch_all(db)
    .await?;
    Ok(found
        .into_iter()
        .map(|(version, number)| Generation {
            version: version.unsigned_abs(),
            number: number.unsigned_abs(),
        })
        .collect())
}

/// Writes rows, replacing those with the same key. A row's serialised fields are the table's
/// columns. No two rows may have the same key.
pub(crate) async fn upsert<R: Serialize>(
    db: &mut PgConnection,
    at: Generation,
    table: &Table,
    rows: &[R],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let all = quoted(table.columns.iter().map(|c| c.name));
    let typed: Vec<_> =
        table.columns.iter().map(|c| format!("\"{}\" {}", c.name, c.sql_type)).collect();
    let replaced: Vec<_> = table
        .columns
        .iter()
        .filter(|c| !table.key.contains(&c.name))
        .map(|c| format!("\"{0}\" = EXCLUDED.\"{0}\"", c.name))
        .collect();
    let conflict = if replaced.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", replaced.join(", "))
    };
    let sql = format!(
        "INSERT INTO {} ({all}) SELECT {all} FROM json_to_recordset($1::json) AS r ({}) \
         ON CONFLICT ({}) DO {conflict}",
        at.of(table),
        typed.join(", "),
        quoted(table.key.iter().copied()),
    );
    let rows = serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(AssertSqlSafe(sql)).bind(rows).execute(db).await?;
    Ok(())
}

/// Runs a statement that is made of constants of this crate and numbers only.
async fn run(db: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await?;
    Ok(())
}

fn quoted(names: impl Iterator<Item = &'static str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
