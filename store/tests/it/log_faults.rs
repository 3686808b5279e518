//! Bad commands, broken connections, a database that is gone, an end in good order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nexplane_store::log::{AppendError, InvalidAppend, Log, LogOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::log_fixture::{Fixture, append, event, queue, records, stream};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_database_refuses_stops_no_other() {
    let fixture = Fixture::new().await;
    sqlx::query("ALTER TABLE nexplane.log_events ADD CHECK (type <> 'test.poison')")
        .execute(fixture.pool())
        .await
        .unwrap();
    let poisoned = |number: u128| number % 17 == 3;
    let answers = futures_util::future::join_all((0..200).map(|number| {
        let mut command = append(stream(number), 0, 2);
        if poisoned(number) {
            command.events[1] = event("test.poison", "{}");
        }
        fixture.log.append(command)
    }))
    .await;
    for (answer, number) in answers.into_iter().zip(0..) {
        match answer {
            Ok(_) => assert!(!poisoned(number)),
            Err(AppendError::Invalid(InvalidAppend::Refused(_))) => assert!(poisoned(number)),
            Err(error) => panic!("{error:?}"),
        }
    }
    let all = fixture.all().await;
    assert_eq!(all.len(), 2 * (0..200).filter(|number| !poisoned(*number)).count());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_under_load_lose_and_double_nothing() {
    const WRITERS: u128 = 16;
    const COMMANDS: u64 = 100;
    const TOTAL: u64 = 16 * COMMANDS;
    let fixture = Fixture::new().await;

    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let log = fixture.log.clone();
        writers.spawn(async move {
            for version in 0..COMMANDS {
                log.append(append(stream(writer), version, 1)).await.unwrap();
            }
        });
    }
    // A kill after each sign of progress, when the next batch is under way.
    let mut watch = fixture.log.watch();
    let mut kills = 0;
    while kills < 40 && *watch.borrow_and_update() < TOTAL {
        kills += fixture.kill_appenders().await;
        watch.changed().await.unwrap();
    }
    writers.join_all().await;
    println!("{kills} connections killed");
    assert!(kills > 10);
    let all = fixture.all().await;
    assert_eq!(all.len() as u64, TOTAL);
    let ids: HashSet<_> = records(&all).into_iter().map(|record| record.header.id).collect();
    assert_eq!(ids.len(), all.len());
}

/// A proxy before the database that can lose answers.
struct Proxy {
    /// Where its socket is.
    directory: TempDir,
    /// Connections whose next bytes from the database are lost, and the connection with them.
    lose: Arc<AtomicU32>,
    /// Connections are refused.
    down: Arc<AtomicBool>,
    lost: Arc<AtomicU32>,
}

impl Proxy {
    fn start(fixture: &Fixture) -> Self {
        let target = fixture.connect();
        let name = format!(".s.PGSQL.{}", target.get_port());
        let socket = target.get_socket().unwrap().join(&name);
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(name)).unwrap();
        let proxy =
            Self { directory, lose: Arc::default(), down: Arc::default(), lost: Arc::default() };
        let (lose, down, lost) = (proxy.lose.clone(), proxy.down.clone(), proxy.lost.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if down.load(Ordering::SeqCst) {
                    continue;
                }
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(carry(client, server, lose.clone(), down.clone(), lost.clone()));
            }
        });
        proxy
    }

    async fn open(&self, fixture: &Fixture, options: LogOptions) -> Log {
        let connect = fixture.connect().socket(self.directory.path());
        Log::open(fixture.pool().clone(), connect, options).await.unwrap()
    }
}

async fn carry(
    mut client: UnixStream,
    mut server: UnixStream,
    lose: Arc<AtomicU32>,
    down: Arc<AtomicBool>,
    lost: Arc<AtomicU32>,
) {
    let (mut up, mut back) = ([0; 8192], [0; 8192]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(length) if length > 0 => server.write_all(&up[..length]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut back) => {
                let Ok(length @ 1..) = read else { return };
                if down.load(Ordering::SeqCst) {
                    return;
                }
                let losing = |left: u32| left.checked_sub(1);
                if lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, losing).is_ok() {
                    lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                client.write_all(&back[..length]).await.unwrap();
            }
        }
    }
}

