//! `log`: what a person has to decide about the event log.

use anyhow::Context as _;
use clap::Subcommand;
use nexplane_store::database::fork_log;

use super::{note, say};
use crate::config::Options;
use crate::open;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give the log a new life after its last event, because what followed is lost.
    #[command(after_help = "Example, after restoring a backup and with every server stopped:
  nexplane log fork --last-good-position 48211 --reason 'Restored the backup of Monday, disk failure'
  nexplane projections rebuild all

Nothing is removed. Whoever has read further than the backup (read models, the sealer, auditors with a
checkpoint) recognises the new incarnation and does not go on by mistake. The log is sealed with a new
key from here on: give it to your auditors, together with the reason.")]
    Fork {
        /// The position that the log ends at now; the command refuses any other.
        #[arg(long, value_name = "POSITION", allow_negative_numbers = true)]
        last_good_position: i64,
        /// Why, for those who find out.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        options: Options,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let Command::Fork { last_good_position, reason, options } = args.command;
    let opened = open::open(&options).await?;
    let forked = fork_log(opened.target.clone(), last_good_position, reason.trim())
        .await
        .context("the log was not forked");
    opened.close().await?;
    say(&forked?.to_string());
    note(
        "The log has a new incarnation. Now run 'nexplane projections rebuild all', start the servers, \
         and give auditors the new key: 'nexplane keys show log'.",
    );
    Ok(())
}
