//! A witness over HTTP: what it cosigns, and every way to be refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::proof::checkpoint::{self, Checkpoint};
use nexplane_core::proof::note::{Note, SignatureType, Signer, VerifierKey};
use nexplane_core::proof::tree::{self, Hash, Node};
use nexplane_core::proof::witness::WitnessPolicy;
use nexplane_server::witness::{Memory, Witness, WitnessKey, router};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tempfile::TempDir;
use tokio::net::TcpListener;

const ORIGIN: &str = "example.org/log";

/// A log that can also lie.
struct FakeLog {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl Signer for FakeLog {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().unwrap()
    }
}

impl FakeLog {
    fn new(seed: u8, origin: &str) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let key = VerifierKey::try_new(origin, SignatureType::Ed25519, &public).unwrap();
        Self { pair, key }
    }

    /// The signed note over the first `size` of these leaves.
    fn note(&self, leaves: &[Hash], size: u64) -> String {
        let root = tree::root(size, |node| Ok::<_, ()>(hash_of(leaves, node))).unwrap();
        let checkpoint = Checkpoint::try_new(self.key.name(), size, root, Vec::new()).unwrap();
        let signature = checkpoint.sign(&self.key, self).unwrap();
        Note::try_new(checkpoint.to_string(), vec![signature]).unwrap().to_string()
    }
}

fn hash_of(leaves: &[Hash], node: Node) -> Hash {
    if node.level == 0 {
        return leaves[usize::try_from(node.index).unwrap()];
    }
    let child = |index| hash_of(leaves, Node { level: node.level - 1, index });
    tree::node_hash(&child(node.index * 2), &child(node.index * 2 + 1))
}

fn leaves(salt: u8) -> Vec<Hash> {
    (0..100_u8).map(|n| tree::leaf_hash(&[salt.min(n), n])).collect()
}

/// The body of a request to add a checkpoint.
fn body(leaves: &[Hash], old: u64, new: u64, note: &str) -> String {
    let proof = tree::consistency_proof(old, new, |node| Ok::<_, ()>(hash_of(leaves, node)));
    let mut text = format!("old {old}\n");
    for hash in proof.unwrap() {
        text.push_str(&STANDARD.encode(hash));
        text.push('\n');
    }
    text + "\n" + note
}

struct Stage {
    url: String,
    key: VerifierKey,
    dir: TempDir,
    http: reqwest::Client,
}

