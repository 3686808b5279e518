//! The examples of C2SP signed-note and of golang.org/x/mod/sumdb/note, the Go checksum database,
//! and a checkpoint of a public log with its witnesses.

use super::Pair;
use crate::proof::note::*;

const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_PRIVATE: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
const PETER_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

fn note(text: &str) -> Note {
    Note::parse(text.as_bytes()).unwrap()
}

fn signed_by(lines: &[&str]) -> Note {
    note(&format!("{TEXT}\n{}", lines.concat()))
}

/// The seed stands in Go's form of the private key.
fn peter() -> Pair {
    use base64::Engine;
    let encoded = PETER_PRIVATE.rsplit_once("c74f20a3+").unwrap().1;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    Pair(ed25519_dalek::SigningKey::from_bytes(bytes[1..].try_into().unwrap()))
}

#[test]
fn keys_are_written_as_they_are_read() {
    for text in [
        PETER,
        ENOCH,
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
        "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
    ] {
        assert_eq!(key(text).to_string(), text);
    }
    assert_eq!(key(PETER).name(), "PeterNeumann");
    assert_eq!(key(PETER).kind(), SignatureType::Ed25519);
    assert_eq!(key(PETER).id(), [0xc7, 0x4f, 0x20, 0xa3]);
    assert_eq!(key(PETER).public_key(), peter().0.verifying_key().as_bytes());
}

/// `TestNewVerifier` of golang.org/x/mod/sumdb/note.
#[test]
fn mangled_keys_are_refused() {
    for start in 0..=PETER.len() {
        for end in start..=PETER.len() {
            if (start, end) != (0, PETER.len()) {
                assert!(
                    PETER[start..end].parse::<VerifierKey>().is_err(),
                    "{}",
                    &PETER[start..end]
                );
            }
        }
    }
    for place in 0..PETER.len() {
        let mut mangled = PETER.as_bytes().to_vec();
        mangled[place] += 1;
        let mangled = String::from_utf8(mangled).unwrap();
        assert!(mangled.parse::<VerifierKey>().is_err(), "{mangled}");
    }
    let bad = |text: &str| text.parse::<VerifierKey>().unwrap_err();
    let too_long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    assert!(matches!(bad(too_long), BadKey::Form | BadKey::PublicKey));
    let unknown = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(bad(unknown), BadKey::Type(0x65));
    assert_eq!(bad(&PETER.replace("c74f20a3", "C74F20A3")), BadKey::Id);
    assert_eq!(bad(&PETER.replace("Peter", "Peter ")), BadKey::Name);
    assert_eq!(bad(&PETER.replace("Peter", "Peter\u{a0}")), BadKey::Name);
    assert_eq!(bad("rekor.sigstore.dev+12345678+AwEB"), BadKey::Type(3));
}

/// Points that have more than one encoding, or that sign everything.
#[test]
fn keys_that_are_no_keys_are_refused() {
    let refused = |key: &[u8; 32]| {
        let answer = VerifierKey::try_new("a", SignatureType::Ed25519, key);
        assert_eq!(answer, Err(BadKey::PublicKey), "{}", hex::encode(key));
    };
    let mut decompressed = 0;
    for low in 0xed..=0xff {
        for sign in [0x7f, 0xff] {
            // y from the prime 2^255 − 19 on: the second form of a small y.
            let mut key = [0xff; 32];
            (key[0], key[31]) = (low, sign);
            decompressed += u8::from(ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok());
            refused(&key);
        }
    }
    assert!(decompressed > 4, "the library refuses them by itself");
    let mut small_order = [0; 32];
    refused(&small_order);
    small_order[0] = 1;
    refused(&small_order);
}

