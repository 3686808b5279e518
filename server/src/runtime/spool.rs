//! Outcomes that the log does not take now, on disk until it does.
//!
//! One small file for each, written whole and synced before it counts, in a directory that only the server
//! can read. What the server knew when it was killed is told by its next life instead of being lost.
//!
//! Deliberately absent: anything but outcomes. An intent that cannot be written is not made.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nexplane_core::id::RunId;
use sha2::{Digest as _, Sha256};

use super::report::Report;
use crate::open::write_private;
use crate::problem::chain;

/// Below the data directory.
const DIRECTORY: &str = "outcomes";
/// As many as there can be effects under way, many times over.
const MAX_FILES: usize = 10_000;
/// Larger than any outcome with its secrets.
const MAX_BYTES: u64 = 1 << 20;
const EXTENSION: &str = "outcome";
const SET_ASIDE: &str = "damaged";
/// A file that was being written this long ago will never be whole.
const STALE: Duration = Duration::from_hours(1);

/// Where outcomes wait; nowhere in a replay, which has none.
#[derive(Clone, Debug, Default)]
pub struct Spool(Option<Arc<Path>>);

/// Why a file was set aside.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is larger than an outcome can be")]
    TooLarge,
    #[error("its checksum is another one")]
    Checksum,
    #[error("it is no outcome")]
    Json(#[from] serde_json::Error),
    #[error("it is not the outcome that its name says")]
    Misnamed,
}

impl Spool {
    /// The one of a data directory, which is made when it is missing.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let directory = data_dir.join(DIRECTORY);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let age = path.metadata().and_then(|file| file.modified());
            let age = age.ok().and_then(|then| then.elapsed().ok()).unwrap_or_default();
            if is_temporary(&path) && age > STALE {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self(Some(directory.into())))
    }

    /// Keeps a report until it is told. When that fails, too, it is in memory only, and it is said.
    pub(super) async fn keep(&self, report: &Report) {
        let Some(directory) = &self.0 else { return };
        let path = directory.join(name(report));
        if path.exists() {
            return;
        }
        let (directory, bytes) = (Arc::clone(directory), written(report));
        let kept = tokio::task::spawn_blocking(move || {
            let bytes = bytes?;
            anyhow::ensure!(files(&directory)?.len() < MAX_FILES, "there are too many already");
            write_private(&path, &bytes)?;
            fs::File::open(&directory)?.sync_all()?;
            Ok::<_, anyhow::Error>(())
        });
        let (run, step) = (report.run, report.step);
        match kept.await {
            Ok(Ok(())) => {
                tracing::warn!(run.id = %run, step.no = step, "an outcome waits on disk for the log");
            }
            Ok(Err(error)) => {
                let cause = chain(&*error);
                tracing::error!(run.id = %run, step.no = step, %cause, "an outcome that the log does not take cannot be kept on disk");
            }
            Err(error) => {
                tracing::error!(run.id = %run, step.no = step, %error, "an outcome that the log does not take cannot be kept on disk");
            }
        }
    }

    /// It is told.
    pub(super) async fn forget(&self, report: &Report) {
        let Some(directory) = &self.0 else { return };
        let path = directory.join(name(report));
        match tokio::fs::remove_file(&path).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "an outcome that the log has is still on disk");
            }
        }
    }

    /// What waits, of one run or of all. What cannot be read is set aside and reported.
    pub(super) async fn waiting(&self, run: Option<RunId>) -> Vec<Report> {
        let Some(directory) = self.0.clone() else { return Vec::new() };
        let found = tokio::task::spawn_blocking(move || {
            let mut reports = Vec::new();
            for path in files(&directory)? {
                let of_another = run.is_some_and(|run| !starts_with(&path, run));
                if of_another {
                    continue;
                }
                match read(&path) {
                    Ok(report) => reports.push(report),
                    Err(Damage::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(damage) => set_aside(&path, &damage),
                }
            }
            Ok::<_, io::Error>(reports)
        });
        match found.await {
            Ok(Ok(reports)) => reports,
            Ok(Err(error)) => {
                tracing::error!(%error, "outcomes that wait on disk cannot be looked for");
                Vec::new()
            }
            Err(error) => {
                tracing::error!(%error, "outcomes that wait on disk cannot be looked for");
                Vec::new()
            }
        }
    }
}

fn name(report: &Report) -> String {
    let Report { run, step, epoch, attempt, .. } = report;
    format!("{run}-{step}-{epoch}-{attempt}.{EXTENSION}")
}

fn starts_with(path: &Path, run: RunId) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(&run.to_string()))
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(".tmp"))
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The checksum of the second line, and the report in it.
fn written(report: &Report) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_string(report)?;
    Ok(format!("{}\n{body}\n", hex::encode(Sha256::digest(&body))).into_bytes())
}

fn read(path: &Path) -> Result<Report, Damage> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(Damage::TooLarge);
    }
    let text = fs::read(path)?;
    let text = std::str::from_utf8(&text).map_err(|_| Damage::Checksum)?;
    let (sum, body) = text.split_once('\n').ok_or(Damage::Checksum)?;
    let body = body.strip_suffix('\n').ok_or(Damage::Checksum)?;
    if hex::encode(Sha256::digest(body)) != sum {
        return Err(Damage::Checksum);
    }
    let report: Report = serde_json::from_str(body)?;
    let is_named = path.file_name().is_some_and(|found| *found == *name(&report));
    if is_named && report.is_coherent() { Ok(report) } else { Err(Damage::Misnamed) }
}

fn set_aside(path: &Path, damage: &Damage) {
    let (shown, cause) = (path.display(), chain(damage));
    tracing::error!(path = %shown, %cause, "an outcome on disk is damaged and is set aside; its step is settled by reading the target, or by a person");
    if let Err(error) = fs::rename(path, path.with_extension(SET_ASIDE)) {
        tracing::error!(path = %shown, %error, "a damaged outcome could not be set aside");
    }
}
