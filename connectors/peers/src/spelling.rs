//! In which ways a secret may be written down, for tests that search for one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The secret as it is; in JSON, twice in JSON, and in JSON without anything but ASCII; in XML; in a URL and in a form,
/// with large and small digits; in hexadecimal; and in base64 wherever in a longer text it begins, also of UTF-16, in
/// which directories take passwords. Shorter secrets than eight bytes would be found everywhere.
///
/// # Panics
/// When the secret is shorter.
pub fn spellings(secret: &str) -> Vec<String> {
    assert!(secret.len() >= 8, "a secret of {} bytes is found everywhere", secret.len());
    let bytes = secret.as_bytes();
    let json = json(secret);
    let ascii: String = json
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    let xml = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut all = vec![
        secret.to_owned(),
        self::json(&json),
        self::json(&ascii),
        json.replace('/', "\\/"),
        ascii.replace('/', "\\/"),
        json,
        ascii,
        xml.replace('"', "&quot;"),
        xml.replace('"', "&quot;").replace('\'', "&#39;"),
        xml,
    ];
    // What is kept: nothing; by RFC 3986, 2.3; by encodeURIComponent; by forms.
    for kept in ["", "-._~", "-._~!*'()", "-._*"] {
        for upper in [true, false] {
            let coded = |byte: &u8| match (char::from(*byte), upper) {
                (letter, _) if byte.is_ascii_alphanumeric() || kept.contains(letter) => {
                    letter.to_string()
                }
                (_, true) => format!("%{byte:02X}"),
                (_, false) => format!("%{byte:02x}"),
            };
            let percent: String = bytes.iter().map(coded).collect();
            all.push(percent.replace("%20", "+"));
            all.push(percent);
        }
    }
    for bytes in [bytes, &wide] {
        let hexadecimal = hex::encode(bytes);
        all.push(hexadecimal.to_uppercase());
        all.push(hexadecimal);
        for before in 0..3 {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let coded = engine.encode([&vec![0; before], bytes].concat());
                // What does not depend on what is before and behind it.
                let begin = (before * 8).div_ceil(6);
                let end = (before + bytes.len()) * 8 / 6;
                all.extend(coded.get(begin..end).map(str::to_owned));
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// The inside of a JSON string.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
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
            serde_json::json!({ "said": serde_json::json!({ "p": secret }).to_string() })
                .to_string(),
            r#"{"p":"p\/\u00e4\"ss+word"}"#.to_owned(),
            "<p>p/ä&quot;ss+word</p>".to_owned(),
            STANDARD_NO_PAD.encode(
                format!("\"{secret}\"")
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>(),
            ),
        ];
        for text in texts {
            assert!(found(&text), "{text}");
        }
        assert!(!found("another text, with p/ä and password in it"));
    }
}