impl Stage {
    async fn new(log: &FakeLog) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let (url, key) = serve(dir.path(), log).await;
        Self { url, key, dir, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn send(&self, body: String) -> (u16, String) {
        let response =
            self.http.post(format!("{}/add-checkpoint", self.url)).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends, and checks that the answer cosigns the note.
    async fn cosigned(&self, body: String, note: &str) -> String {
        let (status, text) = self.send(body).await;
        assert_eq!(status, 200, "{text}");
        let whole = Note::parse(format!("{note}{text}").as_bytes()).unwrap();
        let verified = whole.verify(&[&self.key]).unwrap();
        assert!(verified[0].time_s.is_some_and(|time| time > 1_700_000_000));
        text
    }
}

async fn serve(dir: &std::path::Path, log: &FakeLog) -> (String, VerifierKey) {
    let path = dir.join("key");
    if !path.exists() {
        std::fs::write(&path, WitnessKey::generate().unwrap()).unwrap();
    }
    let key = WitnessKey::from_pkcs8(&std::fs::read(path).unwrap(), "w.example.org").unwrap();
    let witness = Witness::new(key.unwrap(), vec![log.key.clone()], Memory::open(dir).unwrap());
    let verifier = witness.key().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(witness)).await });
    (url, verifier)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_follows_one_history_and_refuses_every_other() {
    let log = FakeLog::new(1, ORIGIN);
    let stage = Stage::new(&log).await;
    let (honest, forged) = (leaves(255), leaves(3));
    let at = |size| log.note(&honest, size);

    stage.cosigned(body(&honest, 0, 7, &at(7)), &at(7)).await;
    stage.cosigned(body(&honest, 7, 20, &at(20)), &at(20)).await;
    // The same again, without a proof because nothing is to be proven.
    stage.cosigned(body(&honest, 20, 20, &at(20)), &at(20)).await;

    // Who believes that something else was seen hears what was.
    assert_eq!(stage.send(body(&honest, 7, 30, &at(30))).await, (409, "20\n".to_owned()));
    assert_eq!(stage.send(body(&honest, 0, 30, &at(30))).await, (409, "20\n".to_owned()));
    assert_eq!(stage.send(body(&honest, 7, 20, &at(20))).await.0, 409);
    // Another history, with its own proof, with the honest one's, and with the same size.
    let lie = log.note(&forged, 30);
    assert_eq!(stage.send(body(&forged, 20, 30, &lie)).await.0, 422);
    assert_eq!(stage.send(body(&honest, 20, 30, &lie)).await.0, 422);
    assert_eq!(stage.send(body(&forged, 20, 20, &log.note(&forged, 20))).await.0, 409);
    // Backwards.
    let back = format!("old 20\n\n{}", at(7));
    assert_eq!(stage.send(back).await.0, 400);

    // Somebody else's log, somebody else's key, no request at all.
    let other = FakeLog::new(2, "example.org/other");
    assert_eq!(stage.send(body(&honest, 20, 30, &other.note(&honest, 30))).await.0, 404);
    let impostor = FakeLog::new(2, ORIGIN);
    assert_eq!(stage.send(body(&honest, 20, 30, &impostor.note(&honest, 30))).await.0, 403);
    for malformed in ["", "old 20", "old 020\n\nx", "old -1\n\n", "new 20\n\n", "old 20\n!\n\nx\n"]
    {
        assert_eq!(stage.send(malformed.to_owned()).await.0, 400, "{malformed:?}");
    }
    assert_eq!(stage.send("x".repeat(100_000)).await.0, 413);

    // All that did not change what it knows, and a restart does not, either.
    let (url, _) = serve(stage.dir.path(), &log).await;
    let restarted = Stage { url, ..stage };
    assert_eq!(restarted.send(body(&honest, 0, 30, &at(30))).await, (409, "20\n".to_owned()));
    restarted.cosigned(body(&honest, 20, 30, &at(30)), &at(30)).await;
    let seen = format!("{}/seen?origin={ORIGIN}", restarted.url);
    assert_eq!(restarted.http.get(seen).send().await.unwrap().text().await.unwrap(), at(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_histories_at_the_same_moment_one_is_cosigned() {
    let log = FakeLog::new(1, ORIGIN);
    let stage = Stage::new(&log).await;
    let histories: Vec<_> = (0..16_u8).map(leaves).collect();
    let sent =
        histories.iter().map(|leaves| stage.send(body(leaves, 0, 50, &log.note(leaves, 50))));
    let answers = futures_util::future::join_all(sent).await;
    let signed = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(signed, 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 409).count(), 15);
}

#[test]
fn a_policy_counts_its_witnesses() {
    let log = FakeLog::new(1, ORIGIN);
    let leaves = leaves(255);
    let key = WitnessKey::generate().unwrap();
    let witness = WitnessKey::from_pkcs8(&key, "w").unwrap().unwrap();
    let note = Note::parse(log.note(&leaves, 9).as_bytes()).unwrap();
    let text = format!("log {}\nwitness w {}\nquorum w\n", log.key, witness.verifier());
    let policy: WitnessPolicy = text.parse().unwrap();
    assert!(!policy.evaluate(&note).unwrap().quorum);
    let cosigned = checkpoint::verify(&note, &log.key).unwrap();
    let mut note = note;
    note.add(cosigned.cosign(witness.verifier(), 1_800_000_000, &witness).unwrap()).unwrap();
    assert!(policy.evaluate(&note).unwrap().quorum);
}
