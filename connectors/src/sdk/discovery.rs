//! What a discovery passes on. Names, keys and facts come from the target, where whoever may make an account can
//! choose them: they are cleaned and bounded here, once for all connectors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::erased::{DiscoveredAsset, Discovery};
use super::error::{Advice, ConnectorError, ErrorKind};
use super::layer::Redactor;
use super::secret::{DigestKey, SecretText};

/// Most assets of one discovery. Connectors have bounds of their own, which are lower.
const MOST_ASSETS: usize = 300_000;
/// Most relations of one asset that are kept: they stand in one record of the log.
const MOST_RELATIONS: usize = 1_000;
/// Characters of a name. The inventory sorts by names, and an index entry of PostgreSQL has room for 2700 bytes.
/// <https://www.postgresql.org/docs/current/btree.html>
const LONGEST_NAME: usize = 256;
/// Characters of an external key.
const LONGEST_KEY: usize = 1_024;
/// What is shown of a key that is none.
const SHOWN_OF_KEY: usize = 100;
/// Bytes of an asset's facts: a quarter of what a record of the log has room for.
const MOST_FACTS: usize = 128 * 1024;
/// Where facts say what of an asset is not there.
const LEFT_OUT: &str = "left_out";

/// Cleans and bounds what was found. Assets are in the order of their types and keys, relations sorted.
///
/// Names lose secrets of the connection and control characters, and are cut. A key cannot be changed and still
/// name the same thing: one that has any of that, or is too long, is replaced by one that names nothing, so that
/// the asset is seen but never a target. Relations to what was not found are dropped. Whatever is left out of an
/// asset, its facts say so (`left_out`).
///
/// Errors: `Invalid` for too many assets, `Unexpected` for two different ones under the same key.
pub(super) fn clean(
    found: Discovery,
    redactor: &Redactor,
    digest_key: &DigestKey,
) -> Result<Discovery, ConnectorError> {
    if found.assets.len() > MOST_ASSETS {
        let message =
            format!("more than {MOST_ASSETS} things were found: give the connection less to see");
        return Err(ConnectorError::invalid(message));
    }
    let cleaner = Cleaner { redactor, digest_key };
    let mut assets: BTreeMap<(String, String), DiscoveredAsset> = BTreeMap::new();
    for asset in found.assets {
        let asset = cleaner.asset(asset);
        let key = (asset.kind.clone(), asset.external_key.clone());
        // The same thing twice, as when it moves between two pages of an answer, is one.
        if let Some(earlier) = assets.get(&key)
            && *earlier != asset
        {
            let message = format!("two different things of type {} have the key {}", key.0, key.1);
            return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
        }
        assets.insert(key, asset);
    }
    let known: BTreeSet<_> = assets.keys().cloned().collect();
    let finished = assets.into_values().map(|mut asset| {
        asset.relations.retain(|relation| {
            // Without a copy of both texts the pair cannot be asked for.
            known.contains(&(relation.to_kind.clone(), relation.to_external_key.clone()))
        });
        if asset.relations.len() > MOST_RELATIONS {
            let count = asset.relations.len() - MOST_RELATIONS;
            asset.relations.truncate(MOST_RELATIONS);
            leave_out(&mut asset.metadata, format!("{count} relations: there are too many"));
        }
        asset
    });
    Ok(Discovery { assets: finished.collect() })
}

struct Cleaner<'a> {
    redactor: &'a Redactor,
    digest_key: &'a DigestKey,
}

