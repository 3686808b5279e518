//! The example of C2SP tlog-policy, the refusals that transparency-dev/formats lists
//! (`policy/tlog_policy_test.go`), and a checkpoint of a public log with its real witnesses.

use super::Pair;
use crate::proof::checkpoint::{Checkpoint, Unverified};
use crate::proof::note::{BadKey, NotVerified, Note, SignatureType};
use crate::proof::witness::*;

const ORIGIN: &str = "example.com/log";

/// Cosignatures of a log of the Certificate Transparency ecosystem, as published; the log signs
/// twice, in the old format (type 0x05) too.
const PUBLIC: &str = "arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
";

/// With the keys that these parties publish, and one more that did not sign.
const PUBLIC_POLICY: &str = "
log arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f
witness garden transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM
witness smartit witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO
witness remora remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2 https://remora.n621.de/
witness navigli witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G
group some 3 garden smartit remora navigli
quorum some
";

fn log_key() -> String {
    Pair::from_seed(100).key(ORIGIN, SignatureType::Ed25519).to_string()
}

fn witness_key(seed: u8) -> String {
    Pair::from_seed(seed).key(&format!("w{seed}"), SignatureType::CosignatureV1).to_string()
}

/// `L`, `W1`, `W2` … stand for keys.
fn fill(text: &str) -> String {
    let words = text.split_inclusive([' ', '\t', '\n']).map(|word| {
        let bare = word.trim_end();
        let key = match bare.strip_prefix('W').map(str::parse) {
            Some(Ok(seed)) => witness_key(seed),
            _ if bare == "L" => log_key(),
            _ => return word.to_owned(),
        };
        word.replace(bare, &key)
    });
    words.collect()
}

fn policy(text: &str) -> WitnessPolicy {
    fill(text).parse().unwrap()
}

fn signed_by(witnesses: &[u8]) -> Note {
    let checkpoint = Checkpoint::try_new(ORIGIN, 42, [7; 32], vec![]).unwrap();
    let log = Pair::from_seed(100);
    let signature = checkpoint.sign(&fill("L").parse().unwrap(), &log).unwrap();
    let mut note = Note::try_new(checkpoint.to_string(), vec![signature]).unwrap();
    for seed in witnesses {
        let (key, signer) = (witness_key(*seed).parse().unwrap(), Pair::from_seed(*seed));
        note.add(checkpoint.cosign(&key, 1000 + u64::from(*seed), &signer).unwrap()).unwrap();
    }
    note
}

const TWO_LEVELS: &str = "\
log L

witness X1 W1
witness X2 W2
witness X3 W3
group X-witnesses 2 X1 X2 X3

witness Y1 W4
witness Y2 W5
witness Y3 W6
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
";

#[test]
fn the_specification_s_example_is_evaluated() {
    let policy = policy(TWO_LEVELS);
    for (witnesses, quorum) in [
        (&[1, 2, 3, 4, 5, 6][..], true),
        (&[1, 3, 5], true),
        (&[6, 2, 3], true),
        (&[1, 2, 3], false),
        (&[1, 4, 5, 6], false),
        (&[4, 5, 6], false),
        (&[], false),
    ] {
        let note = signed_by(witnesses);
        let evaluation = policy.evaluate(&note).unwrap();
        assert_eq!(evaluation.quorum, quorum, "{witnesses:?}");
        assert_eq!(evaluation.checkpoint.size(), 42);
        let times: Vec<_> = evaluation.cosignatures.iter().map(|c| c.time_s).collect();
        let mut expected: Vec<_> = witnesses.iter().map(|seed| 1000 + u64::from(*seed)).collect();
        expected.sort_unstable();
        assert_eq!(times, expected);
        assert!(evaluation.cosignatures.iter().all(|c| c.witness.name.starts_with(['X', 'Y'])));
    }
}

