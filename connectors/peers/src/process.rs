//! A server that ends with the value, and with whoever started it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::{PeerError, tail};

/// How long a server may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A running server.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with stdin closed and all output in `log`. The kernel ends it when this process ends in
    /// whatever way (`setpriv --pdeathsig`), where the system has that.
    pub fn start(what: &str, command: &Command, log: &Path) -> Result<Self, PeerError> {
        let attempt = format!("start {what}");
        let output = File::create(log).map_err(PeerError::io(attempt.clone()))?;
        let errors = output.try_clone().map_err(PeerError::io(attempt.clone()))?;
        let mut bound = bound(command);
        bound.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = spawn(bound).map_err(PeerError::io(attempt))?;
        Ok(Self { what: what.to_owned(), child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Asks until it is well. Errors: it ended, or the time is over.
    pub async fn healthy(
        &mut self,
        limit: Duration,
        mut well: impl AsyncFnMut() -> bool,
    ) -> Result<(), PeerError> {
        let mut ended = None;
        let (child, log) = (&mut self.child, self.log.clone());
        crate::healthy(&self.what, &log, limit, async || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || well().await
        })
        .await?;
        match ended {
            None => Ok(()),
            Some(status) => Err(PeerError::Ended {
                what: self.what.clone(),
                status: status.to_string(),
                log: tail(&self.log),
            }),
        }
    }

    /// Stops it as its own service manager would, and waits.
    pub fn stop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(self.child.id(), rustix::process::Signal::TERM);
            let end = Instant::now() + STOP_WITHIN;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
            // Nothing is left to do when it has just ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Stops it the hard way, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The same command, which ends when its parent does.
fn bound(command: &Command) -> Command {
    let mut bound = match crate::program(&["setpriv"], "setpriv", "apt-get install util-linux") {
        Ok(setpriv) => {
            let mut bound = Command::new(setpriv);
            bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
            bound
        }
        Err(_) => Command::new(command.get_program()),
    };
    bound.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

type Spawned = io::Result<Child>;

/// The parent that the kernel watches is the thread that started a process: this one lives as long as we do.
fn spawn(command: Command) -> Spawned {
    type Wish = (Command, mpsc::Sender<Spawned>);
    static SPAWNER: LazyLock<mpsc::Sender<Wish>> = LazyLock::new(|| {
        let (wishes, orders) = mpsc::channel::<Wish>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        wishes
    });
    let (answer, spawned) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    SPAWNER.send((command, answer)).map_err(|_| gone(mpsc::RecvError))?;
    spawned.recv().map_err(gone)?
}
