//! Whether sudo would ask for a password.
//!
//! `sudo -l <command>` says whether a command is allowed, with a password or without; `sudo -v` passes only when no
//! rule of the account asks for one (`sudoers(5)`, `verifypw`). So the list of rules is read, in the one form that
//! `sudo -l` has. The last rule that fits counts, and where it cannot be told which one that is, that is said.

/// Whether a command that is allowed needs a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    NotAsked,
    Asked,
    /// Rules that may or may not fit say different things.
    Unknown,
}

/// Where the rules begin in what `sudo -l` prints.
const BEGIN: &str = " may run the following commands on ";
const DEFAULTS: &str = "Matching Defaults entries for ";

/// How a rule stands to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    Maybe,
}

/// What the rules that `sudo -l` printed say of this program with these arguments, as root.
pub fn password(said: &str, program: &str, arguments: &[String]) -> Password {
    let arguments = arguments.join(" ");
    let (head, rules) = said.split_once(BEGIN).unwrap_or((said, ""));
    let is_free = head.split_once(DEFAULTS).is_some_and(|(_, text)| {
        let mut options = text.split(|c: char| c == ',' || c.is_whitespace());
        options.any(|option| option == "!authenticate")
    });
    let by_default = if is_free { Password::NotAsked } else { Password::Asked };
    let mut verdict = None;
    for rule in rules.lines().skip(1) {
        let Some((who, commands)) =
            rule.trim_start().strip_prefix('(').and_then(|rest| rest.split_once(')'))
        else {
            continue;
        };
        if !is_for_root(who) {
            continue;
        }
        // A tag holds for the rest of its line.
        let mut tag = by_default;
        for word in words(commands) {
            let mut command = word.trim();
            while let Some((first, rest)) = command.split_once(": ").filter(|(it, _)| is_tag(it)) {
                match first {
                    "NOPASSWD" => tag = Password::NotAsked,
                    "PASSWD" => tag = Password::Asked,
                    _another => {}
                }
                command = rest.trim_start();
            }
            verdict = match fit(command, program, &arguments) {
                Fit::No => verdict,
                Fit::Yes => Some(tag),
                Fit::Maybe if verdict == Some(tag) => verdict,
                Fit::Maybe => Some(Password::Unknown),
            };
        }
    }
    verdict.unwrap_or(Password::Unknown)
}

/// Parts between commas that no backslash is before.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |c| {
        let ends = c == ',' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })
}

fn is_tag(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Users, and maybe groups after a colon.
fn is_for_root(who: &str) -> bool {
    let users = who.split(':').next().unwrap_or_default();
    users.split(',').any(|user| ["root", "ALL", "#0"].contains(&user.trim()))
}

fn fit(rule: &str, program: &str, arguments: &str) -> Fit {
    if rule == "ALL" {
        return Fit::Yes;
    }
    let rule: String = rule.chars().filter(|c| *c != '\\').collect();
    let (path, rest) = rule.split_once(' ').map_or((rule.as_str(), None), |(p, r)| (p, Some(r)));
    if path != program {
        let may_be = path.ends_with('/') || path.starts_with('^') || path.contains(['*', '?', '[']);
        // `!` takes a command away, which sudo was asked about already; digests stand before the path.
        return if may_be || path.contains(':') { Fit::Maybe } else { Fit::No };
    }
    match rest {
        None => Fit::Yes,
        Some(r#""""#) => sure(arguments.is_empty()),
        Some(rest) => match rest.strip_suffix('*') {
            Some(beginning) if !is_pattern(beginning) => sure(arguments.starts_with(beginning)),
            None if !is_pattern(rest) => sure(arguments == rest),
            Some(_) | None => Fit::Maybe,
        },
    }
}

fn is_pattern(text: &str) -> bool {
    text.starts_with('^') || text.contains(['*', '?', '['])
}

const fn sure(fits: bool) -> Fit {
    if fits { Fit::Yes } else { Fit::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rules: &str) -> String {
        format!(
            "Matching Defaults entries for me on host:\n    env_reset, secure_path=/usr/sbin\\:/usr/bin, use_pty\n\n\
             User me may run the following commands on host:\n{rules}\n"
        )
    }

    fn of(rules: &str, program: &str, arguments: &[&str]) -> Password {
        let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
        password(&said(rules), program, &arguments)
    }

    #[test]
    fn the_last_rule_that_fits_counts() {
        use Password::{Asked, NotAsked, Unknown};
        let mixed = "    (root) /usr/bin/stat, NOPASSWD: /usr/bin/chown, PASSWD: /usr/bin/chmod";
        assert_eq!(of(mixed, "/usr/bin/stat", &["x"]), Asked);
        assert_eq!(of(mixed, "/usr/bin/chown", &["x"]), NotAsked);
        assert_eq!(of(mixed, "/usr/bin/chmod", &["x"]), Asked);
        let all = "    (root) NOPASSWD: /usr/bin/stat\n    (ALL : ALL) ALL";
        assert_eq!(of(all, "/usr/bin/stat", &["x"]), Asked);
        let all = "    (ALL : ALL) ALL\n    (root) NOPASSWD: SETENV: /usr/bin/stat";
        assert_eq!(of(all, "/usr/bin/stat", &["x"]), NotAsked);
        assert_eq!(of(all, "/usr/bin/chmod", &["x"]), Asked);
        assert_eq!(of("    (www-data) NOPASSWD: ALL", "/usr/bin/stat", &[]), Unknown);
        assert_eq!(of("", "/usr/bin/stat", &[]), Unknown);
        let mut free = said("    (root) /usr/bin/stat");
        assert_eq!(password(&free, "/usr/bin/stat", &[]), Asked);
        free = free.replace("use_pty", "!authenticate");
        assert_eq!(password(&free, "/usr/bin/stat", &[]), NotAsked);
    }

    #[test]
    fn arguments_tell_rules_apart_and_what_cannot_be_told_is_unknown() {
        use Password::{Asked, NotAsked, Unknown};
        let rules = "    (ALL) ALL\n    (root) NOPASSWD: /usr/sbin/chpasswd --encrypted, \
                     /usr/bin/env DEBIAN_FRONTEND\\=noninteractive /usr/bin/apt-get *, /usr/bin/id \"\"";
        assert_eq!(of(rules, "/usr/sbin/chpasswd", &["--encrypted"]), NotAsked);
        assert_eq!(of(rules, "/usr/sbin/chpasswd", &[]), Asked);
        let apt = ["DEBIAN_FRONTEND=noninteractive", "/usr/bin/apt-get", "-q"];
        assert_eq!(of(rules, "/usr/bin/env", &apt), NotAsked);
        assert_eq!(of(rules, "/usr/bin/env", &["id"]), Asked);
        assert_eq!(of(rules, "/usr/bin/id", &[]), NotAsked);
        for rule in ["/usr/bin/", "/usr/bin/st*", "/usr/bin/stat *x", "/usr/bin/stat ^x$"] {
            let rules = format!("    (ALL) ALL\n    (root) NOPASSWD: {rule}");
            assert_eq!(of(&rules, "/usr/bin/stat", &["x"]), Unknown, "{rule}");
            // All that could fit say the same.
            assert_eq!(
                of(&rules.replace("(ALL) ALL", "(ALL) NOPASSWD: ALL"), "/usr/bin/stat", &["x"]),
                NotAsked
            );
        }
    }
}