/// `TestSign` of golang.org/x/mod/sumdb/note: Ed25519 gives the same signature every time.
#[test]
fn signing_gives_the_published_note() {
    let signature = Signature::sign(TEXT, &key(PETER), &peter()).unwrap();
    let note = Note::try_new(TEXT, vec![signature]).unwrap();
    assert_eq!(note.to_string(), format!("{TEXT}\n{PETER_LINE}"));
    assert_eq!(Signature::sign("abc", &key(PETER), &peter()), Err(BadNote::Text.into()));
    let control = Err(BadNote::Characters.into());
    assert_eq!(Signature::sign("a\tb\n", &key(PETER), &peter()), control);
    let wrong = Err(Unsigned::WrongSigner);
    assert_eq!(Signature::sign(TEXT, &key(ENOCH), &peter()), wrong);
    let cosigner = peter().key("a", SignatureType::CosignatureV1);
    assert_eq!(Signature::sign(TEXT, &cosigner, &peter()), Err(Unsigned::KeyType));
}

/// `TestOpen` of golang.org/x/mod/sumdb/note.
#[test]
fn signatures_are_verified_and_unknown_ones_passed_over() {
    let (peter, enoch) = (key(PETER), key(ENOCH));
    let both = signed_by(&[PETER_LINE, ENOCH_LINE]);
    assert_eq!(both.text(), TEXT);
    let names = |note: &Note, keys: &[&VerifierKey]| {
        let verified = note.verify(keys)?;
        assert!(verified.iter().all(|signature| signature.time_s.is_none()));
        Ok(verified.iter().map(|signature| signature.key.name().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(&both, &[&peter]), Ok(vec!["PeterNeumann".into()]));
    assert_eq!(names(&both, &[&enoch, &peter]).unwrap(), ["PeterNeumann", "EnochRoot"]);
    assert_eq!(names(&both, &[]), Err(NotVerified::NoKnownKey));
    assert_eq!(names(&signed_by(&[ENOCH_LINE]), &[&peter]), Err(NotVerified::NoKnownKey));
    // A known key's signature under another's text, or with one bit changed.
    let other_text = note(&format!("{}\n{PETER_LINE}", TEXT.replace("think", "thunk")));
    let wrong = NotVerified::WrongSignature { name: "PeterNeumann".into(), key_id: peter.id() };
    assert_eq!(names(&other_text, &[&peter]), Err(wrong.clone()));
    let spoiled = PETER_LINE.replace("JnAM=", "JnAI=");
    assert_ne!(spoiled, PETER_LINE);
    assert_eq!(names(&signed_by(&[ENOCH_LINE, &spoiled]), &[&enoch, &peter]), Err(wrong));
    // The same id under another name is another, unknown key.
    let renamed = PETER_LINE.replace("PeterNeumann", "PaulNeumann");
    assert_eq!(names(&signed_by(&[&renamed]), &[&peter]), Err(NotVerified::NoKnownKey));
}

#[test]
fn a_signature_has_one_form() {
    // S + L is the same number to a careless verifier.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let original = note(&format!("{TEXT}\n{PETER_LINE}")).signatures()[0].bytes().to_vec();
    let mut carry = 0;
    let mut bytes = original.clone();
    for (byte, add) in bytes[32..].iter_mut().zip(order.unwrap()) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    let line = |bytes: &[u8]| {
        use base64::Engine;
        let bytes = [&key(PETER).id()[..], bytes].concat();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("— PeterNeumann {encoded}\n")
    };
    assert_eq!(line(&original), PETER_LINE);
    assert!(signed_by(&[&line(&bytes)]).verify(&[&key(PETER)]).is_err());
    for cut in [1, 63] {
        assert!(signed_by(&[&line(&original[..cut])]).verify(&[&key(PETER)]).is_err());
    }
    let longer = [&original[..], &[0]].concat();
    assert!(signed_by(&[&line(&longer)]).verify(&[&key(PETER)]).is_err());
}

#[test]
fn malformed_notes_are_refused() {
    let bad = |text: &[u8]| Note::parse(text).unwrap_err();
    let signed = format!("{TEXT}\n{PETER_LINE}");
    assert_eq!(bad(b""), BadNote::Form);
    assert_eq!(bad(TEXT.as_bytes()), BadNote::Form);
    assert_eq!(bad(format!("{TEXT}\n").as_bytes()), BadNote::Form);
    assert_eq!(bad(signed.trim_end().as_bytes()), BadNote::Form);
    assert_eq!(bad(format!("\x01{signed}").as_bytes()), BadNote::Characters);
    assert_eq!(bad(format!("a\r{signed}").as_bytes()), BadNote::Characters);
    assert_eq!(bad(&[b"\xff", signed.as_bytes()].concat()), BadNote::Characters);
    let second = BadNote::Signature { line: 2 };
    assert_eq!(bad(format!("{signed}Unexpected line.\n").as_bytes()), second);
    for line in [
        PETER_LINE.replace("PeterNeumann", "Bad Name"),
        PETER_LINE.replace("PeterNeumann", "a+b"),
        PETER_LINE.replace("PeterNeumann", "a\u{3000}b"),
        PETER_LINE.replace("PeterNeumann", ""),
        PETER_LINE.replace('—', "-"),
        PETER_LINE.replace("AM=", "AM"),
        PETER_LINE.replace("AM=", "AN="),
        PETER_LINE.replace("AM=", "AM= "),
        "— PeterNeumann x08gow==\n".to_owned(),
        "— PeterNeumann \n".to_owned(),
        "— PeterNeumann\n".to_owned(),
    ] {
        let note = format!("{TEXT}\n{line}");
        assert_eq!(bad(note.as_bytes()), BadNote::Signature { line: 1 }, "{line}");
    }
    let many = |count| format!("{TEXT}\n{}", PETER_LINE.repeat(count));
    assert_eq!(Note::parse(many(100).as_bytes()).unwrap().signatures().len(), 100);
    assert_eq!(bad(many(101).as_bytes()), BadNote::TooManySignatures);
    let mut full = note(&many(100));
    let signature = full.signatures()[0].clone();
    assert_eq!(full.add(signature), Err(BadNote::TooManySignatures));
    assert_eq!(full.signatures().len(), 100);
    let long = format!("{}\n\n{PETER_LINE}", "a".repeat(MAX_BYTES));
    assert_eq!(bad(long.as_bytes()), BadNote::TooLong);
    assert_eq!(Note::try_new("a\n", vec![]), Err(BadNote::Form));
}

/// The example of C2SP signed-note: its text has a blank line and letters beyond ASCII.
#[test]
fn the_last_blank_line_ends_the_text() {
    let text = "Ognuno sta solo sul cuor della terra\n\
                trafitto da un raggio di sole:\n\n\
                ed è subito sera.\n";
    let line = "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let note = note(&format!("{text}\n{line}"));
    assert_eq!(note.text(), text);
    assert_eq!(note.signatures()[0].name(), "quasimodo.example/salvatore");
    assert_eq!(note.signatures()[0].key_id(), [0x36, 0x7b, 0xa0, 0x4b]);
    assert_eq!(note.to_string(), format!("{text}\n{line}"));
}

/// Tree heads that sum.golang.org signed, with its key.
#[test]
fn the_go_checksum_database_is_verified() {
    let golang = key("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8");
    for (size, root, signature) in [
        (
            "49189689",
            "ftjbAOzaupaIvaPo/G+Dk63nxOZ2s1OPOKIaPtXs7S4=",
            "Az3grlKZssqRoMNPpZfKt0TphbbcF+pzXqElURJKRNFKfaUAgqeI5k2AORH0QAhg/ebRwyIqD/OqP4oLtLnNumvOBAM=",
        ),
        (
            "31700353",
            "qINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=",
            "Az3grnmrIUEDFqHzAElIQCPNoRFRAAdFo47fooyWKMHb89k11GJh5zHIfNCOBmwn/C3YI8oW9/C8DJ87F61QqspBYwM=",
        ),
        (
            "65209736",
            "5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=",
            "Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=",
        ),
    ] {
        let text = format!("go.sum database tree\n{size}\n{root}\n");
        let signed = |text: &str| note(&format!("{text}\n— sum.golang.org {signature}\n"));
        assert_eq!(signed(&text).verify(&[&golang]).unwrap().len(), 1);
        assert!(signed(&text.replace(size, "1")).verify(&[&golang]).is_err());
    }
}