#[test]
fn a_witness_counts_once() {
    let policy = policy("log L\nwitness a W1\nwitness b W2\ngroup g all a b\nquorum g");
    let mut note = signed_by(&[1]);
    let checkpoint: Checkpoint = note.text().parse().unwrap();
    let (key, signer) = (witness_key(1).parse().unwrap(), Pair::from_seed(1));
    note.add(checkpoint.cosign(&key, 5000, &signer).unwrap()).unwrap();
    note.add(checkpoint.cosign(&key, 3000, &signer).unwrap()).unwrap();
    let evaluation = policy.evaluate(&note).unwrap();
    assert!(!evaluation.quorum);
    let times: Vec<_> = evaluation.cosignatures.iter().map(|c| c.time_s).collect();
    assert_eq!(times, [5000]);
}

#[test]
fn a_real_checkpoint_has_its_witnesses() {
    let policy: WitnessPolicy = PUBLIC_POLICY.parse().unwrap();
    let note = Note::parse(PUBLIC.as_bytes()).unwrap();
    assert_eq!(note.to_string(), PUBLIC);
    let evaluation = policy.evaluate(&note).unwrap();
    let names: Vec<_> = evaluation.cosignatures.iter().map(|c| &*c.witness.name).collect();
    assert_eq!(names, ["garden", "smartit", "remora"]);
    assert!(evaluation.quorum);
    assert!(evaluation.cosignatures.iter().all(|c| c.time_s == 1_779_573_024));
    assert_eq!(evaluation.checkpoint.size(), 1_432_088_532);
    let all: WitnessPolicy = PUBLIC_POLICY.replace("some 3", "some all").parse().unwrap();
    assert!(!all.evaluate(&note).unwrap().quorum);
    let other = PUBLIC.replace("1432088532", "1432088533");
    assert!(policy.evaluate(&Note::parse(other.as_bytes()).unwrap()).is_err());
}

#[test]
fn the_log_must_have_signed_whatever_the_witnesses_did() {
    let quorum = "witness a W1\nquorum a\n";
    let with_log = policy(&format!("log L\n{quorum}"));
    assert!(with_log.evaluate(&signed_by(&[1])).unwrap().quorum);
    let unknown = Unverified::UnknownLog { origin: ORIGIN.into() };
    assert_eq!(policy(quorum).evaluate(&signed_by(&[1])), Err(unknown.clone()));
    // A known log that signs under another's origin.
    let elsewhere = Pair::from_seed(100).key("example.com/elsewhere", SignatureType::Ed25519);
    let policy: WitnessPolicy = format!("log {elsewhere}\nquorum none").parse().unwrap();
    let signature = crate::proof::note::Signature::sign(
        signed_by(&[]).text(),
        &elsewhere,
        &Pair::from_seed(100),
    );
    let note = Note::try_new(signed_by(&[]).text(), vec![signature.unwrap()]).unwrap();
    assert_eq!(policy.evaluate(&note), Err(unknown));
    let nobody = Err(NotVerified::NoKnownKey.into());
    assert_eq!(policy.evaluate(&signed_by(&[1])), nobody);
}

#[test]
fn a_wrong_cosignature_of_a_known_witness_refuses_the_note() {
    let text = signed_by(&[1, 2]).to_string();
    let wrong = |seed: u8| {
        let (head, line) = text.split_once(&format!("— w{seed} ")).unwrap();
        let spoiled = line.replacen('A', "B", 1);
        Note::parse(format!("{head}— w{seed} {spoiled}").as_bytes()).unwrap()
    };
    let policy = policy("log L\nwitness a W1\nquorum a");
    assert!(policy.evaluate(&wrong(2)).unwrap().quorum);
    assert!(policy.evaluate(&wrong(1)).is_err());
}

#[test]
fn policies_are_read_and_written() {
    let odd = policy(
        "\n# comment\n\t # another\n\twitness \t w1  W1   https://w1.example/  \n\n  quorum\tw1",
    );
    assert_eq!(odd.witnesses()[0].url.as_deref(), Some("https://w1.example/"));
    assert_eq!(odd.logs(), []);
    policy("quorum none");
    policy("witness all W1\nwitness any W2\ngroup group 2 all any\nquorum group\n");
    policy("quorum none\nwitness späť W1 #x\n");
    let written = policy(TWO_LEVELS).to_string();
    let again: WitnessPolicy = written.parse().unwrap();
    assert_eq!(again, policy(TWO_LEVELS));
    assert_eq!(again.to_string(), written);
    assert!(written.ends_with(
        "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses 1 Y1 Y2 Y3\n\
         group X-and-Y 2 X-witnesses Y-witnesses\nquorum X-and-Y\n"
    ));
    assert_eq!(policy("quorum none").to_string(), "quorum none\n");
}

