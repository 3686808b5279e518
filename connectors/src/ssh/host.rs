//! The host itself as a target.

use nexplane_core::plan::{Check, TargetRef};

use crate::sdk::{ConnectorError, check};

/// Asset type of the host; external key [`HOST_KEY`]: a connection has exactly one.
pub const HOST: &str = "ssh_host";
pub const HOST_KEY: &str = "host";

/// Whether the target is the host of this connection.
pub fn is_host(target: &TargetRef) -> Result<bool, ConnectorError> {
    if target.kind == HOST {
        return Ok(target.external_key == HOST_KEY);
    }
    Err(ConnectorError::invalid("the target must be the host of the connection"))
}

/// The same as a check.
pub fn host_check(target: &TargetRef) -> Result<Check, ConnectorError> {
    let is_it = is_host(target)?;
    let detail = if is_it {
        "it is"
    } else {
        "the connection has one host, and this is another: run discovery again"
    };
    Ok(check("the target is the host of the connection", is_it, detail))
}
