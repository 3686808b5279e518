//! The `nexplane` executable.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before anything makes a TLS client: rustls asks for a provider at its first use.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let filter = EnvFilter::try_from_env("NEXPLANE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,nexplane_server=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Err(error) = nexplane_agent::os::forbid_core_dumps() {
        tracing::error!(%error, "cannot keep secrets out of memory images");
        return ExitCode::FAILURE;
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(nexplane_server::cli::run()),
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::FAILURE
        }
    }
}
