//! A line between two programs that a test holds at one exact message, and then lets go or cuts.
//!
//! It reads as much of PostgreSQL's protocol (without TLS) as it takes to know where a request begins
//! and ends, so that a fault is at a message and not at a moment. What it does not understand, such
//! as the TLS of an agent, passes as it comes and can be cut or held as a whole. Loopback only.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// The longest that a test waits for a message to come by.
const PATIENCE: Duration = Duration::from_secs(30);
/// No message of a test is longer.
const LONGEST: usize = 4 * 1024 * 1024;
const CHUNK: usize = 16 * 1024;
/// Protocol 3.0, in the first message of a connection.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const STARTUP: [u8; 4] = 196_608_u32.to_be_bytes();

/// Where a line leads.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A PostgreSQL server: requests are taken apart.
    Postgres(PathBuf),
    /// Anything: bytes.
    Bytes(SocketAddr),
}

/// What is held when a message comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// All of it: the other side hears nothing.
    Request,
    /// Its second half: the other side has half a request.
    Half,
    /// The answer: the other side has acted on it.
    Answer,
}

/// Which message.
#[derive(Clone, Debug, Default)]
pub struct Spot {
    /// The connection's first message has this.
    pub on: &'static str,
    /// An earlier message of the connection has all of these.
    pub after: Vec<String>,
    /// It has all of these, and when it carries records of the log, one of them has: an append is of several
    /// commands at a time.
    pub at: Vec<String>,
}

/// Waits on a line for one message, once.
#[derive(Debug)]
pub struct Trap {
    number: usize,
    hold: Hold,
    spot: Spot,
    sprung: watch::Sender<bool>,
    /// Whether what is held goes on; `None` while it is held.
    verdict: watch::Sender<Option<bool>>,
}

impl Trap {
    /// Until the message is there and held.
    pub async fn sprung(&self) {
        let mut sprung = self.sprung.subscribe();
        let waited = tokio::time::timeout(PATIENCE, sprung.wait_for(|sprung| *sprung)).await;
        assert!(waited.is_ok(), "no such message came by: {:?}", self.spot);
    }

    /// Whether it is held right now.
    pub fn is_held(&self) -> bool {
        *self.sprung.borrow() && self.verdict.borrow().is_none()
    }

    /// Lets what is held go on, whether or not anybody is left who waits for it.
    pub fn release(&self) {
        self.verdict.send_replace(Some(true));
    }

    /// Cuts the connection; what is held is lost.
    pub fn cut(&self) {
        self.verdict.send_replace(Some(false));
    }

    /// Holds until a test decides; true when it may go on.
    async fn held(&self) -> bool {
        self.sprung.send_replace(true);
        let mut verdict = self.verdict.subscribe();
        let decided = verdict.wait_for(Option::is_some).await;
        decided.is_ok_and(|decided| *decided == Some(true))
    }
}

/// The line. Ends with its value.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    upstream: Mutex<Upstream>,
    traps: Mutex<Vec<Arc<Trap>>>,
    made: AtomicUsize,
    is_down: AtomicBool,
    /// Connections end when it moves.
    cuts: watch::Sender<usize>,
    /// While true, nothing that clients say passes.
    mute: watch::Sender<bool>,
    /// While true, nothing that clients are told passes.
    deaf: watch::Sender<bool>,
    /// A text, and how often clients were told it.
    told: Mutex<(String, usize)>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Proxy {
    pub async fn to(upstream: Upstream) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            traps: Mutex::default(),
            made: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            cuts: watch::channel(0).0,
            mute: watch::channel(false).0,
            deaf: watch::channel(false).0,
            told: Mutex::default(),
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if shared.is_down.load(Ordering::SeqCst) {
                        continue;
                    }
                    let shared = Arc::clone(&shared);
                    let mut cuts = shared.cuts.subscribe();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = connect(&shared, client) => {}
                            _ = cuts.changed() => {}
                        }
                    });
                }
            }
        });
        Self { port, shared, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead there; a server has another port after each start.
    pub fn lead_to(&self, upstream: Upstream) {
        *self.shared.upstream.lock().unwrap() = upstream;
    }

    /// Waits for a message from now on.
    pub fn trap(&self, hold: Hold, spot: Spot) -> Arc<Trap> {
        let trap = Arc::new(Trap {
            number: self.shared.made.fetch_add(1, Ordering::SeqCst),
            hold,
            spot,
            sprung: watch::channel(false).0,
            verdict: watch::channel(None).0,
        });
        self.shared.traps.lock().unwrap().push(Arc::clone(&trap));
        trap
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection and takes no new one, until [`Proxy::mend`].
    pub fn down(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn mend(&self) {
        self.shared.is_down.store(false, Ordering::SeqCst);
        self.shared.mute.send_replace(false);
        self.shared.deaf.send_replace(false);
    }

    /// From now on nothing that clients say passes; it waits.
    pub fn mute(&self) {
        self.shared.mute.send_replace(true);
    }

    /// Counts from now on how often clients are told this.
    pub fn listen(&self, text: &str) {
        *self.shared.told.lock().unwrap() = (text.to_owned(), 0);
    }

    pub fn told(&self) -> usize {
        self.shared.told.lock().unwrap().1
    }

    /// From now on nothing that clients are told passes; it waits.
    pub fn deafen(&self) {
        self.shared.deaf.send_replace(true);
    }
}

impl Shared {
    /// `end` is what may be the beginning of the text, at the end of what came before.
    fn count(&self, end: &mut Vec<u8>, piece: &[u8]) {
        let mut told = self.told.lock().unwrap();
        let (text, count) = &mut *told;
        if text.is_empty() {
            return;
        }
        end.extend_from_slice(piece);
        let found = |window: &[u8]| window == text.as_bytes();
        *count += end.windows(text.len()).filter(|window| found(window)).count();
        let rest = end.len().min(text.len() - 1);
        end.drain(..end.len() - rest);
    }
}

async fn connect(shared: &Shared, client: TcpStream) {
    let upstream = shared.upstream.lock().unwrap().clone();
    let _ = client.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    match upstream {
        Upstream::Postgres(socket) => {
            let Ok(server) = UnixStream::connect(socket).await else { return };
            let (from_server, to_server) = server.into_split();
            postgres(shared, (from_client, to_client), (from_server, to_server)).await;
        }
        Upstream::Bytes(address) => {
            let Ok(server) = TcpStream::connect(address).await else { return };
            let _ = server.set_nodelay(true);
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pass(from_client, to_server, shared.mute.subscribe()) => {}
                () = pass(from_server, to_client, shared.deaf.subscribe()) => {}
            }
        }
    }
}

/// Passes bytes while nothing is held.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut held: watch::Receiver<bool>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if held.wait_for(|held| !held).await.is_err()
            || to.write_all(&chunk[..length]).await.is_err()
        {
            return;
        }
    }
}

