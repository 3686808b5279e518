//! How the many targets of a change are gone through, on the command line.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::Table;
use nexplane_core::api::{Page, RolloutProgress, RolloutTargetView};
use nexplane_core::rollout::event::{Strategy, Tally};
use serde_json::Value;

use super::{note, say};

/// Of a change on many targets. What is left out has a careful value.
#[derive(Clone, Debug, clap::Args)]
pub struct RolloutArgs {
    /// A file with more targets, one in each line.
    #[arg(long, value_name = "FILE")]
    pub targets_file: Option<PathBuf>,
    /// Targets of the first batch; if one of them does not end well, the rollout stops.
    #[arg(long, value_name = "N")]
    canary: Option<u32>,
    /// Targets of each batch after that.
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// Targets at the same time.
    #[arg(long, value_name = "N")]
    parallel: Option<u32>,
    /// Seconds between two batches.
    #[arg(long, value_name = "SECONDS")]
    pause: Option<u32>,
    /// How many targets may fail before the rollout stops.
    #[arg(long, value_name = "N")]
    max_failed: Option<u32>,
    /// Wait for a person after the first batch.
    #[arg(long)]
    hold_after_canary: bool,
}

impl RolloutArgs {
    /// The strategy for so many targets; none when nothing was said of it.
    pub fn strategy(&self, targets: usize) -> Option<Strategy> {
        let Self { targets_file: _, canary, batch, parallel, pause, max_failed, hold_after_canary } =
            self;
        let said = [canary, batch, parallel, pause, max_failed].iter().any(|n| n.is_some());
        let usual = Strategy::for_targets(targets);
        (said || *hold_after_canary).then(|| Strategy {
            canary: canary.unwrap_or(usual.canary),
            batch: batch.unwrap_or(usual.batch),
            parallel: parallel.unwrap_or(usual.parallel),
            pause_s: pause.unwrap_or(usual.pause_s),
            max_failed: max_failed.unwrap_or(usual.max_failed),
            hold_after_canary: *hold_after_canary,
        })
    }
}

/// The lines of a file, without empty ones.
pub fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the targets in {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// How far a rollout is, as its notice says.
pub fn counts(changed: &Value, json: bool) {
    let progress = changed.get("progress").cloned().unwrap_or_default();
    if json {
        return say(&changed.to_string());
    }
    let Ok(progress) = serde_json::from_value::<RolloutProgress>(progress) else { return };
    let RolloutProgress { state, size, waiting, executing, tally, batches, .. } = progress;
    let Tally { complete, failed, unknown, not_started } = tally;
    note(&format!(
        "{state}, batch {batches}: {complete} of {size} complete, {executing} executing, {waiting} waiting, {failed} failed, {unknown} unknown, {not_started} not started"
    ));
}

/// How to go on after a page.
pub fn more(page: &Page<RolloutTargetView>) {
    if let Some(cursor) = &page.next_cursor {
        note(&format!("There are more: --after {cursor}"));
    }
}

/// Targets, one in each row.
pub fn table(page: &Page<RolloutTargetView>) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["NO", "TARGET", "STATE", "SINCE", "WHY"]);
    for target in &page.items {
        table.add_row([
            target.no.to_string(),
            target.name.clone(),
            target.state.as_str().to_owned(),
            target.since.to_string(),
            target.reason.clone().or_else(|| target.waiting_for.clone()).unwrap_or_default(),
        ]);
    }
    table
}
