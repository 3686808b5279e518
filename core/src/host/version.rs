//! Versions of agents, compared.

/// Whether a version is older than another one: by the numbers before `-` and `+`, of which absent ones are 0. What
/// is no version is never older.
pub fn is_older(version: &str, than: &str) -> bool {
    match (numbers(version), numbers(than)) {
        (Some(version), Some(than)) => version < than,
        _ => false,
    }
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = [0; 3];
    let mut parts = core.split('.');
    for (number, part) in numbers.iter_mut().zip(parts.by_ref()) {
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, than) in [("0.9.0", "0.10.0"), ("1.2.3-rc.1", "1.2.4"), ("1", "1.0.1")] {
            assert!(is_older(version, than) && !is_older(than, version), "{version} {than}");
        }
        for (version, than) in
            [("1.0.0", "1.0.0"), ("1.0.0+a", "1.0.0"), ("mine", "1.0.0"), ("", "1.0.0")]
        {
            assert!(!is_older(version, than), "{version} {than}");
        }
        assert!(!is_older("0.1.0", "1.2.3.4"));
    }
}
