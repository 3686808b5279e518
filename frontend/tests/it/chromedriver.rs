//! A chromedriver on a port that it picks itself.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

pub struct Chromedriver {
    child: Child,
    pub url: String,
}

impl Chromedriver {
    /// It ends at once when the port that it drew for IPv4 is taken for IPv6: then it draws again.
    pub fn start() -> Self {
        (0..3).find_map(|_| Self::attempt()).expect("chromedriver says its port")
    }

    fn attempt() -> Option<Self> {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            // Its browsers are in the same group, so that none survives a test that failed.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts (apt-get install chromium-driver)");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let driver = Self { child, url: format!("http://127.0.0.1:{}", port.as_deref()?) };
        Some(driver)
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
