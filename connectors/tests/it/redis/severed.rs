//! The line to the server is cut in the middle of an effect.

use super::bench::Bench;
use crate::suite::severed;

#[tokio::test]
async fn real_crash_of_the_line_while_rotating() {
    let [unknown_done, unknown_not_done, definite] =
        severed::<Bench>("redis.rotate_auth_password").await;
    assert!(definite >= 1, "only {definite} definite answers");
    assert!(unknown_done >= 1, "no cut came after the old password was gone");
    assert!(unknown_not_done >= 1, "no cut came before the new one was there");
}

#[tokio::test]
async fn real_crash_of_the_line_while_locking() {
    let [unknown_done, unknown_not_done, definite] = severed::<Bench>("redis.lock_user").await;
    assert!(definite >= 1 && unknown_done >= 1 && unknown_not_done >= 1);
}
