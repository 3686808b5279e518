//! Names as directories write them: DNs (RFC 4514), and values inside filters (RFC 4515).

use std::fmt::Write as _;

/// A value inside a filter: every octet as `\xx`, so that none can end it.
pub fn escape(value: &[u8]) -> String {
    value.iter().fold(String::with_capacity(value.len() * 3), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\{byte:02x}");
        text
    })
}

/// The relative names of a DN, the deepest first, without the commas between them.
fn parts(dn: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, character) in dn.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(dn.get(start..index).unwrap_or_default());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(dn.get(start..).unwrap_or_default());
    parts
}

/// A form that is the same for two spellings of a DN: other case, spaces around `,` and `=`, and characters
/// escaped as hexadecimal or not. For comparing only.
pub fn normal(dn: &str) -> String {
    let parts: Vec<_> = parts(dn).into_iter().map(normal_part).collect();
    parts.join(",")
}

fn normal_part(part: &str) -> String {
    let (kind, value) = part.split_once('=').unwrap_or((part, ""));
    // An escaped space at the end is a part of the value.
    let value = value.trim_start();
    let trimmed = value.trim_end();
    let kept = if trimmed.ends_with('\\') && trimmed.len() < value.len() {
        value.get(..=trimmed.len()).unwrap_or(value)
    } else {
        trimmed
    };
    let plain = String::from_utf8_lossy(&unescaped(kept)).to_lowercase();
    format!("{}={}", kind.trim().to_lowercase(), escape(plain.as_bytes()))
}

fn unescaped(value: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        // `from_str_radix` would take a sign, too.
        let pair = tail.get(..2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let pair = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        let code = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        rest = match (byte, code, tail.split_first()) {
            (b'\\', Some(code), _) => {
                plain.push(code);
                tail.get(2..).unwrap_or_default()
            }
            (b'\\', None, Some((&next, tail))) => {
                plain.push(next);
                tail
            }
            _ => {
                plain.push(byte);
                tail
            }
        };
    }
    plain
}

/// The DN of the entry above, as it is written; none above a single name.
pub fn parent(dn: &str) -> Option<&str> {
    let first = parts(dn).first()?.len();
    dn.get(first + 1..).map(str::trim_start).filter(|parent| !parent.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_a_filter() {
        assert_eq!(escape(b"*)(uid=\\"), r"\2a\29\28\75\69\64\3d\5c");
        assert_eq!(escape("é".as_bytes()), r"\c3\a9");
    }

    #[test]
    fn spellings_of_one_dn_are_equal_and_others_are_not() {
        let same = |a: &str, b: &str| normal(a) == normal(b);
        assert!(same("CN=Ada,OU=People,DC=x", "cn=ada, ou = people,dc=X"));
        assert!(same(r"cn=Doe\, Jane,dc=x", r"CN=doe\2C jane,DC=x"));
        assert!(same(r"cn=a\+b,dc=x", r"cn=a\2bb,dc=x"));
        assert!(same(r"cn=é,dc=x", r"cn=\C3\A9,dc=x"));
        assert!(!same(r"cn=a\ ,dc=x", "cn=a,dc=x"));
        assert!(!same(r"cn=a\,dc=x", "cn=a,dc=x"));
        assert!(!same("cn=a,dc=x", "cn=a,dc=y"));
    }

    #[test]
    fn the_parent_begins_after_the_first_comma_that_is_not_escaped() {
        assert_eq!(parent(r"cn=Doe\, Jane, ou=people,dc=x"), Some("ou=people,dc=x"));
        assert_eq!(parent("dc=x"), None);
        assert_eq!(parent(""), None);
    }
}
