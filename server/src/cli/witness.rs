//! `witness`: cosigns other people's logs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::proof::note::VerifierKey;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::up::until_stopped;
use super::{note, say};
use crate::open::write_private;
use crate::witness::{Memory, Witness, WitnessKey, router};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the witness keeps its key and what it has seen; made when it is not there.
    #[arg(long, env = "NEXPLANE_WITNESS_DIR", value_name = "DIR")]
    dir: PathBuf,

    /// File with the public key of a log to witness, as 'nexplane keys show log' prints it.
    #[arg(long, required = true, value_name = "FILE")]
    log_key: Vec<PathBuf>,

    /// Name of the witness in its key, such as witness.example.org.
    #[arg(long, value_name = "NAME")]
    name: String,

    #[arg(long, env = "NEXPLANE_WITNESS_LISTEN", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,

    /// Print one JSON line with address and key on stdout when serving.
    #[arg(long)]
    ready_json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let logs = args
        .log_key
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            VerifierKey::from_str(text.trim())
                .with_context(|| format!("{} is not a public key of a log", path.display()))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let memory = Memory::open(&args.dir)?;
    let key = key(&args.dir, &args.name)?;
    let witness = Witness::new(key, logs, memory);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let verifier = witness.key().to_string();
    if args.ready_json {
        let line = serde_json::json!({
            "ready": true, "witness": format!("http://{address}"), "key": verifier,
        });
        say(&line.to_string());
    }
    note(&format!(
        "The witness is ready:  http://{address}\n\
         A line for the log's witness policy:\n  witness {} {verifier} http://{address}",
        args.name
    ));
    axum::serve(listener, router(witness))
        .with_graceful_shutdown(async {
            if let Err(error) = until_stopped().await {
                tracing::error!(%error, "cannot wait for a signal");
            }
        })
        .await?;
    Ok(())
}

/// The witness's key, made the first time.
fn key(dir: &Path, name: &str) -> anyhow::Result<WitnessKey> {
    let path = dir.join("key");
    if !path.exists() {
        let made = Zeroizing::new(WitnessKey::generate().context("there is no randomness")?);
        write_private(&path, Zeroizing::new(STANDARD.encode(made.as_slice())).as_bytes())?;
    }
    let text = Zeroizing::new(std::fs::read_to_string(&path)?);
    let pkcs8 = STANDARD.decode(text.trim()).map(Zeroizing::new).unwrap_or_default();
    WitnessKey::from_pkcs8(&pkcs8, name)?
        .with_context(|| format!("{} is not a witness's key", path.display()))
}
