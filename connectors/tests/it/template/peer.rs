//! A value server: a stand-in, because there is none. A copy for a real kind of target starts the real server
//! instead, with `nexplane_peers`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nexplane_peers::{ca, password};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fixture::target;
use crate::suite::{Account, Case, Login, Peer};

type Values = Arc<Mutex<BTreeMap<String, String>>>;

pub struct Server {
    port: u16,
    writer: String,
    reader: String,
    ca_pem: String,
    values: Values,
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, tokens: [String; 2], values: Values) {
    let mut lines = BufReader::new(stream);
    let mut question = String::new();
    let mut writes = None;
    while matches!(
        {
            question.clear();
            lines.read_line(&mut question).await
        },
        Ok(1..)
    ) {
        let words: Vec<&str> = question.split_whitespace().collect();
        let answer = match (words.as_slice(), writes) {
            (["AUTH", token], _) => match tokens.iter().position(|one| one == token) {
                Some(place) => {
                    writes = Some(place == 0);
                    "OK".to_owned()
                }
                None => "NO token".to_owned(),
            },
            (_, None) => "NO token".to_owned(),
            (["MAY"], Some(writes)) => format!("OK {}", if writes { "write" } else { "read" }),
            (["LIST"], _) => {
                let values = values.lock().unwrap();
                format!("OK {}", values.keys().cloned().collect::<Vec<_>>().join(" "))
            }
            (["GET", name], _) => {
                let values = values.lock().unwrap();
                format!("OK {}", values.get(*name).map_or("-", String::as_str))
            }
            (["SET", ..], Some(false)) => "NO forbidden".to_owned(),
            (["SET", name, old, new], _) => {
                let mut values = values.lock().unwrap();
                if values.get(*name).map_or("-", String::as_str) == *old {
                    match *new {
                        "-" => values.remove(*name),
                        new => values.insert((*name).to_owned(), new.to_owned()),
                    };
                    "OK".to_owned()
                } else {
                    "NO moved".to_owned()
                }
            }
            _ => "NO question".to_owned(),
        };
        if lines.get_mut().write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
        let _ = lines.get_mut().flush().await;
    }
}

impl Peer for Server {
    const CONNECTOR: &'static str = "template";
    const WHAT_TO_DO: &'static str = "as an administrator run: ";

    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = ca::issue(folder.path(), &["localhost", "127.0.0.1"]).unwrap();
        let chain = CertificateDer::pem_file_iter(files.cert()).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(files.key()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            writer: password(),
            reader: password(),
            ca_pem: files.ca_pem,
            values: Values::default(),
        };
        let (tokens, values) =
            ([server.writer.clone(), server.reader.clone()], Arc::clone(&server.values));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, tokens, values) =
                    (acceptor.clone(), tokens.clone(), Arc::clone(&values));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, tokens, values).await;
                    }
                });
            }
        });
        server
    }

    async fn login(&self, account: Account) -> Login {
        let token = match account {
            Account::Full | Account::Manager => &self.writer,
            Account::Weak => &self.reader,
        };
        let credentials = json!({
            "host": "localhost",
            "port": self.port,
            "token": token,
            "ca_certificate": self.ca_pem,
        });
        Login { account, name: String::new(), credentials }
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.port)
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        credentials["token"] = json!("not-the-token");
        credentials
    }

    async fn prepare(&self, action: &str, _: &Login) -> Case {
        assert_eq!(action, "template.set_value", "{action} has no case");
        self.values.lock().unwrap().insert("light".to_owned(), "off".to_owned());
        Case {
            target: target("template_value", "value/light", "light"),
            parameters: json!({ "content": "on" }),
            disturbance: "dim".to_owned(),
            never: vec![target("template_value", "value/nothing", "nothing")],
            in_parts: false,
        }
    }

    async fn disturb(&self, case: &Case) {
        self.values.lock().unwrap().insert("light".to_owned(), case.disturbance.clone());
    }

    async fn witness(&self) -> String {
        format!("{:?}", self.values.lock().unwrap())
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.writer.clone(), self.reader.clone()]
    }
}
