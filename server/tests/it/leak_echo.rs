//! Targets that say in their errors what they heard: the password that a connection logs in with comes back from them,
//! and is in nothing that is kept or shown.

use std::sync::{Arc, Mutex};

use nexplane_peers::ca;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::harness::{Server, text};
use crate::leak::nothing_leaked;

const MARK: &str = "of-the-login-\"correct/horse+battery";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Aws,
    Ldap,
    Postgres,
    Redis,
    Vault,
}

/// A target that echoes, with a certificate that is trusted.
struct Echo {
    port: u16,
    ca_pem: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Echo {
    async fn start(manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = ca::issue(folder.path(), &["localhost", "127.0.0.1"]).unwrap();
        let chain = vec![CertificateDer::from_pem_file(certificate.cert()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(certificate.key()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, ears) = (acceptor.clone(), ears.clone());
                // Whoever goes away in the middle has heard enough.
                tokio::spawn(async move { serve(manner, stream, acceptor, &ears).await.ok() });
            }
        });
        Self { port, ca_pem: certificate.ca_pem, heard }
    }
}

async fn serve(
    manner: Manner,
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    ears: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    match manner {
        Manner::Aws => return echo(manner, stream, ears).await,
        Manner::Postgres => {
            // SSLRequest: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>
            let mut request = [0; 8];
            stream.read_exact(&mut request).await?;
            stream.write_all(b"S").await?;
        }
        Manner::Ldap | Manner::Redis | Manner::Vault => {}
    }
    echo(manner, acceptor.accept(stream).await?, ears).await
}

async fn echo(
    manner: Manner,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ears: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut first = true;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let request = buffer.get(..count).unwrap_or_default();
        ears.lock().unwrap().extend_from_slice(request);
        let said = String::from_utf8_lossy(request).replace(|c: char| c.is_control(), " ");
        let answer = match manner {
            // AuthenticationCleartextPassword is asked for first.
            Manner::Postgres if first => b"R\0\0\0\x08\0\0\0\x03".to_vec(),
            Manner::Postgres => {
                let fields = format!("SFATAL\0CXX000\0Mheard {said}\0D{said}\0H{said}\0\0");
                [b"E", &length(fields.len() + 4)[..], fields.as_bytes()].concat()
            }
            Manner::Redis => format!("-ERR heard {said}\r\n").into_bytes(),
            Manner::Ldap => {
                // BindResponse (RFC 4511, 4.2.2) with "other" (80), and what was heard as its diagnostic message.
                let said: String = said.chars().filter(char::is_ascii).take(90).collect();
                let message = [&[4, short(said.len())], said.as_bytes()].concat();
                let inner = [&[10, 1, 80, 4, 0], &*message].concat();
                let response = [&[0x61, short(inner.len())], &*inner].concat();
                [&[0x30, short(response.len() + 3), 2, 1, 1], &*response].concat()
            }
            Manner::Aws => {
                let said = said.replace('&', "&amp;").replace('<', "&lt;");
                http(&format!(
                    "<ErrorResponse><Error><Code>Heard</Code><Message>{said}</Message></Error></ErrorResponse>"
                ))
            }
            Manner::Vault => http(&json!({ "errors": [said] }).to_string()),
        };
        first = false;
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_be_bytes()
}

/// A length of BER in one byte.
fn short(bytes: usize) -> u8 {
    u8::try_from(bytes).ok().filter(|length| *length < 128).unwrap()
}

fn http(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn credentials(manner: Manner, echo: &Echo) -> Value {
    let (port, ca_certificate) = (echo.port, &echo.ca_pem);
    match manner {
        Manner::Aws => json!({
            "access_key_id": "ASIAIOSFODNN7EXAMPLE",
            "secret_access_key": "of-the-key-correct-horse-battery",
            "session_token": MARK.replace('"', ""),
            "region": "eu-west-1",
            "endpoint_url": format!("http://127.0.0.1:{port}"),
        }),
        Manner::Ldap => json!({
            "url": format!("ldaps://127.0.0.1:{port}"),
            "bind_dn": "cn=admin",
            "bind_password": MARK,
            "ca_certificate": ca_certificate,
        }),
        Manner::Postgres => json!({
            "host": "127.0.0.1",
            "port": port,
            "database": "shop",
            "username": "nexplane",
            "password": MARK,
            "ca_certificate": ca_certificate,
        }),
        Manner::Redis => json!({
            "host": "127.0.0.1",
            "port": port,
            "username": "nexplane",
            "password": MARK,
            "ca_certificate": ca_certificate,
        }),
        Manner::Vault => json!({
            "address": format!("https://127.0.0.1:{port}"),
            "role_id": "nexplane",
            "secret_id": MARK,
            "ca_certificate": ca_certificate,
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_what_a_target_says_of_a_password_is_not_repeated() {
    let mut server = Server::start().await;
    server.expected_errors = vec!["code=\"target.un"];
    for (manner, name) in [
        (Manner::Aws, "aws"),
        (Manner::Ldap, "ldap"),
        (Manner::Postgres, "postgres"),
        (Manner::Redis, "redis"),
        (Manner::Vault, "vault"),
    ] {
        let echo = Echo::start(manner).await;
        let body = json!({
            "name": name, "type": name, "environment": "dev",
            "credentials": credentials(manner, &echo),
        });
        let added = server.admin.post("/connections", body).await.is(201);
        let path = format!("/connections/{}", text(&added["id"]));
        let tested = server.admin.post(&format!("{path}/test"), json!({})).await.is(200);
        assert_eq!(tested["ok"], false, "{tested:#}");
        let discovered = server.admin.post(&format!("{path}/discover"), json!({})).await;
        assert!(discovered.status >= 400, "{discovered:?}");
        let heard = String::from_utf8_lossy(&echo.heard.lock().unwrap()).into_owned();
        let mark = json!(MARK).to_string();
        let spelled = [MARK, &MARK.replace('"', ""), mark.trim_matches('"')];
        assert!(spelled.iter().any(|mark| heard.contains(mark)), "{name} was not told: {heard}");
        eprintln!("{name}: {tested:#}");
    }
    let secrets =
        [MARK, &MARK.replace('"', ""), "correct/horse+battery", "of-the-key-correct-horse-battery"];
    nothing_leaked(&server, &secrets).await;
}
