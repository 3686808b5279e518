//! `replay`: the dashboard of an earlier day.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::audit::read_key;
use super::up::until_stopped;
use super::{note, say};
use crate::audit::Folder;
use crate::config::Options;
use crate::open;
use crate::replay::{self, Moment, Progress, Replay, Source, Until};
use crate::serve;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane replay --until 2026-11-24T17:00:00Z --serve
  nexplane replay --until 4711 --database-url postgresql://auditor@db.example.org/nexplane --serve
  nexplane replay --until 4711 --evidence evidence --key log.vkey --serve

Copies the events up to that moment into a private PostgreSQL of its own, compares them with the signed
checkpoint, and builds all read models from them. With --serve it shows the dashboard as it was, read
only, to whoever has the link that it prints. The log itself is only read; its database needs the role
nexplane_read (and nexplane_app, for the names of people). An export ('nexplane audit export') needs no
database at all.")]
pub struct Args {
    /// The last event that counts: its position, or a moment (RFC 3339).
    #[arg(long, value_name = "POSITION|TIME", value_parser = Until::from_str)]
    until: Until,
    /// A folder made by 'audit export', from the first event on, instead of a database.
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// File with the log's public key, as 'nexplane keys show log' prints it: the checkpoint has to be
    /// signed by it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Serve the dashboard and the API of that moment until Ctrl-C.
    #[arg(long)]
    serve: bool,
    /// Address to serve on; port 0 picks one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Print one JSON line on stdout when it is built.
    #[arg(long)]
    ready_json: bool,
    #[command(flatten)]
    options: Options,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let data_dir = args.options.data_dir()?;
    let key = args.key.as_deref().map(read_key).transpose()?;
    let (source, cluster) = match &args.evidence {
        Some(folder) => (Source::folder(Folder::open(folder)?)?, None),
        None => {
            let (target, cluster) = open::database(&args.options, &data_dir).await?;
            (Source::database(target).await?, cluster)
        }
    };
    let directory = data_dir.join("replay");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let bar = ProgressBar::new(0);
    let style = "{msg:10} [{bar:40}] {pos}/{len} events  {per_sec}  {eta}";
    bar.set_style(ProgressStyle::with_template(style)?);
    let built = replay::build(source, args.until, key.as_ref(), &directory, |progress| {
        let (what, done, all) = match progress {
            Progress::Copying(done, all) => ("copying", done, all),
            Progress::Building(done, all) => ("building", done, all),
        };
        bar.set_message(what);
        bar.set_length(all);
        bar.set_position(done);
    })
    .await;
    bar.finish_and_clear();
    // What is served is a copy.
    if let Some(cluster) = cluster {
        open::stop(cluster, &data_dir).await?;
    }
    let replay = built?;
    let done = show(&replay, &args, key.map(|key| key.to_string())).await;
    replay.end().await?;
    done
}

async fn show(replay: &Replay, args: &Args, key: Option<String>) -> anyhow::Result<()> {
    let Moment { position, at, sealed } = replay.moment;
    let mut ready = json!({ "ready": true, "position": position, "at": at, "sealed": sealed });
    note(&format!("All read models are built from the events 0 to {position}, of {at}."));
    note(&match (sealed, &key) {
        (0, _) => "None of them is under a signed checkpoint yet.".to_owned(),
        (_, None) => format!(
            "The first {sealed} are those under the signed checkpoint; whose signature that is was not \
             checked (--key)."
        ),
        (_, Some(_)) => format!("The first {sealed} are those that the key's checkpoint signs."),
    });
    if !args.serve {
        if args.ready_json {
            say(&ready.to_string());
        }
        return Ok(());
    }
    let announce = |api: &str, link: &str| {
        if let Some(ready) = ready.as_object_mut() {
            ready.insert("api".to_owned(), api.into());
            ready.insert("link".to_owned(), link.into());
        }
        if args.ready_json {
            say(&ready.to_string());
        }
        note(&format!(
            "\nOpen this link to look around as an auditor:\n  {link}\n\nCtrl-C stops it."
        ));
        Ok(())
    };
    serve::replay(replay, args.listen, key, announce, until_stopped()).await
}
