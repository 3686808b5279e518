//! `keys`: the key-encryption keys of the secret table.

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use nexplane_store::secret::Keyring;

use super::{note, say};
use crate::config::Options;
use crate::open::{self, Opened};
use crate::seal::{self, LogKey};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the keys by their ids, and how many secrets each encrypts; or the log's public key.
    #[command(after_help = "Examples:
  nexplane keys show --data-dir ./data
  nexplane keys show log > log.vkey    for 'nexplane audit verify'

No secret key is ever printed.")]
    Show {
        /// The keys that encrypt secrets, or the public key that verifies the event log.
        #[arg(value_enum, default_value_t = Which::Secrets)]
        which: Which,
        #[command(flatten)]
        options: Options,
    },
    /// Make a new current key and encrypt every stored secret's data key with it.
    #[command(after_help = "Example:
  nexplane keys rotate --data-dir ./data

Servers with the same key file may go on running: they read it again when they meet the new key. The
old key stays in the file, for backups of the database. When NEXPLANE_KEK holds the keys, put a new
one in front of the old ones (openssl rand -base64 32), restart the servers with it, and then run
this: it encrypts with the first of them.")]
    Rotate {
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Secrets,
    Log,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Show { which, options } => {
            let opened = open::open(&options).await?;
            let shown = match which {
                Which::Secrets => show(&opened).await,
                Which::Log => show_log(&opened).await,
            };
            opened.close().await?;
            shown
        }
        Command::Rotate { options } => {
            if std::env::var_os("NEXPLANE_KEK").is_none() {
                let data_dir = options.data_dir()?;
                if !data_dir.exists() {
                    bail!("there is no data directory {}", data_dir.display());
                }
                let file = open::keyring_file(&data_dir);
                Keyring::renew(&file)
                    .with_context(|| format!("cannot renew {}", file.display()))?;
            }
            let opened = open::open(&options).await?;
            let rotated = rotate(&opened).await;
            opened.close().await?;
            rotated
        }
    }
}

async fn show(opened: &Opened) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Key", "Encrypts", "Role"]);
    for key in opened.vault.store().keys_in_use(&opened.pool).await? {
        let role = match (key.present, key.current) {
            (false, _) => "missing: what it encrypts is lost unless it is brought back",
            (true, true) => "current",
            (true, false) if key.wraps == 0 => "old; only backups can need it",
            (true, false) => "old",
        };
        table.add_row([key.id.to_string(), key.wraps.to_string(), role.to_owned()]);
    }
    say(&table.to_string());
    Ok(())
}

/// As in c2sp.org/signed-note: name, key id, and the public key in base64.
async fn show_log(opened: &Opened) -> anyhow::Result<()> {
    let incarnation = opened.log.head().await?.incarnation;
    let dir = seal::dir(&opened.data_dir);
    let key = LogKey::open(&dir, incarnation)?.with_context(|| {
        format!(
            "there is no key of this log in {}: it is made by the first server that seals the log, on \
             that machine",
            dir.display()
        )
    })?;
    say(&key.verifier().to_string());
    Ok(())
}

async fn rotate(opened: &Opened) -> anyhow::Result<()> {
    let rotation = opened.vault.store().rotate_kek(&opened.pool).await?;
    note(&format!("{} secrets are encrypted with the new key.", rotation.rewrapped));
    if rotation.failed.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = rotation.failed.iter().map(ToString::to_string).collect();
    bail!(
        "{} could not be opened, and still need the key they were written with ('nexplane keys show' \
         says which): {}",
        ids.len(),
        ids.join(", ")
    )
}
