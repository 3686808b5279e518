//! The policy on the connector's page is what the connector needs, no less and no more.

use std::collections::BTreeSet;

use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/connectors/aws.md");

#[test]
fn the_policy_on_the_page_has_exactly_what_the_catalog_names() {
    let (_, rest) = PAGE.split_once("```json\n").expect("a policy");
    let policy: Value = serde_json::from_str(rest.split_once("```").unwrap().0).expect("JSON");
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        for call in statement["Action"].as_array().unwrap() {
            assert!(allowed.insert(call.as_str().unwrap().to_owned()), "{call} twice");
        }
    }
    let needed: BTreeSet<_> = nexplane_connectors::aws::needs().into_keys().collect();
    assert_eq!(allowed, needed, "the page on the left, the connector on the right");
}