/// Passes requests one by one, and answers as they come.
async fn postgres(
    shared: &Shared,
    (from_client, mut to_client): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (mut from_server, mut to_server): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
) {
    let answered: Mutex<Option<Arc<Trap>>> = Mutex::default();
    let requests = async {
        let mut requests = Requests::new(from_client);
        let mut passed = Passed::default();
        while let Some(request) = requests.next().await {
            let trap = passed.springs(shared, &request);
            let half = match &trap {
                Some(trap) if trap.hold == Hold::Half => request.len() / 2,
                Some(_) | None => 0,
            };
            if to_server.write_all(&request[..half]).await.is_err() {
                return;
            }
            if let Some(trap) = trap {
                if trap.hold == Hold::Answer {
                    *answered.lock().unwrap() = Some(trap);
                } else if !trap.held().await {
                    return;
                }
            }
            if to_server.write_all(&request[half..]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        let mut chunk = vec![0; CHUNK];
        let mut end = Vec::new();
        while let Ok(length @ 1..) = from_server.read(&mut chunk).await {
            shared.count(&mut end, &chunk[..length]);
            let trap = answered.lock().unwrap().take();
            if let Some(trap) = trap
                && !trap.held().await
            {
                return;
            }
            if to_client.write_all(&chunk[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

/// What a connection has seen that matters to traps.
#[derive(Default)]
struct Passed {
    startup: Vec<u8>,
    /// Traps whose earlier message has passed.
    ready: HashSet<usize>,
}

impl Passed {
    /// The trap that this request springs; it waits for no other.
    fn springs(&mut self, shared: &Shared, request: &[u8]) -> Option<Arc<Trap>> {
        if self.startup.is_empty() {
            request.clone_into(&mut self.startup);
        }
        let mut traps = shared.traps.lock().unwrap();
        let sprung = traps.iter().position(|trap| {
            let Spot { on, after, at } = &trap.spot;
            let is_ready = after.is_empty() || self.ready.contains(&trap.number);
            let is_at = |piece: &[u8]| at.iter().all(|part| has(piece, part));
            is_ready && has(&self.startup, on) && records(request).into_iter().any(is_at)
        });
        for trap in traps.iter() {
            let after = &trap.spot.after;
            if !after.is_empty() && after.iter().all(|part| has(request, part)) {
                self.ready.insert(trap.number);
            }
        }
        sprung.map(|index| traps.remove(index))
    }
}

/// The records of the log in a message; all of it when there is none.
fn records(message: &[u8]) -> Vec<&[u8]> {
    const START: &[u8] = b"{\"id\":\"";
    let starts: Vec<_> =
        (0..message.len()).filter(|at| message[*at..].starts_with(START)).collect();
    if starts.is_empty() {
        return vec![message];
    }
    let ends = starts.iter().skip(1).copied().chain([message.len()]);
    starts.iter().zip(ends).map(|(start, end)| &message[*start..end]).collect()
}

fn has(bytes: &[u8], part: &str) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Requests of a client, each whole.
struct Requests<R> {
    from: R,
    buffer: Vec<u8>,
    /// Requests after the first have a byte that says what they are.
    has_type: bool,
}

impl<R: AsyncRead + Unpin> Requests<R> {
    fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), has_type: false }
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = self.length().filter(|length| self.buffer.len() >= *length) {
                let rest = self.buffer.split_off(length);
                let request = std::mem::replace(&mut self.buffer, rest);
                self.has_type |= request.get(4..8) == Some(&STARTUP);
                return Some(request);
            }
            let mut chunk = [0; CHUNK];
            let read = self.from.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    fn length(&self) -> Option<usize> {
        let start = usize::from(self.has_type);
        let bytes: [u8; 4] = self.buffer.get(start..start + 4)?.try_into().unwrap();
        let length = start + usize::try_from(u32::from_be_bytes(bytes)).unwrap();
        assert!(length <= LONGEST, "not PostgreSQL's protocol");
        Some(length)
    }
}
