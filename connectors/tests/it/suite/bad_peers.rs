//! What answers there is not the peer, or not well: each kind of it has its own error, and no session.

use std::time::Duration;

use nexplane_connectors::sdk::{Advice, ConnectorError, ErrorKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Account, Peer};
use crate::fixture::{context, open};

/// How long a peer that is silent is waited for here.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Takes connections and never says a word.
    Silent,
    /// Takes connections and closes its side, and reads on.
    HalfClosed,
    /// Closes at once.
    Hangs,
    /// Says what no protocol says, and goes.
    Garbage,
}

async fn stranger(manner: Manner) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                match manner {
                    Manner::Silent => {}
                    Manner::HalfClosed => drop(stream.shutdown().await),
                    Manner::Hangs => return,
                    Manner::Garbage => {
                        let _ = stream.write_all(&[b'\x7f'; 4096]).await;
                        let _ = stream.shutdown().await;
                    }
                }
                let mut heard = [0; 1024];
                while matches!(stream.read(&mut heard).await, Ok(1..)) {}
                if matches!(manner, Manner::Silent) {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

pub fn another_ca() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Wrong credentials, another CA, nobody, and four kinds of strangers.
pub async fn bad_peers<P: Peer>() {
    let peer = P::start().await;
    let credentials = peer.login(Account::Full).await.credentials;
    let fails = async |what: &str, credentials: Value| -> ConnectorError {
        let mut cx = context();
        cx.call_timeout = PATIENCE;
        let error = open(P::CONNECTOR, credentials, &cx).await.err();
        let error = error.unwrap_or_else(|| panic!("{what}: it connected"));
        assert_eq!(error.connector, P::CONNECTOR, "{what}");
        assert!(!error.is_outcome_unknown(), "{what}: {error:?}");
        for secret in peer.secrets() {
            assert!(!format!("{error} {error:?}").contains(&secret), "{what}: {error:?}");
        }
        error
    };
    let wrong = fails("wrong secret", peer.with_wrong_secret(credentials.clone())).await;
    assert_eq!((wrong.kind, wrong.advice), (ErrorKind::Unauthorised, Advice::Never), "{wrong:?}");

    if credentials.get("ca_certificate").is_some() {
        let mut other = credentials.clone();
        other["ca_certificate"] = json!(another_ca());
        let error = fails("another CA", other).await;
        assert_eq!(
            (error.kind, error.advice),
            (ErrorKind::Unauthorised, Advice::Never),
            "{error:?}"
        );
        assert!(error.message.contains("trusted CA"), "{error}");
    }

    let nobody = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = fails("nobody", peer.moved(credentials.clone(), nobody)).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error:?}");

    let kinds: [(Manner, &[ErrorKind]); 4] = [
        (Manner::Silent, &[ErrorKind::Timeout]),
        (Manner::HalfClosed, &[ErrorKind::Unreachable, ErrorKind::Unexpected]),
        (Manner::Hangs, &[ErrorKind::Unreachable, ErrorKind::Unexpected]),
        (Manner::Garbage, &[ErrorKind::Unexpected]),
    ];
    for (manner, kinds) in kinds {
        let there = peer.moved(credentials.clone(), stranger(manner).await);
        let error = fails(&format!("{manner:?}"), there).await;
        assert!(kinds.contains(&error.kind), "{manner:?}: {error:?}");
    }
}
