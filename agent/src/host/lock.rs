//! Locks of files that other programs take, too: those of `fcntl(2)`, which has no wait with an end.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock, and waits as long as somebody else has it.
///
/// # Errors
/// `AGAIN` when somebody else has it still after `patience`; whatever else the kernel says, at once.
pub(super) fn take(file: impl AsFd, patience: Duration) -> Result<(), Errno> {
    let until = Instant::now() + patience;
    loop {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::ACCESS | Errno::AGAIN) if Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            Err(Errno::ACCESS) => return Err(Errno::AGAIN),
            done => return done,
        }
    }
}
