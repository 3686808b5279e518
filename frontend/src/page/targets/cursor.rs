//! Which target the keys are at, and keeping it in sight.

use std::ops::Range;

use web_sys::Element;

/// Where a key leads to in a grid of so many, so many beside each other, a page of so many; `None` when it is
/// no key of a grid.
pub fn go(key: &str, at: usize, columns: usize, page: usize, len: usize) -> Option<usize> {
    let last = len.checked_sub(1)?;
    // A line further, as long as there is one.
    let down =
        |by: usize| if at + by <= last { at + by } else { at + (last - at) / columns * columns };
    let up = |by: usize| if at >= by { at - by } else { at % columns };
    Some(match key {
        "ArrowDown" | "j" => down(columns),
        "ArrowUp" | "k" => up(columns),
        "ArrowRight" if columns > 1 => (at + 1).min(last),
        "ArrowLeft" if columns > 1 => at.saturating_sub(1),
        "PageDown" => down(page),
        "PageUp" => up(page),
        "Home" => 0,
        "End" => last,
        _ => return None,
    })
}

/// Scrolls so far that these pixels of what is inside can be seen.
pub fn keep_in_sight(frame: &Element, pixels: Range<i32>) {
    let (top, height) = (frame.scroll_top(), frame.client_height());
    if pixels.start < top {
        frame.set_scroll_top(pixels.start);
    } else if pixels.end > top + height {
        frame.set_scroll_top(pixels.end - height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_places_that_are_there() {
        let row = |key, at| go(key, at, 1, 10, 100);
        assert_eq!((row("j", 0), row("k", 0), row("ArrowDown", 99)), (Some(1), Some(0), Some(99)));
        assert_eq!((row("PageDown", 95), row("PageUp", 5)), (Some(99), Some(0)));
        assert_eq!((row("Home", 50), row("End", 50)), (Some(0), Some(99)));
        assert_eq!((row("ArrowRight", 5), row("x", 5)), (None, None));
        assert_eq!(go("j", 0, 1, 10, 0), None);
        // Columns are kept.
        let cell = |key, at| go(key, at, 10, 50, 95);
        assert_eq!((cell("ArrowDown", 12), cell("ArrowUp", 12)), (Some(22), Some(2)));
        assert_eq!((cell("ArrowDown", 93), cell("ArrowDown", 88)), (Some(93), Some(88)));
        assert_eq!((cell("PageDown", 62), cell("PageUp", 32)), (Some(92), Some(2)));
        assert_eq!((cell("ArrowRight", 94), cell("ArrowLeft", 0)), (Some(94), Some(0)));
    }
}
