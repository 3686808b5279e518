//! Actions on a host, carried out by a real agent beneath a directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::{Value, json};

use super::reader::{Snapshot, files};
use super::{Row, Stage};
use crate::harness::Agent;

pub const ROWS: [Row; 10] = [
    ("host.set_file_content", "bytes that are no text"),
    ("host.set_file_content", "another mode and owner, and extended attributes"),
    ("host.set_file_content", "an empty file"),
    ("host.set_file_content", "no file"),
    ("host.set_file_content", "no file, and a mode"),
    ("host.set_file_content", "a file, and a mode"),
    ("host.set_file_permission", "a plain file"),
    ("host.set_file_permission", "a file that runs as its owner"),
    ("host.set_file_permission", "another owner and group"),
    ("host.set_file_permission", "extended attributes"),
];

/// What a row begins with.
struct Case {
    /// What is there: content and mode.
    before: Option<(Vec<u8>, u32)>,
    owner: Option<(u32, u32)>,
    attribute: Option<&'static [u8]>,
    parameters: Value,
    intended: Vec<(&'static str, String)>,
}

impl Case {
    fn of(row: Row, path: &str) -> Self {
        let content = hex::encode("after\n");
        let plain = |mode: u32| Some((b"before\n".to_vec(), mode));
        let writes = json!({ "path": path, "content": "after\n" });
        let written = |mode: &str| vec![("content", content.clone()), ("mode", mode.to_owned())];
        let case = |before, parameters, intended| Self {
            before,
            owner: None,
            attribute: None,
            parameters,
            intended,
        };
        match row.1 {
            "bytes that are no text" => {
                let bytes = (0..=255_u8).cycle().take(100_000).collect();
                case(Some((bytes, 0o640)), writes, written("100640"))
            }
            "another mode and owner, and extended attributes" => Self {
                owner: Some((1234, 4321)),
                attribute: Some(b"kept \xff"),
                ..case(plain(0o604), writes, written("100604"))
            },
            "an empty file" => case(Some((Vec::new(), 0o600)), writes, written("100600")),
            "no file" => case(None, writes, written("100644")),
            "no file, and a mode" => {
                let writes = json!({ "path": path, "content": "after\n", "mode": "0751" });
                case(None, writes, written("100751"))
            }
            "a file, and a mode" => {
                let writes = json!({ "path": path, "content": "after\n", "mode": "0400" });
                case(plain(0o666), writes, written("100400"))
            }
            "a plain file" => {
                let sets = json!({ "path": path, "mode": "0604" });
                case(plain(0o644), sets, vec![("mode", "100604".to_owned())])
            }
            "a file that runs as its owner" => {
                let sets = json!({ "path": path, "mode": "0755" });
                case(plain(0o4755), sets, vec![("mode", "100755".to_owned())])
            }
            "another owner and group" => {
                let mut sets = json!({ "path": path, "mode": "0600" });
                let mut intended = vec![("mode", "100600".to_owned())];
                if is_root() {
                    (sets["owner"], sets["group"]) = ("4321".into(), "1234".into());
                    intended.push(("owner", "4321:1234".to_owned()));
                }
                Self { owner: Some((1234, 4321)), ..case(plain(0o660), sets, intended) }
            }
            "extended attributes" => Self {
                attribute: Some(b"stays"),
                ..case(
                    plain(0o664),
                    json!({ "path": path, "mode": "0444" }),
                    vec![("mode", "100444".to_owned())],
                )
            },
            other => panic!("a row without a case: {other}"),
        }
    }

    fn prepare(&self, path: &Path) {
        let Some((content, mode)) = &self.before else { return };
        fs::write(path, content).unwrap();
        if let Some(value) = self.attribute {
            let flags = rustix::fs::XattrFlags::empty();
            // Not every file system of a test machine has them.
            let kept = rustix::fs::setxattr(path, "user.note", value, flags);
            eprintln!("extended attribute: {kept:?}");
        }
        if let Some((owner, group)) = self.owner
            && is_root()
        {
            chown(path, Some(owner), Some(group)).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
    }
}

/// Only root gives files to others.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_as_before_after_every_way_back() {
    let stage = Stage::new().await;
    let agent = Agent::start(&stage.server).await;
    let root = agent.path("/");
    for (no, row) in ROWS.into_iter().enumerate() {
        let path = format!("/etc/row{no}.conf");
        let case = Case::of(row, &path);
        case.prepare(&agent.path(&path));
        let request = agent.request(row.0, case.parameters.clone());
        let read = async || files(&root);
        stage
            .there_and_back(row, request, read, &path, |now: &Snapshot| {
                for (what, value) in &case.intended {
                    assert_eq!(now[&format!("{path} {what}")], *value, "{row:?}: {what}");
                }
            })
            .await;
    }
}