impl Cleaner<'_> {
    fn asset(&self, asset: DiscoveredAsset) -> DiscoveredAsset {
        let DiscoveredAsset { kind, external_key, name, metadata, mut relations } = asset;
        let mut metadata = self.redactor.value(metadata);
        if serde_json::to_vec(&metadata).map_or(usize::MAX, |text| text.len()) > MOST_FACTS {
            metadata = json!({});
            leave_out(&mut metadata, "its facts: they are too long".to_owned());
        }
        let key = self.key(&external_key);
        if key != external_key {
            let why = "its key, which is too long, or has control characters or a secret of the connection in \
                       it: it cannot be a target";
            leave_out(&mut metadata, why.to_owned());
        }
        let name = self.line(&name, LONGEST_NAME);
        let name = if name.trim().is_empty() { self.line(&key, LONGEST_NAME) } else { name };
        for relation in &mut relations {
            relation.to_external_key = self.key(&relation.to_external_key);
        }
        relations.sort();
        relations.dedup();
        DiscoveredAsset { kind, external_key: key, name, metadata, relations }
    }

    /// The key itself, when it is one; else one of which there is no other, and which no target has.
    fn key(&self, key: &str) -> String {
        let clean = self.line(key, LONGEST_KEY);
        if clean == key {
            return clean;
        }
        let digest = self.digest_key.digest(&SecretText::new(key.to_owned()));
        let shown: String = clean.chars().take(SHOWN_OF_KEY).collect();
        format!("{shown}\u{2026}{digest}")
    }

    /// One line without secrets, cut with a mark.
    fn line(&self, text: &str, longest: usize) -> String {
        // Before anything is cut off: it could be the end of a secret.
        let clean = self.redactor.text(text);
        let mut rest = clean.chars();
        let mut line: String = rest
            .by_ref()
            .take(longest)
            .map(|c| if is_odd(c) { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        if rest.next().is_some() {
            line.push('…');
        }
        line
    }
}

/// Control characters, and what makes a text look like another by turning its direction.
/// <https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>
fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn leave_out(metadata: &mut Value, what: String) {
    if !metadata.is_object() {
        *metadata = json!({ "facts": metadata.take() });
    }
    if let Value::Object(facts) = metadata {
        match facts.get_mut(LEFT_OUT) {
            Some(Value::Array(list)) => list.push(what.into()),
            Some(_) | None => drop(facts.insert(LEFT_OUT.to_owned(), json!([what]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::erased::Relation;
    use super::*;

    fn asset(kind: &str, key: &str, relations: &[(&str, &str)]) -> DiscoveredAsset {
        let relation = |(to_kind, key): &(&str, &str)| Relation {
            kind: "part_of".to_owned(),
            to_kind: (*to_kind).to_owned(),
            to_external_key: (*key).to_owned(),
        };
        DiscoveredAsset {
            kind: kind.to_owned(),
            external_key: key.to_owned(),
            name: key.to_owned(),
            metadata: json!({ "is": key }),
            relations: relations.iter().map(relation).collect(),
        }
    }

    fn cleaned(assets: Vec<DiscoveredAsset>) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
        let redactor = Redactor::new(vec![SecretText::new("hunter22".to_owned())]);
        let key = DigestKey::new(&[1; 32]);
        clean(Discovery { assets }, &redactor, &key).map(|found| found.assets)
    }

    #[test]
    fn what_is_well_stays_as_it_is_in_order() {
        let (user, app) =
            (asset("user", "user/a b é", &[("app", "app/1")]), asset("app", "app/1", &[]));
        let found = cleaned(vec![user.clone(), app.clone()]).unwrap();
        assert_eq!(found, [app, user]);
    }

    #[test]
    fn names_are_one_clean_line_of_bounded_length() {
        let mut odd = asset("user", "user/1", &[]);
        odd.name = "a\0b\nc\u{1b}[31m\u{202e}txt hunter22".to_owned();
        let mut long = asset("user", "user/2", &[]);
        long.name = format!("{}hunter22{}", "é".repeat(LONGEST_NAME - 4), "x".repeat(100_000));
        let mut nameless = asset("user", "user/3", &[]);
        nameless.name = " ".to_owned();
        let found = cleaned(vec![odd, long, nameless]).unwrap();
        assert_eq!(found[0].name, "a\u{fffd}b\u{fffd}c\u{fffd}[31m\u{fffd}txt [redacted]");
        assert_eq!(found[1].name.chars().count(), LONGEST_NAME + 1);
        assert!(found[1].name.ends_with("é[red…"), "{}", found[1].name);
        assert_eq!(found[2].name, "user/3");
    }

    /// A key that names something must not be made one that names something else.
    #[test]
    fn a_key_that_is_none_is_seen_and_names_nothing() {
        let long = format!("user/{}", "x".repeat(LONGEST_KEY));
        for bad in ["user/a\nb", "user/a\u{202e}b", "user/hunter22", &long] {
            let holder = asset("group", "group/1", &[("user", bad)]);
            let clean_one = asset("user", "user/a\u{fffd}b", &[]);
            let found = cleaned(vec![asset("user", bad, &[]), holder, clean_one]).unwrap();
            assert_eq!(found.len(), 3, "{bad:?}");
            let key = found[0].relations[0].to_external_key.clone();
            let seen = found.iter().find(|asset| asset.external_key == key).expect("it is seen");
            assert_ne!(key, "user/a\u{fffd}b");
            assert!(key.chars().count() <= SHOWN_OF_KEY + 65 && !key.contains(is_odd), "{key:?}");
            assert!(!key.contains("hunter22") && key.contains('…'), "{key:?}");
            let said = seen.metadata["left_out"][0].as_str().unwrap();
            assert!(said.contains("cannot be a target"), "{said}");
        }
        // Two of them stay two, and each is the same the next time.
        let two = || vec![asset("user", "user/a\n", &[]), asset("user", "user/a\t", &[])];
        assert_eq!(cleaned(two()).unwrap().len(), 2);
        assert_eq!(cleaned(two()).unwrap(), cleaned(two()).unwrap());
    }

    #[test]
    fn relations_to_nowhere_and_beyond_the_bound_are_dropped() {
        let one = asset("user", "user/1", &[("app", "app/1"), ("app", "app/1"), ("app", "app/2")]);
        let other_kind = asset("group", "app/2", &[]);
        let found = cleaned(vec![one, asset("app", "app/1", &[]), other_kind]).unwrap();
        assert_eq!(found[2].relations.len(), 1);
        assert_eq!(found[2].relations[0].to_external_key, "app/1");

        let keys: Vec<_> = (0..=MOST_RELATIONS).map(|no| format!("app/{no}")).collect();
        let all: Vec<_> = keys.iter().map(|key| ("app", key.as_str())).collect();
        let apps = keys.iter().map(|key| asset("app", key, &[]));
        let found = cleaned(apps.chain([asset("user", "user/1", &all)]).collect()).unwrap();
        let user = found.last().unwrap();
        assert_eq!(user.relations.len(), MOST_RELATIONS);
        assert_eq!(user.metadata["left_out"], json!(["1 relations: there are too many"]));
    }

    #[test]
    fn a_key_is_there_once() {
        let (one, same) = (asset("user", "user/1", &[]), asset("user", "user/1", &[]));
        let mut other = one.clone();
        other.metadata = json!({ "is": "another" });
        let of_another_type = asset("group", "user/1", &[]);
        assert_eq!(cleaned(vec![one.clone(), same, of_another_type]).unwrap().len(), 2);
        let error = cleaned(vec![one, other]).unwrap_err();
        assert_eq!((error.kind, error.advice), (ErrorKind::Unexpected, Advice::Never));
        assert!(error.message.contains("user/1"), "{error}");
    }

    #[test]
    fn facts_are_bounded_and_so_is_the_number_of_assets() {
        let mut big = asset("user", "user/1", &[]);
        big.metadata = json!(vec!["x".repeat(1000); MOST_FACTS / 1000]);
        let mut list = asset("user", "user/\0", &[]);
        list.metadata = json!(["hunter22"]);
        let found = cleaned(vec![big, list]).unwrap();
        let [big, list] = &found[..] else { panic!("{found:?}") };
        let (big, list) = if big.name == "user/1" { (big, list) } else { (list, big) };
        assert_eq!(big.metadata, json!({ "left_out": ["its facts: they are too long"] }));
        assert_eq!(list.metadata["facts"], json!(["[redacted]"]));

        let many = vec![asset("user", "user/1", &[]); MOST_ASSETS + 1];
        let error = cleaned(many).unwrap_err();
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never));
    }
}
