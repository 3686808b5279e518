//! Lists, bounded while they are read: one that is longer is an error, never a part of it.

/// Things of one list, at most.
pub const MOST: usize = 50_000;
/// Pages of one list, at most: a list that never ends is an error.
pub const MOST_PAGES: usize = 200;

/// Everything on every page of a paginator of AWS's own clients, or a [`super::error::Failure`] of `$call`: when a page
/// fails, or when there are more than [`MOST`]. A macro, because the type of their streams is in none of their crates.
macro_rules! gather {
    ($call:expr, $paginator:expr) => {{
        let mut items = $paginator.items().send();
        let mut all = Vec::new();
        loop {
            match items.next().await {
                None => break Ok(all),
                Some(Err(error)) => break Err($crate::aws::error::Failure::of($call, error)),
                Some(Ok(item)) => all.push(item),
            }
            if all.len() > $crate::aws::list::MOST {
                break Err($crate::aws::error::Failure::too_long($call));
            }
        }
    }};
}
pub(super) use gather;
