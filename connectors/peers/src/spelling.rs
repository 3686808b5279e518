//! In which ways a secret may be written down, for tests that search for one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The secret as it is, in JSON, in a URL, in hexadecimal, and in base64 wherever in a longer text it begins.
/// Shorter secrets than eight bytes would be found everywhere.
///
/// # Panics
/// When the secret is shorter.
pub fn spellings(secret: &str) -> Vec<String> {
    assert!(secret.len() >= 8, "a secret of {} bytes is found everywhere", secret.len());
    let bytes = secret.as_bytes();
    let json = serde_json::Value::from(secret).to_string();
    let percent = |upper: bool| -> String {
        let coded = |byte: &u8| match (byte.is_ascii_alphanumeric(), upper) {
            (true, _) => char::from(*byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        };
        bytes.iter().map(coded).collect()
    };
    let hexadecimal = hex::encode(bytes);
    let mut all = vec![
        secret.to_owned(),
        json.trim_matches('"').to_owned(),
        percent(true),
        percent(false),
        hexadecimal.to_uppercase(),
        hexadecimal,
    ];
    for before in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let coded = engine.encode([&vec![0; before], bytes].concat());
            // What does not depend on what is before and behind it.
            let begin = (before * 8).div_ceil(6);
            let end = (before + bytes.len()) * 8 / 6;
            all.extend(coded.get(begin..end).map(str::to_owned));
        }
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let secret = "p/ä\"ss+word";
        let all = spellings(secret);
        let found = |text: &str| all.iter().any(|one| text.contains(one));
        let basic = STANDARD_NO_PAD.encode(format!("somebody:{secret}\n"));
        let texts = [
            format!("it is {secret}."),
            serde_json::json!({ "password": secret }).to_string(),
            "https://host/?p=p%2F%C3%A4%22ss%2Bword&x".to_owned(),
            basic,
            URL_SAFE_NO_PAD.encode(format!("ab{secret}c")),
            format!("\\x00{}", "702fc3a42273732b776f7264"),
        ];
        for text in texts {
            assert!(found(&text), "{text}");
        }
        assert!(!found("another text, with p/ä and password in it"));
    }
}
