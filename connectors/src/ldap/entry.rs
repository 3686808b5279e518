//! One entry, with attribute names in lower case and values as octets.

use std::collections::BTreeMap;

use ldap3::SearchEntry;

/// An entry as a search answered it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub dn: String,
    attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Entry {
    pub fn new(found: SearchEntry) -> Self {
        let texts = found.attrs.into_iter().map(|(name, values)| {
            (name, values.into_iter().map(String::into_bytes).collect::<Vec<_>>())
        });
        let attributes = texts
            .chain(found.bin_attrs)
            .map(|(name, values)| (name.to_lowercase(), values))
            .collect();
        Self { dn: found.dn, attributes }
    }

    /// All values of an attribute.
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attributes.get(&name.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The values that are text.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The first value, when it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next()
    }

    /// The first value, when it is a whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// Whether the first value is TRUE (RFC 4517 §3.3.3).
    pub fn is_true(&self, name: &str) -> bool {
        self.text(name) == Some("TRUE")
    }

    pub fn has_class(&self, class: &str) -> bool {
        self.has("objectClass", class)
    }

    /// Whether one of the values is this one, in whatever case.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.texts(name).any(|text| text.eq_ignore_ascii_case(value))
    }

    /// An attribute of which the server gave only a part, and where the next one begins. Active Directory
    /// answers `member;range=0-1499` instead of `member` when there are more than it gives at a time.
    /// <https://learn.microsoft.com/openspecs/windows_protocols/ms-adts/0bb88bda-ed8d-4af7-9f7b-813291772990>
    pub fn partial(&self) -> Option<(&str, &str, u64)> {
        self.attributes.keys().find_map(|name| {
            let (attribute, range) = name.split_once(";range=")?;
            let (_, last) = range.split_once('-')?;
            Some((name.as_str(), attribute, last.parse::<u64>().ok()?.checked_add(1)?))
        })
    }

    /// Joins a part of an attribute, under `name` here, and the next one of another answer to the attribute.
    pub fn join(&mut self, name: &str, attribute: &str, next: Self) {
        let mut values = self.attributes.remove(name).unwrap_or_default();
        let prefix = format!("{attribute};range=");
        let mut following = None;
        for (key, more) in next.attributes {
            if key.starts_with(&prefix) {
                values.extend(more);
                following = Some(key).filter(|key| !key.ends_with("-*"));
            }
        }
        self.attributes.insert(following.unwrap_or_else(|| attribute.to_owned()), values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, values: &[&str]) -> Entry {
        let values = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        Entry { dn: "cn=g".to_owned(), attributes: BTreeMap::from([(name.to_owned(), values)]) }
    }

    #[test]
    fn parts_of_an_attribute_are_joined_until_the_last() {
        let mut all = entry("member;range=0-1", &["a", "b"]);
        assert_eq!(all.partial(), Some(("member;range=0-1", "member", 2)));
        all.join("member;range=0-1", "member", entry("member;range=2-3", &["c", "d"]));
        assert_eq!(all.partial(), Some(("member;range=2-3", "member", 4)));
        all.join("member;range=2-3", "member", entry("member;range=4-*", &["e"]));
        assert_eq!(all.partial(), None);
        assert_eq!(all.texts("member").collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    }
}
