//! How apt is called.

use std::collections::BTreeMap;

use nexplane_agent::host::package::Wish;
use nexplane_agent::host::{HostError, debian};

/// Another package manager is waited for so many seconds (`apt.conf(5)`, `DPkg::Lock::Timeout`).
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=10";

/// One call of `apt-get(8)`.
#[derive(Debug)]
pub struct Apt {
    pub(super) how: How,
    pub(super) words: Vec<String>,
}

/// How far apt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It says what it would do.
    Simulate,
    /// It fetches what it would install.
    Fetch,
    CarryOut,
}

impl Apt {
    /// None when there is nothing to install or remove.
    ///
    /// # Errors
    /// When a name or a version is not one of Debian's.
    pub fn new(wish: &Wish, how: How) -> Result<Option<Self>, HostError> {
        let mut more = vec!["-o", LOCK_TIMEOUT];
        match how {
            // What is not wanted of it is for the caller to say, once it is known.
            How::Simulate => {
                more.extend(["-s", "--allow-downgrades", "--allow-change-held-packages"]);
            }
            How::Fetch => more.extend(["--download-only", "--allow-downgrades"]),
            How::CarryOut => {
                more.extend(["-o", "APT::Get::Mark-Auto=1"]);
                if wish.may_downgrade {
                    more.push("--allow-downgrades");
                }
                if wish.remove.is_empty() {
                    more.push("--no-remove");
                }
            }
        }
        let words = debian::arguments(wish, &BTreeMap::new(), &more)?;
        Ok(words.map(|words| Self { how, words }))
    }
}
