//! What this browser remembers between pages. One that forbids storage remembers nothing.

use web_sys::{Storage, window};

fn storage() -> Option<Storage> {
    window()?.local_storage().ok()?
}

pub fn read(key: &str) -> Option<String> {
    storage()?.get_item(key).ok()?
}

/// Remembers a text, or with `None` forgets it.
pub fn write(key: &str, text: Option<&str>) {
    if let Some(storage) = storage() {
        // Throws when the storage is full, which a few lines of ours cannot help.
        let _ = match text {
            Some(text) => storage.set_item(key, text),
            None => storage.remove_item(key),
        };
    }
}
