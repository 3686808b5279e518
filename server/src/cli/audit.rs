//! `audit`: take evidence out of the log, and judge it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use nexplane_core::api::EventProof;
use nexplane_core::proof::event;
use nexplane_core::proof::note::VerifierKey;
use nexplane_core::proof::witness::WitnessPolicy;
use nexplane_store::database::{Database, DatabaseOptions, Role};
use nexplane_store::embedded::Cluster;
use nexplane_store::log::seal::Seals;
use nexplane_store::log::{Log, LogOptions};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::{complain, note, say};
use crate::audit::{
    self, DatabaseEvidence, Evidence, EvidenceError, Folder, Pins, Report, Verdict,
};
use crate::config::Options;
use crate::open;

/// Wrong usage, and evidence that is not there at all.
pub const USAGE: u8 = 3;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write records, tiles and signed checkpoints into a folder that can be verified anywhere.
    #[command(after_help = "Example:
  nexplane audit export --out evidence
  nexplane audit export --dsn postgresql://auditor@db.example.org/nexplane --out evidence

Without --dsn it is the private database in the data directory, beside a running server or without one.
The login needs the role nexplane_read. --from is rounded down to a multiple of 256, --to up to the
next signed checkpoint, so that the folder proves itself.")]
    Export {
        #[command(flatten)]
        place: Place,
        /// A folder that does not exist or is empty.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// First position [default: 0].
        #[arg(long, value_name = "POSITION")]
        from: Option<u64>,
        /// Last position [default: the newest that is under a checkpoint].
        #[arg(long, value_name = "POSITION")]
        to: Option<u64>,
    },
    /// Verify an export, a proof, or a live database, with nothing believed but the given keys.
    #[command(after_help = "Examples:
  nexplane audit verify evidence --key log.vkey
  nexplane audit verify evidence --key log.vkey --witness-policy policy.txt --json
  nexplane audit verify --dsn postgresql://auditor@db.example.org/nexplane --key log.vkey
  nexplane audit verify proof.json --key log.vkey

Get the key from 'nexplane keys show log' on the machine that seals, not from where the evidence comes
from. With --checkpoint, give signed checkpoints that you kept (GET /api/v1/log/checkpoint): a log that
was set back to an earlier state does not contain them.

Exit codes: 0 verified, 1 tampering, 2 incomplete evidence, 3 usage.")]
    Verify {
        /// A folder made by 'audit export', or a file made by 'audit proof'.
        #[arg(required_unless_present = "dsn", conflicts_with = "dsn", value_name = "EVIDENCE")]
        evidence: Option<PathBuf>,
        /// Verify this database instead, columns and neighbouring tables included.
        #[arg(long, value_name = "URL")]
        dsn: Option<String>,
        /// File with the log's public key, as 'nexplane keys show log' prints it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// File that says whose cosignatures are needed, as in c2sp.org/tlog-policy.
        #[arg(long, value_name = "FILE")]
        witness_policy: Option<PathBuf>,
        /// A signed checkpoint that was kept; the log has to contain what it signs.
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prove one event: its record, the path to a signed root, and the signature, as JSON.
    #[command(after_help = "Example:
  nexplane audit proof 4711 > proof.json
  nexplane audit verify proof.json --key log.vkey")]
    Proof {
        /// Of the event in the log.
        position: u64,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a log is.
#[derive(clap::Args, Debug)]
struct Place {
    /// The database of the log.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    dsn: Option<String>,
    /// The data directory of an installation with a private database [default: as of 'nexplane up'].
    #[arg(long, env = "NEXPLANE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub async fn run(args: Args) -> ExitCode {
    let result = match args.command {
        Command::Export { place, out, from, to } => export(place, &out, (from, to)).await,
        Command::Verify { evidence, dsn, key, witness_policy, checkpoint, json } => {
            let pins = pins(&key, witness_policy.as_deref(), &checkpoint);
            match (pins, evidence, dsn) {
                (Err(error), _, _) => Err(error),
                (Ok(pins), Some(path), _) if path.is_file() => proven(&path, &pins, json),
                (Ok(pins), Some(path), _) => folder(path, pins, json).await,
                (Ok(pins), None, Some(dsn)) => database(&dsn, pins, json).await,
                (Ok(_), None, None) => bail_usage(),
            }
        }
        Command::Proof { position, place } => proof(place, position).await,
    };
    result.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::from(USAGE)
    })
}

