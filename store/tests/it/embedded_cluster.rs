//! The private cluster on real files and processes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexplane_store::embedded::{Cluster, ClusterOptions, EmbeddedError, Network};
use rustix::fs::statvfs;
use rustix::process::{Pid, Signal, getpgid, getpgrp, kill_process, test_kill_process};
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

const HELPER_DIRECTORY: &str = "NEXPLANE_TEST_CLUSTER_DIRECTORY";
/// More than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder that the user who runs PostgreSQL can enter, also when we are root; in memory where
/// there is enough of it.
fn place() -> TempDir {
    let memory = statvfs("/dev/shm").is_ok_and(|found| found.f_blocks * found.f_frsize > 4 << 30);
    tempfile::Builder::new()
        .prefix("nexplane-embedded-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in(if memory { "/dev/shm" } else { "/tmp" })
        .unwrap()
}

/// Durable only where a test is about that.
fn fast(directory: PathBuf) -> ClusterOptions {
    ClusterOptions { fsync: false, ..ClusterOptions::new(directory) }
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.unwrap();
}

async fn number(cluster: &Cluster) -> i32 {
    let mut connection = cluster.connect_options("kept").connect().await.unwrap();
    sqlx::query_scalar("SELECT n FROM t").fetch_one(&mut connection).await.unwrap()
}

async fn keep_a_number(cluster: &Cluster) {
    cluster.create_database("kept").await.unwrap();
    let mut connection = cluster.connect_options("kept").connect().await.unwrap();
    run(&mut connection, "CREATE TABLE t (n int); INSERT INTO t VALUES (42)").await;
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn starts_stops_and_keeps_its_data_to_itself() {
    let place = place();
    let directory = place.path().join("postgres");
    // A first attempt that was killed while it created the database.
    fs::create_dir_all(directory.join("data.new")).unwrap();
    fs::write(directory.join("data.new/PG_VERSION"), "15\n").unwrap();

    let cluster = Cluster::open(ClusterOptions::new(&directory)).await.unwrap();
    assert!(!cluster.was_adopted());
    assert_eq!(cluster.port(), None);
    keep_a_number(&cluster).await;
    cluster.create_database("kept").await.unwrap();
    assert!(matches!(
        cluster.create_database("x\" OWNER y").await,
        Err(EmbeddedError::BadName { .. })
    ));

    let url = cluster.url("kept");
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    let (listen, fsync, method): (String, String, String) = sqlx::query_as(
        "SELECT current_setting('listen_addresses'), current_setting('fsync'), \
                (SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((listen.as_str(), fsync.as_str(), method.as_str()), ("", "on", "password"));
    let wrong = cluster.connect_options("kept").password("wrong").connect().await;
    assert!(wrong.is_err(), "the password is asked for");

    assert_eq!(mode(&directory.join("password")), 0o600);
    assert_eq!(mode(&directory.join("data")), 0o700);
    assert_eq!(mode(cluster.socket_directory()), 0o700);
    let shown = format!("{cluster:?}");
    assert!(!shown.contains(cluster.password().expose_secret()), "{shown}");

    // Ctrl-C in our terminal goes to our process group.
    let server = pid(cluster.pid().unwrap());
    assert_ne!(getpgid(Some(server)).unwrap(), getpgrp());

    // An open session does not hold up the stop.
    let started = Instant::now();
    cluster.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(test_kill_process(server).is_err(), "the server is gone");

    let again = Cluster::open(ClusterOptions::new(&directory)).await.unwrap();
    assert_eq!(number(&again).await, 42);
    let server = pid(again.pid().unwrap());
    drop(again);
    assert!(test_kill_process(server).is_err(), "dropping stops the server too");
}

#[tokio::test]
async fn recovers_when_the_server_is_killed() {
    let place = place();
    let directory = place.path().join("postgres");
    let cluster = Cluster::open(ClusterOptions::new(&directory)).await.unwrap();
    keep_a_number(&cluster).await;
    let server = cluster.pid().unwrap();
    kill_process(pid(server), Signal::KILL).unwrap();
    drop(cluster);

    let again = Cluster::open(ClusterOptions::new(&directory)).await.unwrap();
    assert!(!again.was_adopted());
    assert_ne!(again.pid(), Some(server));
    assert_eq!(number(&again).await, 42);
}

/// The other half of the tests below: owns a cluster until it is killed.
#[tokio::test]
#[ignore = "started by other tests as a process of its own"]
async fn helper_owns_a_cluster() {
    let directory = PathBuf::from(std::env::var_os(HELPER_DIRECTORY).unwrap());
    let cluster = Cluster::open(fast(directory.clone())).await.unwrap();
    keep_a_number(&cluster).await;
    fs::write(directory.join("helper-is-ready"), "").unwrap();
    tokio::time::sleep(PATIENCE).await;
}

async fn start_helper(directory: &Path) -> Child {
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "embedded_cluster::helper_owns_a_cluster"])
        .env(HELPER_DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !directory.join("helper-is-ready").exists() {
        assert!(helper.try_wait().unwrap().is_none() && Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    helper
}

fn server_of(directory: &Path) -> i32 {
    let file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_second_owner_is_refused_and_a_killed_one_is_succeeded() {
    let place = place();
    let directory = place.path().join("postgres");
    let mut helper = start_helper(&directory).await;
    let server = server_of(&directory);

    let error = Cluster::open(fast(directory.clone())).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&helper.id().to_string()), "{error}");

    helper.kill().unwrap(); // SIGKILL
    helper.wait().unwrap();
    let cluster = Cluster::open(fast(directory.clone())).await.unwrap();
    assert!(cluster.was_adopted());
    assert_eq!(cluster.pid(), Some(server));
    assert_eq!(number(&cluster).await, 42);
    cluster.stop().await.unwrap();
    assert!(test_kill_process(pid(server)).is_err(), "an adopted server is stopped as well");
}

#[tokio::test]
async fn a_left_behind_server_with_other_settings_is_restarted() {
    let place = place();
    let directory = place.path().join("postgres");
    let mut helper = start_helper(&directory).await;
    let server = server_of(&directory);
    helper.kill().unwrap();
    helper.wait().unwrap();

    let cluster = Cluster::open(ClusterOptions::new(&directory)).await.unwrap();
    assert!(!cluster.was_adopted());
    assert_ne!(cluster.pid(), Some(server));
    let mut connection = cluster.connect_options("kept").connect().await.unwrap();
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on");
    assert_eq!(number(&cluster).await, 42);
}

#[tokio::test]
async fn on_loopback_it_wants_tls_and_keeps_its_port() {
    let place = place();
    let network = Network::Loopback { port: 0, tls: true };
    let options = ClusterOptions { network, ..fast(place.path().join("postgres")) };
    let cluster = Cluster::open(options.clone()).await.unwrap();
    keep_a_number(&cluster).await;
    let (port, ca) = (cluster.port().unwrap(), fs::read(cluster.ca_path().unwrap()).unwrap());
    let url = cluster.loopback_url("kept").unwrap();
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    let n: i32 = sqlx::query_scalar("SELECT n FROM t").fetch_one(&mut connection).await.unwrap();
    assert_eq!(n, 42);
    let plain = url.expose_secret().replace("verify-full", "disable");
    assert!(PgConnection::connect(&plain).await.is_err(), "only encrypted connections");
    cluster.stop().await.unwrap();

    // Whoever was given port and CA can go on using them, unless the port is taken.
    let again = Cluster::open(options.clone()).await.unwrap();
    assert_eq!(again.port(), Some(port));
    assert_eq!(fs::read(again.ca_path().unwrap()).unwrap(), ca);
    again.stop().await.unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let moved = Cluster::open(options).await.unwrap();
    assert_ne!(moved.port(), Some(port));
    drop(taken);
}

#[tokio::test]
async fn a_process_id_that_another_server_got_is_no_obstacle() {
    let place = place();
    let (directory, elsewhere) = (place.path().join("postgres"), place.path().join("elsewhere"));
    Cluster::open(fast(directory.clone())).await.unwrap().stop().await.unwrap();
    let other = Cluster::open(fast(elsewhere)).await.unwrap();
    let (theirs, data) = (other.pid().unwrap(), directory.join("data"));
    let text = format!("{theirs}\n{}\n1700000000\n5432\n\n\n", data.display());
    fs::write(data.join("postmaster.pid"), text).unwrap();
    let cluster = Cluster::open(fast(directory)).await.unwrap();
    assert!(!cluster.was_adopted());
    assert!(test_kill_process(pid(theirs)).is_ok(), "the other server is left alone");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let place = place();
    let directory = place.path().join("long-".repeat(20)).join("postgres");
    let cluster = Cluster::open(fast(directory)).await.unwrap();
    let socket = cluster.socket_directory().to_owned();
    assert!(socket.as_os_str().len() < 60, "{}", socket.display());
    cluster.create_database("works").await.unwrap();
    cluster.stop().await.unwrap();
    assert!(!socket.exists(), "nothing is left in /tmp");
}

#[tokio::test]
async fn a_failed_start_shows_the_servers_own_words() {
    let place = place();
    let directory = place.path().join("postgres");
    let mut options = fast(directory.clone());
    options.settings = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let error = Cluster::open(options).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Start { .. }), "{error:?}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");

    // The password is part of the directory; without it nobody gets in.
    fs::remove_file(directory.join("password")).unwrap();
    let error = Cluster::open(fast(directory)).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::PasswordMissing { .. }), "{error:?}");
}

#[tokio::test]
async fn a_closed_parent_is_named() {
    if !rustix::process::geteuid().is_root() {
        return; // Everybody else runs PostgreSQL as themselves.
    }
    let place = place();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let error = Cluster::open(fast(closed.join("deep/postgres"))).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EmbeddedError::Unreachable { .. }), "{error:?}");
    assert!(text.contains(&format!("enter {} (mode 0700)", closed.display())), "{text}");
}
