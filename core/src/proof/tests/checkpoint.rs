//! The examples of C2SP tlog-checkpoint and tlog-cosignature.

use super::Pair;
use crate::proof::checkpoint::*;
use crate::proof::note::*;
use crate::proof::tree::{EMPTY_ROOT, MAX_SIZE};

const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
const TEXT: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const EMPTY: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

fn checkpoint(text: &str) -> Checkpoint {
    text.parse().unwrap()
}

#[test]
fn the_specification_s_example_is_read() {
    let read = checkpoint(TEXT);
    assert_eq!(read.origin(), "example.com/behind-the-sofa");
    assert_eq!(read.size(), 20_852_163);
    assert_eq!(hex::encode(&read.root()[..4]), "0ac5186a");
    assert_eq!(read.extensions(), [""; 0]);
    assert_eq!(read.to_string(), TEXT);
    let extended = format!("{TEXT}extension 1\n— x\n");
    assert_eq!(checkpoint(&extended).extensions(), ["extension 1", "— x"]);
    assert_eq!(checkpoint(&extended).to_string(), extended);
    assert_eq!(checkpoint(&format!("a b+c\n0\n{EMPTY}\n")).root(), &EMPTY_ROOT);
    assert_eq!(checkpoint(&format!("a\n{MAX_SIZE}\n{ROOT}\n")).size(), MAX_SIZE);
}

#[test]
fn malformed_checkpoints_are_refused() {
    let bad = |text: &str| text.parse::<Checkpoint>().unwrap_err();
    for text in ["", "\n", "a\n", "a\n1\n", "a\n1"] {
        assert_eq!(bad(text), BadCheckpoint::Form, "{text:?}");
    }
    assert_eq!(bad(&format!("a\n1\n{ROOT}")), BadCheckpoint::Form);
    assert_eq!(bad(&format!("\n1\n{ROOT}\n")), BadCheckpoint::Line);
    assert_eq!(bad(&format!("a\tb\n1\n{ROOT}\n")), BadCheckpoint::Line);
    assert_eq!(bad(&format!("a\n1\n{ROOT}\n\n")), BadCheckpoint::Line);
    assert_eq!(bad(&format!("a\n1\n{ROOT}\n\nb\n")), BadCheckpoint::Line);
    for size in [
        "",
        "01",
        "00",
        "+1",
        "-1",
        " 1",
        "1 ",
        "0x1",
        "1e3",
        "١",
        "9223372036854775809",
        "18446744073709551616",
    ] {
        assert_eq!(bad(&format!("a\n{size}\n{ROOT}\n")), BadCheckpoint::Size, "{size}");
    }
    for root in [
        "",
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I",
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=",
        "CsUYapGGPo4dkMgIAUqom_Xajj7h2fB2MPA3j2jxq2I=",
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==",
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2IA",
        "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62",
    ] {
        assert_eq!(bad(&format!("a\n1\n{root}\n")), BadCheckpoint::Root, "{root}");
    }
    assert_eq!(bad(&format!("a\n0\n{ROOT}\n")), BadCheckpoint::EmptyRoot);
    let line = Checkpoint::try_new("a\nb", 0, EMPTY_ROOT, vec![]);
    assert_eq!(line, Err(BadCheckpoint::Line));
    let line = Checkpoint::try_new("a", 0, EMPTY_ROOT, vec!["b\nc".into()]);
    assert_eq!(line, Err(BadCheckpoint::Line));
    assert_eq!(Checkpoint::try_new("a", u64::MAX, [0; 32], vec![]), Err(BadCheckpoint::Size));
}

