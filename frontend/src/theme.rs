//! Light, dark, or as the system has it; remembered in this browser.

use web_sys::{Storage, window};

/// Also read by `static/theme.js`, before the first paint.
const KEY: &str = "nexplane.theme";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub const fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::System => "System theme",
            Self::Light => "Light theme",
            Self::Dark => "Dark theme",
        }
    }

    const fn attribute(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }
}

fn storage() -> Option<Storage> {
    window()?.local_storage().ok()?
}

pub fn remembered() -> Theme {
    let word = storage().and_then(|storage| storage.get_item(KEY).ok()?);
    match word.as_deref() {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::System,
    }
}

/// Shows the theme and remembers it. A browser that forbids storage forgets it with the page.
pub fn apply(theme: Theme) {
    let root = window().and_then(|window| window.document()?.document_element());
    if let Some(root) = root {
        let _ = match theme.attribute() {
            Some(word) => root.set_attribute("data-theme", word),
            None => root.remove_attribute("data-theme"),
        };
    }
    if let Some(storage) = storage() {
        let _ = match theme.attribute() {
            Some(word) => storage.set_item(KEY, word),
            None => storage.remove_item(KEY),
        };
    }
}
