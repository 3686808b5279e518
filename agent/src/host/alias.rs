//! Names on file systems that take different names for the same: those of macOS and Windows.
//!
//! What must not be reached is denied by name, so a name that is another one's alias has to be seen as
//! that one, or refused.

/// The name as these file systems compare it: without a difference of case, in whichever script.
pub(super) fn folded(name: &str) -> String {
    // Twice, because some letters have a partner in one direction only: ſ, ı, K (the Kelvin sign).
    name.to_uppercase().to_lowercase()
}

/// Why a path cannot be told from another one.
pub(super) fn refused(path: &str) -> Option<&'static str> {
    let invisible = |c: char| {
        matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
    };
    path.chars().any(invisible).then_some("it has a character that nobody sees")
}

/// Why Windows would take a component of a path for something else than a file of that name: "Naming Files,
/// Paths, and Namespaces" of its documentation.
#[cfg(any(windows, test))]
pub(super) fn refused_by_windows(component: &str) -> Option<&'static str> {
    let short = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    if component.contains(['<', '>', ':', '"', '|', '?', '*', '\\']) {
        return Some("it has a character that no name has on Windows");
    }
    if component.ends_with(['.', ' ']) {
        return Some("a part of it ends in '.' or ' ', which Windows leaves out");
    }
    if component.split('~').skip(1).any(short) {
        return Some("a part of it may be the short name of another: give the long one");
    }
    let stem = component.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |device: &str| {
        let number = stem.strip_prefix(device).map(|rest| rest.chars().collect::<Vec<_>>());
        matches!(number.as_deref(), Some(['0'..='9' | '¹' | '²' | '³']))
    };
    let device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str());
    (device || numbered("COM") || numbered("LPT")).then_some("a part of it is the name of a device")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_other_letters_is_the_same_name() {
        for alias in ["SUDOERS", "ſudoerſ", "Sudoers"] {
            assert_eq!(folded(alias), "sudoers", "{alias}");
        }
        assert_eq!(folded("authorized_\u{212a}eys"), "authorized_keys");
        assert_ne!(folded("sudoer"), "sudoers");
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        assert!(refused("/etc/sudo\u{200c}ers").is_some());
        assert!(refused("/etc/Überblick ñ 日本").is_none());
    }

    #[test]
    fn windows_names_of_something_else_are_refused() {
        for wrong in [
            "a:b", "a\\b", "x.", "x ", "PROGRA~1", "a~2.txt", "con", "NUL.txt", "com1", "LPT9.log",
            "lpt².x", "CONOUT$", "a*b", "aux .txt",
        ] {
            assert!(refused_by_windows(wrong).is_some(), "{wrong}");
        }
        for right in ["a.txt", "~", "a~b", "console", "com", "com10", "nul1", ".x", "Ü b"] {
            assert_eq!(refused_by_windows(right), None, "{right}");
        }
    }
}
