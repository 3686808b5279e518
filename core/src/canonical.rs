//! One JSON text per value: object keys sorted by their bytes, no white space.
//!
//! Used for digests only. It does not depend on the map type that serde_json was compiled with.
//! Numbers are written as serde_json writes them; plans carry no floating-point numbers.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a value.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// `SHA-256(domain || 0x00 || canonical text)` as lower-case hexadecimal. The domain keeps hashes of
/// different things apart.
pub fn digest(domain: &str, value: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update([0]);
    hash.update(to_string(value).as_bytes());
    hex::encode(hash.finalize())
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_does_not_matter() {
        let a: Value = serde_json::from_str(r#"{"b":1,"a":[true,null,"x\n"]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "a":[true,null,"x\n"], "b":1 }"#).unwrap();
        assert_eq!(to_string(&a), r#"{"a":[true,null,"x\n"],"b":1}"#);
        assert_eq!(digest("t", &a), digest("t", &b));
    }

    #[test]
    fn the_domain_separates() {
        assert_ne!(digest("a", &json!({})), digest("b", &json!({})));
    }
}
