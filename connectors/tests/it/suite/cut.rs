//! Effects that are cut off in the middle: by ourselves, as a crash does, and by the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::trial::{Trial, session_of};
use super::{Account, Peer};
use crate::fixture::step;

/// The effect is cut off in the middle, again and again, later and later: afterwards the target is as
/// before or as after, never in between, and the same call finishes it.
pub async fn crash<P: Peer>(id: &str) {
    let peer = P::start().await;
    let mut trial = Trial::of(&peer, id, Account::Full).await;
    if !trial.is_reversible() {
        return crash_one_way(&peer, trial).await;
    }
    let initially = peer.witness().await;
    let (mut cut, mut through, mut whole) = (0_u32, 0_u32, Duration::MAX);
    // Eighths of the whole that the next round has. It begins anew whenever one got through: on a busy
    // machine the whole may have been measured too long.
    let mut eighths = 0;
    for round in 0_u32.. {
        let before = trial.inspect().await.before;
        let cx = trial.step(&before);
        let effect = trial.action.execute(&*trial.session, &cx, &before);
        // The first round measures how long the whole takes.
        let limit = if round == 0 { whole } else { whole / 8 * eighths };
        eighths += u32::from(round > 0);
        let started = Instant::now();
        match tokio::time::timeout(limit, effect).await {
            Ok(done) => {
                done.expect("execute");
                through += 1;
                eighths = 0;
                whole = whole.min(started.elapsed());
            }
            Err(_) => cut += 1,
        }
        // What was cut off is decided by the server within moments: nothing is in flight for longer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = trial.fingerprint().await;
        let (there, after) = trial.satisfied(&before, None).await;
        assert_eq!(now, after);
        assert!(there || now == before.fingerprint || trial.case.in_parts, "in between");
        if let Err(error) = trial.action.execute(&*trial.session, &cx, &before).await {
            assert!(peer.follow(&trial.case, &error).await, "finish: {error:?}");
            trial.action.execute(&*trial.session, &cx, &before).await.expect("finish");
        }
        assert!(trial.satisfied(&before, None).await.0);
        trial.action.rollback(&*trial.session, &cx, &before, None).await.expect("rollback");
        assert_eq!(peer.witness().await, initially, "round {round}");
        if through >= 2 && cut >= 3 {
            break;
        }
        assert!(round < 60, "it never gets through");
    }
}

/// The same without a way back: each time at a moment that is drawn anew from what is left of the target.
async fn crash_one_way<P: Peer>(peer: &P, mut trial: Trial) {
    let before = trial.inspect().await.before;
    let cx = trial.step(&before);
    for wait in [0, 1, 2, 4, 8, 16, 32] {
        let effect = trial.action.execute(&*trial.session, &cx, &before);
        let cut = tokio::time::timeout(Duration::from_millis(wait), effect).await.is_err();
        tokio::time::sleep(SETTLE).await;
        let (there, now) = trial.satisfied(&before, None).await;
        assert!(cut || there, "done, but not there");
        assert!(there || now == before.fingerprint || trial.case.in_parts, "in between");
    }
    trial.action.execute(&*trial.session, &cx, &before).await.expect("finish");
    assert!(trial.satisfied(&before, None).await.0);
    let witness = peer.witness().await;
    assert!(!trial.action.execute(&*trial.session, &cx, &before).await.expect("again").changed);
    assert_eq!(peer.witness().await, witness);
}

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
    async fn to(host: String, port: u16) -> Self {
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
                let far = TcpStream::connect((host.as_str(), port)).await.unwrap();
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

/// The line to the server is cut at every single message of an effect, before the server sees it and after
/// it saw it: whatever the connector then says of the outcome must be true. Answers how often the outcome
/// was unknown and had happened, unknown and had not, and was said for sure.
pub async fn severed<P: Peer>(id: &str) -> [u32; 3] {
    let peer = P::start().await;
    let Trial { action, case, login, session: good, .. } =
        Trial::of(&peer, id, Account::Full).await;
    let (target, parameters) = (&case.target, &case.parameters);
    let (host, port) = peer.address();
    let line = Line::to(host, port).await;
    let credentials = peer.moved(login.credentials, line.port);
    let initially = peer.witness().await;
    let (mut unknown_done, mut unknown_not_done, mut definite) = (0, 0, 0);
    for at in 1_usize.. {
        let mut reached = false;
        for delivered in [false, true] {
            line.cut(NEVER, false);
            let session = session_of::<P>(credentials.clone()).await;
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
            assert_eq!(peer.witness().await, initially, "message {at}");
        }
        if !reached {
            break;
        }
        assert!(at < 500, "the effect never gets through");
    }
    [unknown_done, unknown_not_done, definite]
}
