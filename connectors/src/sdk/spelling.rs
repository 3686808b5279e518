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
    all.push(xml(text));
    for kept in KEPT {
        let upper = percent(text, kept, true);
        all.push(Zeroizing::new(upper.replace("%20", "+")));
        all.push(upper);
        all.push(percent(text, kept, false));
    }
    let hexadecimal = Zeroizing::new(hex::encode(text));
    all.push(Zeroizing::new(hexadecimal.to_uppercase()));
    all.push(hexadecimal);
    for before in 0_usize..3 {
        let mut bytes = Zeroizing::new(Vec::with_capacity(before + text.len()));
        bytes.resize(before, 0);
        bytes.extend_from_slice(text.as_bytes());
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
    let quoted = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut all = Zeroizing::new(String::with_capacity(inside.len() * 6));
    for letter in inside.chars() {
        match letter {
            '/' if ascii => all.push_str("\\/"),
            _ if letter.is_ascii() || !ascii => all.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    all.extend(['\\', 'u']);
                    all.extend((0..4).rev().map(|digit| hexadecimal(*unit >> (digit * 4), false)));
                }
            }
        }
    }
    all
}

fn xml(text: &str) -> Zeroizing<String> {
    let mut all = Zeroizing::new(String::with_capacity(text.len() * 6));
    for letter in text.chars() {
        match letter {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            _ => all.push(letter),
        }
    }
    all
}

fn percent(text: &str, kept: &str, upper: bool) -> Zeroizing<String> {
    let mut all = Zeroizing::new(String::with_capacity(text.len() * 3));
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || kept.contains(letter) {
            all.push(letter);
        } else {
            let digits = [byte >> 4, byte].map(|half| hexadecimal(u16::from(half), upper));
            all.push('%');
            all.extend(digits);
        }
    }
    all
}

/// The digit of the last four bits.
fn hexadecimal(bits: u16, upper: bool) -> char {
    let digit = char::from_digit(u32::from(bits & 15), 16).unwrap_or_default();
    if upper { digit.to_ascii_uppercase() } else { digit }
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
