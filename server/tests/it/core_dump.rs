//! A server that crashes while it works with secrets leaves no memory image.
//!
//! The counter-test lets it: the same crash then leaves one, and the secret is in it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{Server, text};

const MARK: &str = "of-a-crash-correct-horse-battery";

/// Where a process that runs in `folder` leaves an image; none where the kernel gives it to a program.
fn image(folder: &Path, pid: u32) -> Option<PathBuf> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let pattern = pattern.trim();
    if pattern.starts_with('|') {
        return None;
    }
    // Of what `core(5)` lists, these two are all that is expected here.
    let name = pattern.replace("%p", &pid.to_string()).replace("%e", "nexplane");
    let named = folder.join(&name);
    Some(if named.exists() { named } else { folder.join(format!("{name}.{pid}")) })
}

/// As large an image as this process may ask for; whether there may be one at all.
fn allow_images() -> bool {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: maximum, maximum }).unwrap();
    maximum != Some(0)
}

/// Crashes a server that waits for a silent target. Whether the kernel says that it left an image, and the image;
/// nothing where this machine allows none.
async fn crash(variables: Vec<(&'static str, &'static str)>) -> Option<(bool, Option<Vec<u8>>)> {
    let folder = tempfile::tempdir().unwrap();
    // Every test is a process of its own, and hands both on to the server.
    std::env::set_current_dir(folder.path()).unwrap();
    let allowed = allow_images();
    let mut server = Server::start().await;
    server.variables = variables;
    server.restart().await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let credentials = json!({
        "host": "127.0.0.1",
        "port": silent.local_addr().unwrap().port(),
        "username": "nexplane",
        "password": MARK,
        "tls": false,
    });
    let body = json!({
        "name": "silent", "type": "redis", "environment": "dev", "credentials": credentials,
    });
    let added = server.admin.post("/connections", body).await.is(201);
    let path = format!("/connections/{}/test", text(&added["id"]));
    let admin = server.admin.clone();
    let asked = tokio::spawn(async move {
        admin.try_send(admin.request(reqwest::Method::POST, &path).json(&json!({}))).await
    });
    // It was told the password, and waits for an answer.
    let (mut told, _) = silent.accept().await.unwrap();
    let mut heard = vec![0; 4096];
    let count = tokio::io::AsyncReadExt::read(&mut told, &mut heard).await.unwrap();
    assert!(String::from_utf8_lossy(&heard[..count]).contains(MARK));

    let pid = server.pid();
    let status = server.ended_by(Signal::ABORT).await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(asked.await.unwrap().is_err());
    let image = image(folder.path(), pid).and_then(|path| std::fs::read(path).ok());
    allowed.then_some((status.core_dumped(), image))
}

fn has(image: &[u8], secret: &str) -> bool {
    image.windows(secret.len()).any(|part| part == secret.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_with_a_secret_at_work_leaves_no_image() {
    if let Some((dumped, image)) = crash(Vec::new()).await {
        assert!(!dumped && image.is_none(), "there is an image of the server");
    }
}

/// The other test can fail: what keeps the image away is the server, not this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_an_image_with_the_secret_where_that_is_allowed() {
    match crash(vec![("NEXPLANE_ALLOW_CORE_DUMPS", "1")]).await {
        Some((dumped, Some(image))) => {
            assert!(dumped && has(&image, MARK), "an image of {} bytes", image.len());
        }
        // `kernel.core_pattern` gives it to a program, or has a name that is not looked for here.
        Some((dumped, None)) => assert!(dumped, "the server left no image"),
        None => println!("skipped: this machine allows no images (`ulimit -H -c`)"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_root_reads_the_memory_of_a_server_or_an_agent() {
    use std::os::unix::fs::MetadataExt as _;

    let server = Server::start().await;
    let agent = crate::harness::Agent::start(&server).await;
    for pid in [server.pid(), agent.pid()] {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<_> = core.split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{core}");
        // The owner of these files is root as soon as a process is not dumpable: `proc(5)`. For root's own
        // processes the tests above tell more.
        let owner = std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
        assert_eq!(owner, 0);
    }
}
