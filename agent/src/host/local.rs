//! This machine, whichever it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Host, OpenRootError, OwnProgram, SealingKey};
use crate::config::Config;

#[cfg(target_os = "linux")]
use super::linux::LinuxHost as LocalHost;
#[cfg(target_os = "macos")]
use super::macos::MacosHost as LocalHost;
#[cfg(windows)]
use super::windows::WindowsHost as LocalHost;

/// What this kind of host needs for [`open`] to work.
#[cfg(target_os = "linux")]
pub const NEEDS: &str = "the directory must exist, and Linux must be 5.6 or newer";
/// What this kind of host needs for [`open`] to work.
#[cfg(not(target_os = "linux"))]
pub const NEEDS: &str = "the directory must exist, and no link may be in its place";

/// The machine beneath `root`. `own` are the agent's own files and directories, which stay out of reach; `packages`
/// is where those are kept that an undo needs, where the agent manages packages; `program` is the agent's own.
///
/// # Errors
/// When `root` cannot be used.
pub fn open(
    root: &Path,
    own: &[PathBuf],
    packages: PathBuf,
    sealing_key: Option<SealingKey>,
    program: Option<Arc<dyn OwnProgram>>,
) -> Result<Arc<dyn Host>, OpenRootError> {
    let mut host = LocalHost::open(root, own)?;
    #[cfg(target_os = "linux")]
    {
        host = host.keeping_packages_in(packages);
        if let Some(program) = program {
            host = host.with_own_program(program);
        }
    }
    #[cfg(not(target_os = "linux"))]
    drop((packages, program));
    if let Some(key) = sealing_key {
        host = host.with_sealing_key(key);
    }
    Ok(Arc::new(host))
}

/// Whether `root` can be used.
///
/// # Errors
/// When it cannot.
pub fn try_root(root: &Path, own: &[PathBuf]) -> Result<(), OpenRootError> {
    LocalHost::open(root, own).map(drop)
}

/// The program of the agent that acts on all of the machine, where it can be replaced.
#[cfg(target_os = "linux")]
pub fn own_program(config: &Config, root: &Path) -> Option<Arc<dyn OwnProgram>> {
    let is_whole = root == Path::new("/");
    is_whole.then(|| Arc::new(crate::update::installed::program(config)) as _)
}

/// Nothing starts another program in its place here.
#[cfg(not(target_os = "linux"))]
pub fn own_program(_config: &Config, _root: &Path) -> Option<Arc<dyn OwnProgram>> {
    None
}

/// What of the agent is outside its directories where it is installed.
#[cfg(target_os = "linux")]
pub fn installed() -> Vec<PathBuf> {
    let layout = crate::install::Layout::default();
    vec![layout.binary(), layout.programs()]
}

/// What of the agent is outside its directories where it is installed.
#[cfg(not(target_os = "linux"))]
pub fn installed() -> Vec<PathBuf> {
    Vec::new()
}
