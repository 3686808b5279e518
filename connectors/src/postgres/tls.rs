//! The degrees of checking who answers, as PostgreSQL's own clients name them.

use tokio_postgres_rustls::MakeRustlsConnect;

use super::credentials::SslMode;
use crate::sdk::ConnectorError;
use crate::sdk::tls::{Verify, client_config};

/// The connector for a mode; none for [`SslMode::Disable`]. Errors: `Invalid`, for certificates that
/// cannot be read or are of no use with the mode.
pub fn connector(
    mode: SslMode,
    ca_certificate: Option<&str>,
) -> Result<Option<MakeRustlsConnect>, ConnectorError> {
    let verify = match (mode, ca_certificate) {
        (SslMode::Disable, None) => return Ok(None),
        (SslMode::Disable, Some(_)) => {
            return Err(ConnectorError::invalid(
                "ca_certificate has no effect with ssl_mode disable: choose verify-full",
            ));
        }
        (SslMode::Require, None) => Verify::Nothing,
        (SslMode::Require | SslMode::VerifyCa, _) => Verify::Chain,
        (SslMode::VerifyFull, _) => Verify::Full,
    };
    Ok(Some(MakeRustlsConnect::new(client_config(verify, ca_certificate)?)))
}