#[test]
fn malformed_policies_are_refused() {
    let bad = |text: &str| fill(text).parse::<WitnessPolicy>().unwrap_err();
    assert_eq!(bad("quorum none\n\x01"), BadPolicy::Characters);
    assert_eq!(bad("quorum none\r\n"), BadPolicy::Characters);
    assert_eq!(bad("quorum none\n#\x7f"), BadPolicy::Characters);
    assert_eq!(bad(""), BadPolicy::NoQuorum);
    assert_eq!(bad("witness a W1\n"), BadPolicy::NoQuorum);
    assert_eq!(bad(&"#".repeat(MAX_BYTES + 1)), BadPolicy::TooLong);
    let unknown = |name: &str| BadLine::Unknown(name.into());
    let taken = |name: &str| BadLine::NameTaken(name.into());
    let twice = |name: &str| BadLine::MemberTwice(name.into());
    for (line, text, expected) in [
        (1, "quibble a\nquorum none", BadLine::Form),
        (1, "witness a W1 https://a/ # comment\nquorum a", BadLine::Form),
        (1, "log\nquorum none", BadLine::Form),
        (1, "log garbage\nquorum none", BadKey::Form.into()),
        (1, "log W1\nquorum none", BadLine::KeyType),
        (2, "log L\nlog L https://a/\nquorum none", BadLine::SameKey),
        (1, "witness a\nquorum none", BadLine::Form),
        (1, "witness a L\nquorum a", BadLine::KeyType),
        (2, "log L\nwitness a W100\nquorum a", BadLine::SameKey),
        (2, "witness a W1\nwitness b W1\nquorum a", BadLine::SameKey),
        (1, "witness none W1\nquorum none", taken("none")),
        (2, "witness a W1\nwitness a W2\nquorum a", taken("a")),
        (2, "witness a W1\ngroup a any a\nquorum a", taken("a")),
        (2, "witness a W1\ngroup none any a\nquorum none", taken("none")),
        (2, "witness a W1\ngroup g 1\nquorum a", BadLine::Form),
        (2, "witness a W1\ngroup g 0 a\nquorum g", BadLine::Threshold),
        (2, "witness a W1\ngroup g -1 a\nquorum g", BadLine::Threshold),
        (2, "witness a W1\ngroup g +1 a\nquorum g", BadLine::Threshold),
        (2, "witness a W1\ngroup g 01 a\nquorum g", BadLine::Threshold),
        (2, "witness a W1\ngroup g 2 a\nquorum g", BadLine::Threshold),
        (2, "witness a W1\ngroup g any b\nquorum g", unknown("b")),
        (1, "group g any a\nwitness a W1\nquorum g", unknown("a")),
        (1, "group g any g\nquorum g", unknown("g")),
        (2, "witness a W1\ngroup g any none a\nquorum g", unknown("none")),
        (2, "witness a W1\ngroup g all a a\nquorum g", twice("a")),
        (4, "witness a W1\nwitness b W2\ngroup g any a b\ngroup h any a\nquorum g", twice("a")),
        (3, "witness a W1\nquorum a\nquorum a", BadLine::SecondQuorum),
        (2, "quorum none\nquorum none", BadLine::SecondQuorum),
        (1, "quorum a", unknown("a")),
        (1, "quorum a\nwitness a W1", unknown("a")),
        (1, "quorum", BadLine::Form),
        (1, "quorum a b", BadLine::Form),
    ] {
        assert_eq!(bad(text), BadPolicy::Line { line, source: expected }, "{text}");
    }
    // The same public key under another name is the same key.
    let again = Pair::from_seed(1).key("impostor", SignatureType::CosignatureV1);
    let text = format!("witness a W1\nwitness b {again}\nquorum a");
    assert_eq!(bad(&text), BadPolicy::Line { line: 2, source: BadLine::SameKey });
}
