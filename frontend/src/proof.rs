//! Whether an event is in the log: the steps of its proof as people read them.
//!
//! All of it is computed here, from the record on the screen, by the code that the command line
//! verifies with ([`nexplane_core::proof::event`]). What cannot be computed here is which key is the
//! right one: the server shows one, and a person may have pinned one that they have from elsewhere.

use nexplane_core::api::EventProof;
use nexplane_core::proof::checkpoint::Unverified;
use nexplane_core::proof::event::{BadEventProof, Checked, check};
use nexplane_core::proof::note::{NotVerified, Note, VerifierKey};
use nexplane_core::proof::tree::BadProof;

use crate::{format, words};

/// What was found about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Holds,
    Fails,
    /// Nothing was found out, because something to compare with is missing.
    Open,
}

/// One step of a proof: what it is, what was found, and the numbers to compare by eye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    pub found: Found,
    pub text: String,
    pub value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything holds, with the key that the person pinned.
    VerifiedWithPinned,
    /// Everything holds, with the key that the server shows.
    Verified,
    /// There is no key to check the signature with.
    NoKey,
    /// The server shows another key than the pinned one.
    OtherKey,
    /// The record on the screen does not have the hash that the log keeps for it.
    OtherRecord,
    /// The record does not lead to the signed root: it, or one beside it, is not what was sealed.
    OtherTree,
    /// Some other step does not hold.
    Wrong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub steps: [Step; 5],
}

/// The names of the steps, for the place that is kept while they are computed.
pub const STEPS: [&str; 5] = [
    "Hash of the record",
    "Path to the root of the tree",
    "Root of the checkpoint",
    "Signature of the checkpoint",
    "The log's key",
];

/// Judges a proof with the pinned key, or else with the one that the server shows.
pub fn judge(proof: &EventProof, shown: Option<&str>, pinned: Option<&str>) -> Judgement {
    let read = |text: &str| text.trim().parse::<VerifierKey>().ok();
    // A pin that cannot be read does not open the door to the key of the server.
    let key = pinned.or(shown).and_then(read);
    let checked = check(proof, key.as_ref());
    let steps = [
        record_step(proof, &checked),
        path_step(proof, &checked),
        root_step(proof, &checked),
        signature_step(proof, &checked, key.as_ref()),
        key_step(shown, pinned),
    ];
    let found = steps.each_ref().map(|step| step.found);
    let verdict = match found {
        [.., Found::Fails] => Verdict::OtherKey,
        [Found::Fails, ..] => Verdict::OtherRecord,
        [_, Found::Holds, Found::Fails, Found::Holds, _] => Verdict::OtherTree,
        _ if found.contains(&Found::Fails) => Verdict::Wrong,
        [.., Found::Open, _] => Verdict::NoKey,
        _ if pinned.is_some() => Verdict::VerifiedWithPinned,
        _ => Verdict::Verified,
    };
    Judgement { verdict, steps }
}

fn step(
    index: usize,
    found: Found,
    text: impl Into<String>,
    value: Option<impl Into<String>>,
) -> Step {
    let name = STEPS.get(index).copied().unwrap_or_default();
    Step { name, found, text: text.into(), value: value.map(Into::into) }
}

fn why(bad: &BadEventProof) -> String {
    words::sentence(&bad.to_string())
}

fn record_step(proof: &EventProof, checked: &Checked) -> Step {
    let (found, text) = match &checked.record {
        Ok(()) => (
            Found::Holds,
            "SHA-256 over the record below, computed here; the log keeps the same.".to_owned(),
        ),
        Err(bad) => (
            Found::Fails,
            format!("{} It keeps {}, the record below has this one:", why(bad), proof.leaf_hash),
        ),
    };
    step(0, found, text, Some(hex::encode(checked.leaf)))
}

fn path_step(proof: &EventProof, checked: &Checked) -> Step {
    let hashes = u64::try_from(proof.path.len()).unwrap_or(u64::MAX);
    let hashes = format::count(hashes, "hash leads", "hashes lead");
    match &checked.path {
        Ok(root) => step(
            1,
            Found::Holds,
            format!("{hashes} from it to this root:"),
            Some(hex::encode(root)),
        ),
        Err(bad) => step(1, Found::Fails, why(bad), None::<String>),
    }
}

fn root_step(proof: &EventProof, checked: &Checked) -> Step {
    let (found, text) = match &checked.root {
        Ok(()) => (
            Found::Holds,
            format!(
                "The checkpoint over {} has the same root.",
                format::count(proof.size, "event", "events")
            ),
        ),
        Err(BadEventProof::Inclusion(BadProof::Root)) => (
            Found::Fails,
            format!(
                "The checkpoint over {} has another root:",
                format::count(proof.size, "event", "events")
            ),
        ),
        Err(bad) => (Found::Fails, why(bad)),
    };
    let root = checked.checkpoint.as_ref().ok().map(|checkpoint| hex::encode(checkpoint.root()));
    step(2, found, text, root)
}

