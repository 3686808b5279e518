//! What stands between the connector and a stand-in, and answers in its place: as AWS does when its copies have not
//! heard of a change yet, when the line breaks, and when somebody else is quicker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request: every one has a connection of its own.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request line and the body: the same for the same question.
    pub question: String,
    /// Key id that it is signed with.
    pub signer: String,
    whole: Vec<u8>,
}

impl Request {
    /// Whether it is this call of the Query API.
    pub fn is(&self, action: &str) -> bool {
        self.question.split(['\n', '&']).any(|part| part.strip_prefix("Action=") == Some(action))
    }

    /// Whether it changes nothing.
    pub fn reads(&self) -> bool {
        let reads = ["Get", "List", "Describe", "Simulate"];
        let parts = self.question.split(['\n', '&']);
        let action = parts.filter_map(|part| part.strip_prefix("Action=")).next();
        let dry = self.question.contains("DryRun=true");
        dry || action.map_or(self.question.starts_with("GET "), |action| {
            reads.iter().any(|read| action.starts_with(read))
        })
    }
}

/// What becomes of a request.
pub enum Act {
    /// It is asked and answered.
    Pass,
    /// It is asked, and the line breaks before the answer.
    Lose,
    /// It is not asked; this is the answer.
    Say(u16, String),
}

/// What becomes of a request, when these answers were heard before it.
type Rule = dyn Fn(&Request, &[String]) -> Act + Send + Sync;

#[derive(Default)]
struct Memory {
    /// The newest answer to each question, and how often it is given again.
    answers: BTreeMap<String, (Vec<u8>, u32)>,
    /// All answers, in their order.
    heard: Vec<String>,
}

pub struct Between {
    pub port: u16,
    lag: Arc<Mutex<u32>>,
}

impl Between {
    /// In front of what listens on `behind`.
    pub async fn at(
        behind: u16,
        rule: impl Fn(&Request, &[String]) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let between = Self { port: listener.local_addr().unwrap().port(), lag: Arc::default() };
        let rule: Arc<Rule> = Arc::new(rule);
        let memory = Arc::new(Mutex::new(Memory::default()));
        let lag = Arc::clone(&between.lag);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (rule, memory) = (Arc::clone(&rule), Arc::clone(&memory));
                let lag = Arc::clone(&lag);
                tokio::spawn(async move {
                    let late = *lag.lock().unwrap();
                    serve(stream, behind, &*rule, &memory, late).await;
                });
            }
        });
        between
    }

    /// From now on every question that was asked before a change is answered so many times as it was then.
    pub fn lags(&self, times: u32) {
        *self.lag.lock().unwrap() = times;
    }
}

async fn serve(mut near: TcpStream, behind: u16, rule: &Rule, memory: &Mutex<Memory>, late: u32) {
    let Some(request) = read(&mut near).await else { return };
    let act = rule(&request, &memory.lock().unwrap().heard);
    if let Act::Say(status, body) = act {
        let answer =
            format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        return drop(near.write_all(answer.as_bytes()).await);
    }
    let key = format!("{} {}", request.signer, request.question);
    let reads = request.reads();
    let old = {
        let mut memory = memory.lock().unwrap();
        let kept = memory.answers.get_mut(&key).filter(|(_, left)| reads && *left > 0);
        kept.map(|(answer, left)| {
            *left -= 1;
            answer.clone()
        })
    };
    let answer = match old {
        Some(old) => old,
        None => ask(behind, &request.whole).await,
    };
    {
        let mut memory = memory.lock().unwrap();
        if reads {
            memory.answers.entry(key).or_default().0.clone_from(&answer);
        } else {
            memory.answers.values_mut().for_each(|(_, left)| *left = late);
        }
        memory.heard.push(String::from_utf8_lossy(&answer).into_owned());
    }
    if matches!(act, Act::Pass) {
        let _ = near.write_all(&answer).await;
    }
}

async fn read(near: &mut TcpStream) -> Option<Request> {
    let mut whole = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = near.read(&mut part).await.ok().filter(|count| *count > 0)?;
        whole.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&whole).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() < length {
            continue;
        }
        let signer = header("authorization").unwrap_or_default();
        let signer = signer.split_once("Credential=").map_or("", |(_, rest)| rest);
        return Some(Request {
            question: format!("{}\n{body}", head.lines().next().unwrap_or_default()),
            signer: signer.split('/').next().unwrap_or_default().to_owned(),
            whole,
        });
    }
}

/// The whole answer, as it comes: the connection is closed after it, or it says how long it is.
async fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let end = request.windows(2).position(|two| two == b"\r\n").unwrap();
    far.write_all(&request[..end]).await.unwrap();
    far.write_all(b"\r\nConnection: close").await.unwrap();
    far.write_all(&request[end..]).await.unwrap();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    answer
}
