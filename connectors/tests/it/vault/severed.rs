//! The line to the server is cut in the middle of an effect.

use super::bench::Bench;
use crate::suite::severed;

async fn of(id: &str) {
    let [unknown_done, unknown_not_done, definite] = severed::<Bench>(id).await;
    assert!(definite >= 2, "only {definite} definite answers");
    assert!(unknown_done >= 1, "no cut hit the answer of the write");
    assert!(unknown_not_done >= 1, "no cut hit the write itself");
}

#[tokio::test]
async fn real_crash_of_the_line_while_rotating() {
    of("vault.rotate_kv_secret").await;
}

#[tokio::test]
async fn real_crash_of_the_line_while_updating_a_policy() {
    of("vault.update_policy").await;
}
