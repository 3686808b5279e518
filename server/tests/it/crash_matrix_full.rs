//! The crash matrix on a full disk. The server's database is on a file system of its own, which is filled
//! until PostgreSQL is told by the kernel that there is no space left.
//!
//! A file system is mounted for that, so the test is for root with the right to mount; elsewhere it says
//! that it did not run. PostgreSQL's own log of changes is on the cluster's disk: a cluster without room for
//! that stops, and the server sees what `crash_of_the_database_during_an_effect` shows.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nexplane_store::testing::{TargetServer, event_records};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::crash_matrix_spool::{until_held, waiting};
use crate::crash_stage::{LOCK, Stage, Story};
use crate::harness::{eventually, id};

/// Room for the database and a little more.
const SIZE: &str = "size=64m";

/// A small file system, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// None where mounting is not possible.
    fn mount() -> Option<Self> {
        let directory = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(directory.path())
            .output();
        let is_mounted = mounted.is_ok_and(|mounted| mounted.status.success());
        is_mounted.then(|| Self(directory))
    }

    /// A directory in it that whoever owns the other one may write to.
    fn space_for_owner_of(&self, other: &Path) -> PathBuf {
        let space = self.0.path().join("space");
        std::fs::create_dir(&space).unwrap();
        let owner = std::fs::metadata(other).unwrap();
        std::os::unix::fs::chown(&space, Some(owner.uid()), Some(owner.gid())).unwrap();
        space
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for block in [1 << 16, 1 << 12, 1] {
            let block = vec![b'x'; block];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.path().display());
        }
    }
}

async fn sql(admin: &mut PgConnection, text: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(admin).await.map(drop)
}

/// Moves the server's database into the small file system, while the server is down.
async fn move_into(small: &Small, stage: &mut Stage, admin: &mut PgConnection) -> String {
    stage.server.stop().await;
    let name = stage.server.database().name().to_owned();
    let options = stage.server.database().options();
    let space = small.space_for_owner_of(options.get_socket().unwrap());
    let tablespace = format!("small_{name}");
    let location = space.display();
    let create = format!("CREATE TABLESPACE \"{tablespace}\" LOCATION '{location}'");
    sql(admin, create).await.unwrap();
    let leave =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let alter = format!("ALTER DATABASE \"{name}\" SET TABLESPACE \"{tablespace}\"");
    eventually("nobody uses the database", async || {
        sql(admin, leave.clone()).await.unwrap();
        sql(admin, alter.clone()).await.ok()
    })
    .await;
    stage.server.up().await;
    tablespace
}

/// Writes until there is no room in any page either.
async fn until_nothing_fits(stage: &Stage, asset: &str) {
    let mut written = 0;
    loop {
        let path = format!("/assets/{asset}");
        let body = json!({ "tags": [format!("n{written}")] });
        let answer = stage.server.admin.patch(&path, body).await;
        match answer.status {
            200 => written += 1,
            503 => break,
            _ => panic!("{answer:?}"),
        }
        assert!(written < 20_000, "the disk is not full");
    }
    eprintln!("{written} events had room on the full disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_a_full_disk_begins_nothing_and_loses_nothing() {
    let Some(small) = Small::mount() else {
        eprintln!("not run: this needs the right to mount a file system");
        return;
    };
    let keeper = TargetServer::new().await;
    let mut admin = keeper.admin().await;
    // An effect may take as long as its worker has the run; filling the disk takes a while.
    let mut stage = Stage::new(45).await;
    stage.server.expected_errors.extend([
        "No space left on device",
        "the event log's database is not available; gave up",
        "request failed",
    ]);
    let tablespace = move_into(&small, &mut stage, &mut admin).await;
    let roles = stage.shop.roles(&stage.server, &["one", "two", "three"]).await;
    let asset = id(&stage.shop.asset(&stage.operator, &roles[2]).await);
    let change = stage.approved(LOCK, &roles[..2]).await;
    let other = stage.approved(LOCK, &roles[2..]).await;
    let (first, traps) = until_held(&stage, &change, &roles[..2]).await;

    // A session that begins on a full disk may fail: PostgreSQL writes a file of what it keeps in mind.
    let mut reader = stage.server.database().pool().acquire().await.unwrap();
    small.fill();
    until_nothing_fits(&stage, &asset).await;
    // The running call finishes, and what came of it is on disk.
    traps.iter().for_each(|trap| trap.release());
    eventually("the outcome is on disk", async || {
        waiting(stage.server.data_dir(), "outcome").pop()
    })
    .await;
    // Nothing else begins.
    let refused = stage.execute(&other).await.unwrap().unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = Story::out_of(&event_records(&mut *reader).await.unwrap(), &change);
    drop(reader);
    assert_eq!(told.count("run.step_intended"), 1, "{}", told.told());
    assert_eq!(told.count("run.step_succeeded"), 0, "{}", told.told());
    assert_eq!(stage.count.alterations(&roles[first]).await, 1);
    assert_eq!(stage.count.alterations(&roles[1 - first]).await, 0, "no intent, and yet an effect");
    assert_eq!(stage.count.alterations(&roles[2]).await, 0, "no start, and yet an effect");
    assert_eq!(waiting(stage.server.data_dir(), "outcome").len(), 1);

    small.free();
    let story = stage.ended(&change).await;
    eprintln!("{}", story.told());
    story.is_sound();
    assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
    assert_eq!(story.count("run.step_succeeded"), 2, "{}", story.told());
    assert!(!story.has("run.step_unknown"), "{}", story.told());
    eventually("it can be executed now", async || {
        let answer = stage.operator.act(&other, "execute").await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(stage.ended(&other).await.end(), Some("change.completed"));
    for role in &roles {
        assert_eq!(stage.count.alterations(role).await, 1, "{role}");
    }
    eventually("nothing waits any more", async || {
        waiting(stage.server.data_dir(), "outcome").is_empty().then_some(())
    })
    .await;
    drop(stage);
    sql(&mut admin, format!("DROP TABLESPACE \"{tablespace}\"")).await.unwrap();
}