#[test]
fn the_log_must_have_signed() {
    let (log, other) = (Pair::from_seed(1), Pair::from_seed(2));
    let key = log.key("example.com/behind-the-sofa", SignatureType::Ed25519);
    let signed = checkpoint(TEXT);
    let note = Note::try_new(TEXT, vec![signed.sign(&key, &log).unwrap()]).unwrap();
    assert_eq!(verify(&note, &key), Ok(signed.clone()));
    let stranger = other.key("example.com/behind-the-sofa", SignatureType::Ed25519);
    assert_eq!(verify(&note, &stranger), Err(NotVerified::NoKnownKey.into()));
    let cosigner = log.key("example.com/behind-the-sofa", SignatureType::CosignatureV1);
    assert_eq!(verify(&note, &cosigner), Err(Unverified::KeyType));
    // A key signs for its own origin only.
    let elsewhere = log.key("example.com/elsewhere", SignatureType::Ed25519);
    assert_eq!(signed.sign(&elsewhere, &log), Err(Unsigned::Origin));
    let signature = Signature::sign(TEXT, &elsewhere, &log).unwrap();
    let note = Note::try_new(TEXT, vec![signature]).unwrap();
    let unknown = Unverified::UnknownLog { origin: "example.com/behind-the-sofa".into() };
    assert_eq!(verify(&note, &elsewhere), Err(unknown));
    // Signed, but not a checkpoint.
    let signature = Signature::sign("a\n01\n", &key, &log).unwrap();
    let note = Note::try_new("a\n01\n", vec![signature]).unwrap();
    assert_eq!(verify(&note, &key), Err(BadCheckpoint::Form.into()));
}

/// The time of the example's cosignature is the one that the specification prints; its keys are not
/// published.
#[test]
fn a_cosignature_has_a_time_before_it() {
    let lines = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
                 — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let note = Note::parse(format!("{TEXT}\n{lines}").as_bytes()).unwrap();
    let cosignature = &note.signatures()[1];
    assert_eq!(cosignature.bytes().len(), 72);
    assert_eq!(cosignature.bytes()[..8], 1_679_315_147_u64.to_be_bytes());
}

#[test]
fn cosignatures_are_over_time_and_text() {
    let (log, witness) = (Pair::from_seed(1), Pair::from_seed(2));
    let log_key = log.key("example.com/behind-the-sofa", SignatureType::Ed25519);
    let key = witness.key("witness.example.com/w1", SignatureType::CosignatureV1);
    let signed = checkpoint(TEXT);
    let cosignature = signed.cosign(&key, 1_679_315_147, &witness).unwrap();
    // The message as tlog-cosignature prints it.
    let message = format!("cosignature/v1\ntime 1679315147\n{TEXT}");
    let bare = Signer::sign(&witness, message.as_bytes());
    assert_eq!(cosignature.bytes(), [&1_679_315_147_u64.to_be_bytes()[..], &bare].concat());
    let mut note = Note::try_new(TEXT, vec![signed.sign(&log_key, &log).unwrap()]).unwrap();
    note.add(cosignature).unwrap();
    let again = Note::parse(note.to_string().as_bytes()).unwrap();
    let verified = again.verify(&[&log_key, &key]).unwrap();
    let times: Vec<_> = verified.iter().map(|signature| signature.time_s).collect();
    assert_eq!(times, [None, Some(1_679_315_147)]);
    assert_eq!(verify(&again, &log_key), Ok(signed.clone()));
    let other_text = note.to_string().replace("20852163", "20852164");
    let other_text = Note::parse(other_text.as_bytes()).unwrap();
    assert!(other_text.verify(&[&key]).is_err());
    assert_eq!(signed.cosign(&log_key, 1, &log), Err(Unsigned::KeyType));
    assert_eq!(signed.cosign(&key, 1 << 63, &witness), Err(Unsigned::Time));
    assert!(signed.cosign(&key, (1 << 63) - 1, &witness).is_ok());
}

/// A signature that says a time above 2^63 − 1 is wrong, even if it is right otherwise.
#[test]
fn a_time_beyond_the_specification_is_refused() {
    use base64::Engine;
    let witness = Pair::from_seed(2);
    let key = witness.key("w", SignatureType::CosignatureV1);
    let line = |time_s: u64| {
        let message = format!("cosignature/v1\ntime {time_s}\n{TEXT}");
        let signature = Signer::sign(&witness, message.as_bytes());
        let bytes = [&key.id()[..], &time_s.to_be_bytes(), &signature].concat();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        Note::parse(format!("{TEXT}\n— w {encoded}\n").as_bytes()).unwrap()
    };
    assert!(line((1 << 63) - 1).verify(&[&key]).is_ok());
    assert!(line(1 << 63).verify(&[&key]).is_err());
}
