//! Query strings.

use std::fmt::Write as _;

/// `path?name=value…` with what is not empty.
pub fn with(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(if out.contains('?') { '&' } else { '?' });
        out.push_str(name);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

/// RFC 3986: everything but the unreserved characters.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_are_left_out() {
        assert_eq!(with("/a", &[("q", ""), ("state", "draft")]), "/a?state=draft");
        assert_eq!(with("/a?x=1", &[("y", "2")]), "/a?x=1&y=2");
        assert_eq!(with("/a", &[]), "/a");
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(with("/a", &[("q", "a b&c=é")]), "/a?q=a%20b%26c%3D%C3%A9");
    }
}
