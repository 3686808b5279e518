//! Finding an action in the catalog while typing.

use std::cmp::Reverse;

use nexplane_core::catalog::{ActionSpec, Catalog, ConnectorSpec};

/// An action with the connector that offers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer<'a> {
    pub connector: &'a ConnectorSpec,
    pub action: &'a ActionSpec,
    /// There is a connection to do it with.
    pub is_ready: bool,
}

/// The actions that every word of the query occurs in: first those of a kind that is connected, the best
/// first. An empty query finds all, in the catalog's order.
pub fn actions<'a>(catalog: &'a Catalog, connected: &[&str], query: &str) -> Vec<Offer<'a>> {
    let query = query.to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let mut found: Vec<(u32, Offer<'a>)> = catalog
        .connectors
        .iter()
        .flat_map(|connector| {
            let is_ready = connected.contains(&&*connector.id);
            connector.actions.iter().map(move |action| Offer { connector, action, is_ready })
        })
        .filter_map(|offer| score(offer, &words).map(|score| (score, offer)))
        .collect();
    // A stable sort: equals stay in the catalog's order.
    found.sort_by_key(|(score, offer)| (!offer.is_ready, Reverse(*score)));
    found.into_iter().map(|(_, offer)| offer).collect()
}

/// How well an action fits; `None` when a word occurs nowhere.
fn score(offer: Offer<'_>, words: &[&str]) -> Option<u32> {
    let title = offer.action.title.to_lowercase();
    let id = offer.action.id.to_lowercase();
    let connector = offer.connector.title.to_lowercase();
    let description = offer.action.description.to_lowercase();
    words.iter().try_fold(0, |sum, word| {
        let points = if title.starts_with(word) {
            100
        } else if starts_a_word(&title, word) {
            60
        } else if starts_a_word(&id, word) || starts_a_word(&connector, word) {
            40
        } else if title.contains(word) || id.contains(word) {
            20
        } else if description.contains(word)
            || offer.action.target_types.iter().any(|kind| kind.contains(word))
        {
            5
        } else {
            return None;
        };
        Some(sum + points)
    })
}

fn starts_a_word(text: &str, prefix: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use nexplane_core::catalog::{EffectClass, Reversibility};
    use serde_json::json;

    use super::*;

    fn action(id: &str, title: &str, description: &str) -> ActionSpec {
        ActionSpec {
            id: id.to_owned(),
            title: title.to_owned(),
            description: description.to_owned(),
            effect_class: EffectClass::Verifiable,
            base_risk: 3,
            reversibility: Reversibility::Reversible,
            target_types: vec!["postgres_role".to_owned()],
            permissions: Vec::new(),
            parameters: json!({}),
            example: json!({}),
            produces: Vec::new(),
        }
    }

    fn catalog() -> Catalog {
        let connector = |id: &str, title: &str, actions| ConnectorSpec {
            id: id.to_owned(),
            title: title.to_owned(),
            description: String::new(),
            credentials: json!({}),
            managed: true,
            least_privilege: String::new(),
            asset_types: Vec::new(),
            actions,
        };
        Catalog {
            connectors: vec![
                connector(
                    "postgres",
                    "PostgreSQL",
                    vec![
                        action("postgres.unlock_user", "Unlock a role", "Allows signing in."),
                        action("postgres.lock_user", "Lock a role", "Forbids signing in."),
                    ],
                ),
                connector(
                    "host",
                    "Host",
                    vec![action("host.set_sysctl", "Set a kernel setting", "")],
                ),
            ],
        }
    }

    fn ids(query: &str) -> Vec<String> {
        actions(&catalog(), &[], query).iter().map(|offer| offer.action.id.clone()).collect()
    }

    #[test]
    fn a_title_that_starts_so_wins() {
        assert_eq!(ids("lock"), ["postgres.lock_user", "postgres.unlock_user"]);
    }

    #[test]
    fn all_words_have_to_occur() {
        assert_eq!(ids("post unlock"), ["postgres.unlock_user"]);
        assert_eq!(ids("unlock kernel"), Vec::<String>::new());
    }

    #[test]
    fn descriptions_count_least() {
        assert_eq!(ids("forbids"), ["postgres.lock_user"]);
        assert_eq!(ids("sysctl"), ["host.set_sysctl"]);
    }

    #[test]
    fn what_can_be_done_here_comes_first() {
        let catalog = catalog();
        let found = actions(&catalog, &["host"], "");
        let found: Vec<_> = found.iter().map(|it| (&*it.action.id, it.is_ready)).collect();
        let expected = [
            ("host.set_sysctl", true),
            ("postgres.unlock_user", false),
            ("postgres.lock_user", false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_typed_finds_everything() {
        assert_eq!(ids("  ").len(), 3);
    }
}