fn signature_step(proof: &EventProof, checked: &Checked, key: Option<&VerifierKey>) -> Step {
    let (found, text) = match &checked.signature {
        Ok(()) => (Found::Holds, format!("Ed25519, by this key.{}", further(proof))),
        Err(bad @ BadEventProof::NoKey) => (Found::Open, why(bad)),
        Err(BadEventProof::Signature(Unverified::Note(NotVerified::NoKnownKey))) => {
            (Found::Fails, "This key has not signed it.".to_owned())
        }
        Err(bad) => (Found::Fails, why(bad)),
    };
    step(3, found, text, key.map(|key| format!("{}+{}", key.name(), hex::encode(key.id()))))
}

/// Signatures of others, which nobody here has a key for.
fn further(proof: &EventProof) -> String {
    let all = Note::parse(proof.checkpoint.as_bytes()).map_or(0, |note| note.signatures().len());
    let others = u64::try_from(all.saturating_sub(1)).unwrap_or(u64::MAX);
    if others == 0 {
        return String::new();
    }
    let signatures = format::count(others, "signature", "signatures");
    format!(" {signatures} of witnesses are not checked here.")
}

fn key_step(shown: Option<&str>, pinned: Option<&str>) -> Step {
    let (found, text) = match (shown.map(str::trim), pinned.map(str::trim)) {
        (Some(shown), Some(pinned)) if shown == pinned => {
            (Found::Holds, "It is the key that you pinned in this browser.")
        }
        (Some(_), Some(_)) => {
            (Found::Fails, "The server shows another key than the one that you pinned.")
        }
        (None, Some(_)) => (
            Found::Holds,
            "Checked with the key that you pinned. This server does not seal, and shows none.",
        ),
        (Some(_), None) => (
            Found::Open,
            "It came from this server. Compare it with the one that you keep, then pin it.",
        ),
        (None, None) => {
            (Found::Open, "This server does not seal, and shows none. Pin the one that you keep.")
        }
    };
    step(4, found, text, None::<String>)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of one record, signed by another program with the Ed25519 seed 7, 7, 7 …
    const KEY: &str = "log.example+891bac2d+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
    const OTHER: &str = "log.example+3d34e96a+AROY9ixtGkV8UbpqS189vS9p/KkyFiGNyJl+QWvRfZPK";

    const LEAF: &str = "28a3a18f6cd6406b086e9ffda1f9b8a13dbcf44b0f3f32cb9031a11fd053acf9";
    const NOTE: &str = "log.example\n1\nKKOhj2zWQGsIbp/9ofm4oT289EsPPzLLkDGhH9BTrPk=\n\n\
        — log.example iRusLStazNddsCVtRJjyYAWPcrz2IoAzfPK12F+3oQZUswGa6op0Z9Jrk3jrKH3D3KV7g5tKzxAX/qPDg8z8/Pv5jgg=\n";

    fn proof() -> EventProof {
        EventProof {
            position: 0,
            record: "{}".to_owned(),
            leaf_hash: LEAF.to_owned(),
            size: 1,
            root: LEAF.to_owned(),
            path: Vec::new(),
            checkpoint: NOTE.to_owned(),
        }
    }

    fn verdict(proof: &EventProof, shown: Option<&str>, pinned: Option<&str>) -> Verdict {
        judge(proof, shown, pinned).verdict
    }

    #[test]
    fn a_proof_is_judged_with_the_pinned_key_or_the_one_that_is_shown() {
        let proof = proof();
        assert_eq!(verdict(&proof, Some(KEY), None), Verdict::Verified);
        assert_eq!(verdict(&proof, Some(KEY), Some(KEY)), Verdict::VerifiedWithPinned);
        assert_eq!(verdict(&proof, None, Some(KEY)), Verdict::VerifiedWithPinned);
        assert_eq!(verdict(&proof, None, None), Verdict::NoKey);
    }

    #[test]
    fn another_key_than_the_pinned_one_is_never_good() {
        for shown in [Some(KEY), Some("no key"), None] {
            for pinned in [OTHER, "no key", ""] {
                let verdict = verdict(&proof(), shown, Some(pinned));
                let good = matches!(verdict, Verdict::Verified | Verdict::VerifiedWithPinned);
                assert!(!good, "{shown:?} {pinned}: {verdict:?}");
            }
        }
        assert_eq!(verdict(&proof(), Some(OTHER), Some(KEY)), Verdict::OtherKey);
        assert_eq!(verdict(&proof(), Some(OTHER), None), Verdict::Wrong);
    }

    #[test]
    fn another_record_is_found() {
        let mut changed = proof();
        changed.record = "{ }".to_owned();
        assert_eq!(verdict(&changed, Some(KEY), None), Verdict::OtherRecord);
        // With its hash forged, too.
        changed.leaf_hash = hex::encode(check(&changed, None).leaf);
        assert_eq!(verdict(&changed, Some(KEY), None), Verdict::OtherTree);
        let judged = judge(&changed, Some(KEY), None);
        assert_eq!(
            judged.steps.map(|step| step.found),
            [Found::Holds, Found::Holds, Found::Fails, Found::Holds, Found::Open]
        );
    }

    #[test]
    fn a_note_that_was_changed_is_wrong() {
        let mut changed = proof();
        changed.checkpoint = changed.checkpoint.replace("\n1\n", "\n2\n");
        assert_eq!(verdict(&changed, Some(KEY), None), Verdict::Wrong);
    }
}
