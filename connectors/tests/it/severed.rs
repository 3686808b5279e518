//! The line to the server is cut at every single message of an effect, before the server sees it and
//! after it saw it: whatever the connector then says of the outcome must be true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{Bench, step};
use crate::postgres_cases;

/// Time in which the server has certainly acted on what it was sent.
const SETTLE: Duration = Duration::from_millis(40);
const NEVER: usize = usize::MAX;

/// A line that can be cut.
struct Line {
    port: u16,
    /// The message (from 1) at which it is cut, and whether the server still gets it.
    cut_at: Arc<AtomicUsize>,
    delivered: Arc<AtomicUsize>,
    /// Messages since the last reset.
    seen: Arc<AtomicUsize>,
}

impl Line {
    async fn to(host: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            cut_at: Arc::new(AtomicUsize::new(NEVER)),
            delivered: Arc::default(),
            seen: Arc::default(),
        };
        let (cut_at, delivered, seen) =
            (line.cut_at.clone(), line.delivered.clone(), line.seen.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((host, port)).await.unwrap();
                let (cut_at, delivered, seen) = (cut_at.clone(), delivered.clone(), seen.clone());
                tokio::spawn(async move {
                    let (mut from_near, mut to_near) = near.into_split();
                    let (mut from_far, mut to_far) = far.into_split();
                    let back = tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
                    });
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from_near.read(&mut buffer).await {
                        let number = seen.fetch_add(1, Ordering::SeqCst) + 1;
                        if number >= cut_at.load(Ordering::SeqCst) {
                            back.abort();
                            if delivered.load(Ordering::SeqCst) == 1 {
                                let _ = to_far.write_all(&buffer[..count]).await;
                                tokio::time::sleep(SETTLE).await;
                            }
                            return;
                        }
                        if to_far.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                    back.abort();
                });
            }
        });
        line
    }

    fn cut(&self, at: usize, delivered: bool) {
        self.delivered.store(usize::from(delivered), Ordering::SeqCst);
        self.seen.store(0, Ordering::SeqCst);
        self.cut_at.store(at, Ordering::SeqCst);
    }
}

async fn severed(id: &str) {
    let bench = Bench::new().await;
    let case = postgres_cases::prepare(&bench, id, None).await;
    let (action, target, parameters) = (bench.action(id), &case.target, &case.parameters);
    let line = Line::to(bench.server.host(), bench.server.port()).await;
    let mut credentials = bench.credentials();
    credentials["host"] = json!("127.0.0.1");
    credentials["port"] = json!(line.port);
    let good = bench.session().await;
    let initially = bench.witness().await;
    let (mut unknown_done, mut unknown_not_done, mut definite) = (0, 0, 0);
    for at in 1_usize.. {
        let mut reached = false;
        for delivered in [false, true] {
            line.cut(NEVER, false);
            let session = bench.open(credentials.clone()).await.expect("open");
            let before = action.inspect(&*session, target, parameters).await.unwrap().before;
            let cx = step(action, target, parameters, &before.fingerprint);
            line.cut(at, delivered);
            let answer = action.execute(&*session, &cx, &before).await;
            line.cut(NEVER, false);
            tokio::time::sleep(SETTLE).await;
            let verified = action.verify(&*good, target, parameters, &before, None).await.unwrap();
            match answer {
                Ok(_) => assert!(verified.satisfied, "message {at}: done, but not there"),
                Err(error) => {
                    reached = true;
                    if error.is_outcome_unknown() {
                        if verified.satisfied { unknown_done += 1 } else { unknown_not_done += 1 }
                    } else {
                        definite += 1;
                        assert_eq!(
                            (verified.satisfied, &verified.fingerprint),
                            (false, &before.fingerprint),
                            "message {at} (delivered: {delivered}): {error:?}, but it has an effect"
                        );
                    }
                }
            }
            // Whatever it was, the same call finishes it and can be undone.
            action.execute(&*good, &cx, &before).await.expect("finish");
            let verified = action.verify(&*good, target, parameters, &before, None).await.unwrap();
            assert!(verified.satisfied, "message {at}");
            action.rollback(&*good, &cx, &before, None).await.expect("rollback");
            assert_eq!(bench.witness().await, initially, "message {at}");
        }
        if !reached {
            break;
        }
        assert!(at < 500, "the effect never gets through");
    }
    assert!(definite >= 10, "only {definite} definite answers");
    assert!(unknown_done >= 1, "no cut hit the answer of COMMIT");
    assert!(unknown_not_done >= 1, "no cut hit COMMIT itself");
}

#[tokio::test]
async fn real_crash_of_the_line_while_locking() {
    severed("postgres.lock_user").await;
}

#[tokio::test]
async fn real_crash_of_the_line_while_rotating() {
    severed("postgres.rotate_user_password").await;
}
