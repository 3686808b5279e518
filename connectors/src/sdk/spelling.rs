//! In which ways a target may write a secret down that it was told, and says back in an error: as it is, as JSON
//! and XML escape it, as URLs and forms do, in hexadecimal, and in base64 wherever in a longer text it begins.
//!
//! Absent on purpose: what changes a secret beyond such a spelling. A target that means harm has what it was told.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::secret::SecretText;

/// What a URL leaves as it is besides letters and digits: nothing; RFC 3986, 2.3; and `encodeURIComponent` of ECMA-262.
const KEPT: [&str; 3] = ["", "-._~", "-._~!*'()"];

/// All spellings of a secret, each once.
pub(super) fn spellings(secret: &SecretText) -> Vec<SecretText> {
    let text = secret.expose();
    let mut all = vec![Zeroizing::new(text.to_owned())];
    let mut escaped = all.clone();
    for _ in 0..2 {
        escaped = escaped.iter().flat_map(|text| [json(text, false), json(text, true)]).collect();
        all.extend(escaped.iter().cloned());
    }
    all.push(Zeroizing::new(
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
    ));
    for kept in KEPT {
        let upper = percent(text, kept);
        all.push(Zeroizing::new(lower(&upper)));
        all.push(Zeroizing::new(upper.replace("%20", "+")));
        all.push(upper);
    }
    let hexadecimal = Zeroizing::new(hex::encode(text));
    all.push(Zeroizing::new(hexadecimal.to_uppercase()));
    all.push(hexadecimal);
    for before in 0..3 {
        let bytes = Zeroizing::new([&[0; 2][..before.min(2)], text.as_bytes()].concat());
        // What depends neither on what is before nor on what is behind it.
        let (begin, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let coded = Zeroizing::new(engine.encode(&*bytes));
            all.extend(coded.get(begin..end).map(|part| Zeroizing::new(part.to_owned())));
        }
    }
    all.sort_by(|one, other| one.as_str().cmp(other));
    all.dedup();
    all.into_iter().map(|mut text| SecretText::new(std::mem::take(&mut *text))).collect()
}

/// The inside of a JSON string; `ascii` is how some write all that is not ASCII, and `/`.
fn json(text: &str, ascii: bool) -> Zeroizing<String> {
    let quoted = Zeroizing::new(serde_json::Value::from(text).to_string());
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !ascii {
        return Zeroizing::new(inside.to_owned());
    }
    let mut all = Zeroizing::new(String::with_capacity(inside.len() * 6));
    for letter in inside.chars() {
        match letter {
            '/' => all.push_str("\\/"),
            _ if letter.is_ascii() => all.push(letter),
            _ => {
                let units = letter.encode_utf16(&mut [0; 2]).to_vec();
                units.iter().for_each(|unit| all.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    all
}

fn percent(text: &str, kept: &str) -> Zeroizing<String> {
    let mut all = Zeroizing::new(String::with_capacity(text.len() * 3));
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || kept.contains(letter) {
            all.push(letter);
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    all
}

/// The same with small hexadecimal digits.
fn lower(percent: &str) -> String {
    let mut since = usize::MAX;
    let small = |letter: char| {
        since = if letter == '%' { 0 } else { since.saturating_add(1) };
        if since <= 2 { letter.to_ascii_lowercase() } else { letter }
    };
    percent.chars().map(small).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_found_however_a_target_writes_it() {
        let secret = "p/ä\"ss+Word-1 <x>";
        let all = spellings(&SecretText::new(secret.to_owned()));
        let inner = json!({ "password": secret }).to_string();
        for text in [
            format!("it is {secret}."),
            json!({ "said": inner }).to_string(),
            inner,
            r#"{"p":"p\/\u00e4\"ss+Word-1 <x>"}"#.to_owned(),
            "<p>p/ä&quot;ss+Word-1 &lt;x&gt;</p>".to_owned(),
            "?p=p%2F%C3%A4%22ss%2BWord-1%20%3Cx%3E".to_owned(),
            "?p=p%2f%c3%a4%22ss%2bWord-1%20%3cx%3e".to_owned(),
            "?p=p%2F%C3%A4%22ss%2BWord-1+%3Cx%3E".to_owned(),
            STANDARD.encode(format!("somebody:{secret}\n")),
            hex::encode(format!("somebody:{secret}\n")),
        ] {
            assert!(all.iter().any(|one| text.contains(one.expose())), "{text}");
        }
        assert!(all.iter().all(|one| one.expose().len() >= secret.len()), "{:?}", all.len());
    }
}