/// The commit happens, its answer does not arrive: the same commands are sent again and answered
/// with the positions of the first time.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_the_commit_is_asked_for_again() {
    let fixture = Fixture::new().await;
    let proxy = Proxy::start(&fixture);
    let log = proxy.open(&fixture, LogOptions::default()).await;
    log.append(append(stream(0), 0, 1)).await.unwrap();

    for round in 0..20 {
        proxy.lose.store(1, Ordering::SeqCst);
        let appended = log.append(append(stream(1), 2 * round, 2)).await.unwrap();
        assert_eq!(appended.first_position, 1 + 2 * round);
        assert!(appended.duplicate, "the first attempt was committed");
    }
    assert_eq!(proxy.lost.load(Ordering::SeqCst), 20);
    assert_eq!(fixture.all().await.len(), 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_answer_is_unavailable_and_later_it_works_again() {
    let fixture = Fixture::new().await;
    let proxy = Proxy::start(&fixture);
    let options = LogOptions { give_up_after: Duration::from_millis(200), ..LogOptions::default() };
    let log = proxy.open(&fixture, options).await;
    log.append(append(stream(0), 0, 1)).await.unwrap();

    proxy.down.store(true, Ordering::SeqCst);
    let commands: Vec<_> = (0..600).map(|number| append(stream(1 + number), 0, 1)).collect();
    let answers = futures_util::future::join_all(commands.iter().cloned().map(|c| log.append(c)));
    let answers = tokio::time::timeout(Duration::from_secs(5), answers).await.unwrap();
    for answer in answers {
        assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    }

    proxy.down.store(false, Ordering::SeqCst);
    for command in commands {
        log.append(command).await.unwrap();
    }
    assert_eq!(fixture.all().await.len(), 601);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_unavailable() {
    let options = LogOptions { give_up_after: Duration::from_millis(100), ..LogOptions::default() };
    let fixture = Fixture::with(options).await;
    let set = |value: &str| {
        let statement = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = \
             {value}', current_database()); END $$"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(fixture.pool())
    };
    set("on").await.unwrap();
    assert_eq!(fixture.kill_appenders().await, 1);
    let command = append(stream(1), 0, 1);
    let error = fixture.log.append(command.clone()).await.unwrap_err();
    let AppendError::Unavailable(cause) = error else { panic!("{error:?}") };
    assert_eq!(cause.as_database_error().unwrap().code().unwrap(), "25006");

    set("off").await.unwrap();
    fixture.kill_appenders().await;
    fixture.log.append(command).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_what_was_accepted_and_refuses_the_rest() {
    let fixture = Fixture::new().await;
    let holder = fixture.hold_head().await;
    let accepted: Vec<_> =
        (0..1000).map(|number| queue(&fixture.log, append(stream(number), 0, 1))).collect();
    let close = async {
        fixture.log.close().await;
        fixture.log.close().await;
    };
    let release = async { holder.rollback().await.unwrap() };
    let answers = futures_util::future::join_all(accepted);
    let ((), (), answers) = tokio::join!(close, release, answers);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    let late = fixture.log.append(append(stream(1), 1, 1)).await;
    assert!(matches!(late, Err(AppendError::Closed)));
    assert_eq!(fixture.all().await.len(), 1000, "reading goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_log_writes_what_was_accepted() {
    let fixture = Fixture::new().await;
    let second = fixture.second_log().await;
    let mut watch = fixture.log.watch();
    let holder = fixture.hold_head().await;
    for number in 0..1000 {
        drop(queue(&second, append(stream(number), 0, 1)));
    }
    drop(second);
    holder.rollback().await.unwrap();
    watch.wait_for(|next| *next == 1000).await.unwrap();
}
