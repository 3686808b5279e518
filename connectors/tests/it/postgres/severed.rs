//! The line to the server is cut in the middle of a transaction.

use super::bench::Bench;
use crate::suite::severed;

async fn of(id: &str) {
    let [unknown_done, unknown_not_done, definite] = severed::<Bench>(id).await;
    assert!(definite >= 10, "only {definite} definite answers");
    assert!(unknown_done >= 1, "no cut hit the answer of COMMIT");
    assert!(unknown_not_done >= 1, "no cut hit COMMIT itself");
}

#[tokio::test]
async fn real_crash_of_the_line_while_locking() {
    of("postgres.lock_user").await;
}

#[tokio::test]
async fn real_crash_of_the_line_while_rotating() {
    of("postgres.rotate_user_password").await;
}
