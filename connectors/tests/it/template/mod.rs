//! Connector `template`, against a stand-in for a value server.

pub mod connector;
mod peer;

use crate::suite::severed;
use peer::Server;

crate::suite::conform! {
    contract Server:
    set_value => "template.set_value",
}

#[test]
fn every_registered_action_has_a_case() {
    crate::suite::covers::<Server>(&["template.set_value"]);
}

/// Whatever the connector says of an effect whose line was cut is true.
#[tokio::test]
async fn contract_the_line_is_cut() {
    let [unknown_done, _, definite] = severed::<Server>("template.set_value").await;
    assert!(unknown_done >= 1 && definite >= 1);
}
