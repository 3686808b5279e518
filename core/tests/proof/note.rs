use nexplane_core::proof::checkpoint::Checkpoint;
use nexplane_core::proof::note::{Note, VerifierKey};
use nexplane_core::proof::tree::{Hash, MAX_SIZE};
use nexplane_core::proof::witness::WitnessPolicy;
use proptest::prelude::*;

use crate::cases;

const SIGNED: &str = "If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
";

const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fn verifies(bytes: &[u8]) -> bool {
    let key: VerifierKey = KEY.parse().unwrap();
    Note::parse(bytes).is_ok_and(|note| note.verify(&[&key]).is_ok())
}

#[test]
fn no_bit_of_a_signed_note_can_be_changed() {
    assert!(verifies(SIGNED.as_bytes()));
    for place in 0..SIGNED.len() {
        // The bits are taken in turn: all of them would be thousands of slow checks.
        let mut changed = SIGNED.as_bytes().to_vec();
        changed[place] ^= 1 << (place % 8);
        assert!(!verifies(&changed), "{place}");
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn checkpoints_are_read_as_they_are_written(
        origin in "\\PC{1,30}",
        size in 1..=MAX_SIZE,
        root: Hash,
        extensions in prop::collection::vec("[^\\x00-\\x1f]{0,20}", 0..4),
    ) {
        let made = Checkpoint::try_new(origin, size, root, extensions.clone());
        prop_assert_eq!(made.is_ok(), extensions.iter().all(|line| !line.is_empty()));
        if let Ok(checkpoint) = made {
            prop_assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        }
    }

    /// Whatever is accepted is written again as it was.
    #[test]
    fn texts_have_one_form(
        before in 0..SIGNED.len(),
        count in 0..4_usize,
        insert in "[ \\PC\n+—=0]{0,3}",
    ) {
        for text in [SIGNED, KEY, "example.com/log\n42\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nx\n"] {
            let mut letters: Vec<char> = text.chars().collect();
            let from = before % letters.len();
            let to = (from + count).min(letters.len());
            letters.splice(from..to, insert.chars());
            let text: String = letters.into_iter().collect();
            if let Ok(note) = Note::parse(text.as_bytes()) {
                prop_assert_eq!(note.to_string(), text.clone());
            }
            if let Ok(key) = text.parse::<VerifierKey>() {
                prop_assert_eq!(key.to_string(), text.clone());
            }
            if let Ok(checkpoint) = text.parse::<Checkpoint>() {
                prop_assert_eq!(checkpoint.to_string(), text);
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC*") {
        let _ = Note::parse(&bytes);
        let _ = text.parse::<VerifierKey>();
        let _ = text.parse::<WitnessPolicy>();
        let _ = text.parse::<Checkpoint>();
    }
}