fn bail_usage() -> anyhow::Result<ExitCode> {
    bail!("say what to verify: a folder, a proof, or --dsn")
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn pins(key: &Path, policy: Option<&Path>, kept: &[PathBuf]) -> anyhow::Result<Pins> {
    let pinned = read_key(key)?;
    let witnesses = policy
        .map(|path| {
            WitnessPolicy::from_str(&read(path)?)
                .with_context(|| format!("{} is not a witness policy", path.display()))
        })
        .transpose()?;
    let kept = kept.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
    Ok(Pins { key: pinned, witnesses, kept })
}

/// The public key of a log in a file, as 'nexplane keys show log' prints it.
pub fn read_key(path: &Path) -> anyhow::Result<VerifierKey> {
    VerifierKey::from_str(read(path)?.trim())
        .with_context(|| format!("{} is not a public key of a log", path.display()))
}

fn target(dsn: &str) -> anyhow::Result<PgConnectOptions> {
    PgConnectOptions::from_str(dsn)
        .map_err(|_| anyhow::anyhow!("this is no database URL (postgresql://user@host/database)"))
}

/// A log and its seals, with the rights of an auditor.
struct Opened {
    log: Log,
    seals: Seals,
    /// The private database that was started for this, and where it is.
    started: Option<(Cluster, PathBuf)>,
}

impl Opened {
    async fn close(self) -> anyhow::Result<()> {
        self.log.close().await;
        match self.started {
            Some((cluster, data_dir)) => open::stop(cluster, &data_dir).await,
            None => Ok(()),
        }
    }
}

async fn open(place: Place) -> anyhow::Result<Opened> {
    let (target, started) = match &place.dsn {
        Some(dsn) => (target(dsn)?, None),
        None => {
            let options = Options { data_dir: place.data_dir, ..Options::default() };
            let data_dir = options.data_dir()?;
            anyhow::ensure!(
                data_dir.join("postgres").exists(),
                "there is no private database in {}; say where the log is with --dsn or --data-dir",
                data_dir.display()
            );
            let (target, cluster) = open::database(&options, &data_dir).await?;
            (target, cluster.map(|cluster| (cluster, data_dir)))
        }
    };
    let target = Role::Read.at(target);
    let options = DatabaseOptions { max_connections: 4, ..DatabaseOptions::default() };
    let database = Database::connect_with(target.clone(), &options)
        .await
        .context("cannot open the database; the login has to be a member of nexplane_read")?;
    let log = Log::open(database.pool().clone(), target, LogOptions::default()).await?;
    let incarnation = log.head().await?.incarnation;
    Ok(Opened { seals: Seals::new(database.pool().clone(), incarnation), log, started })
}

fn bar(what: &'static str) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    let style = "{msg} [{bar:40}] {pos}/{len} events  {per_sec}  {eta}";
    bar.set_style(ProgressStyle::with_template(style)?);
    bar.set_message(what);
    Ok(bar)
}

async fn export(
    place: Place,
    out: &Path,
    range: (Option<u64>, Option<u64>),
) -> anyhow::Result<ExitCode> {
    let opened = open(place).await?;
    let bar = bar("exporting")?;
    let exported = audit::export(&opened.log, &opened.seals, out, range, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .await;
    bar.finish_and_clear();
    opened.close().await?;
    let audit::Exported { from, to, checkpoints } = exported?;
    note(&format!(
        "{} holds the records {from} to {} with {checkpoints} checkpoints.",
        out.display(),
        to - 1
    ));
    Ok(ExitCode::SUCCESS)
}

async fn folder(path: PathBuf, pins: Pins, json: bool) -> anyhow::Result<ExitCode> {
    if !path.is_dir() {
        bail!("there is no {}", path.display());
    }
    let folder = match Folder::open(&path) {
        Ok(folder) => folder,
        Err(error @ (EvidenceError::Read { .. } | EvidenceError::Manifest { .. })) => {
            complain(&format!("{:#}", anyhow::Error::new(error)));
            return Ok(ExitCode::from(Verdict::Incomplete.exit_code()));
        }
        Err(error) => return Err(error.into()),
    };
    judge(Box::new(folder), pins, json).await
}

async fn database(dsn: &str, pins: Pins, json: bool) -> anyhow::Result<ExitCode> {
    let target = target(dsn)?;
    let place =
        format!("{} on {}", target.get_database().unwrap_or("the database"), target.get_host());
    let connection = Role::Read.at(target).connect().await;
    let connection = connection
        .context("cannot open the database; the login has to be a member of nexplane_read")?;
    judge(Box::new(DatabaseEvidence::open(connection, place).await?), pins, json).await
}

async fn judge(evidence: Box<dyn Evidence>, pins: Pins, json: bool) -> anyhow::Result<ExitCode> {
    let bar = bar("verifying")?;
    let (from, to) = evidence.range();
    bar.set_length(to.saturating_sub(from));
    let judged = tokio::task::spawn_blocking({
        let bar = bar.clone();
        move || audit::verify(evidence, &pins, &mut |done| bar.set_position(done))
    });
    let report = judged.await.context("the verification broke off")??;
    bar.finish_and_clear();
    if json {
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        tell(&report);
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn tell(report: &Report) {
    for finding in &report.findings {
        let place = match (finding.position, &finding.stream) {
            (Some(position), Some(stream)) => format!(" at position {position} ({stream})"),
            (Some(position), None) => format!(" at position {position}"),
            (None, _) => String::new(),
        };
        say(&format!("{}{place}: {}", finding.rule, finding.sentence));
    }
    let more = report.findings_total - report.findings.len() as u64;
    if more > 0 {
        say(&format!("… and {more} more."));
    }
    let answer = match report.verdict {
        Verdict::Verified => "VERIFIED",
        Verdict::Tampering => "TAMPERING",
        Verdict::Incomplete => "INCOMPLETE EVIDENCE",
    };
    say(&format!(
        "{answer}: {} of {}, records {}..{}, {} checkpoints, tree of {} with root {}",
        report.evidence,
        report.origin,
        report.from,
        report.to,
        report.checkpoints,
        report.size,
        report.root
    ));
    match report.witnessed_size {
        Some(size) => say(&format!("Cosigned up to {size} by {}.", report.witnesses.join(", "))),
        None => say("No witness vouches for it."),
    }
}

async fn proof(place: Place, position: u64) -> anyhow::Result<ExitCode> {
    let opened = open(place).await?;
    let proof = crate::seal::proof::of(&opened.log, &opened.seals, position).await;
    opened.close().await?;
    let proof = proof?.with_context(|| {
        format!("no signed checkpoint covers position {position}; is there such an event?")
    })?;
    say(&serde_json::to_string_pretty(&proof)?);
    Ok(ExitCode::SUCCESS)
}

/// A proof of one event.
fn proven(path: &Path, pins: &Pins, json: bool) -> anyhow::Result<ExitCode> {
    let proof: EventProof = serde_json::from_str(&read(path)?)
        .with_context(|| format!("{} is neither a folder nor a proof", path.display()))?;
    let checked = event::check(&proof, Some(&pins.key));
    let checked = checked.verdict().map_err(ToString::to_string);
    let verdict = if checked.is_ok() { Verdict::Verified } else { Verdict::Tampering };
    if json {
        let finding = checked.as_ref().err();
        let report = serde_json::json!({
            "verdict": verdict, "position": proof.position, "size": proof.size, "finding": finding,
        });
        say(&serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::from(verdict.exit_code()));
    }
    match checked {
        Ok(()) => say(&format!(
            "VERIFIED: this record is event {} of {}, under the checkpoint over {} events.",
            proof.position,
            pins.key.name(),
            proof.size
        )),
        Err(why) => say(&format!("TAMPERING: {why}")),
    }
    Ok(ExitCode::from(verdict.exit_code()))
}
