//! One directive of the SSH server, in a file of our own.
//!
//! A directive that any other file sets is somebody's decision and stays. What says who may sign in,
//! and from where, is not among the directives.

use serde::Deserialize;

use crate::host::{CONTENT_LIMIT, Host, HostError, HostPath};

/// The only directives that an item may be about.
const KEYWORDS: [&str; 12] = [
    "Banner",
    "ClientAliveCountMax",
    "ClientAliveInterval",
    "HostbasedAuthentication",
    "IgnoreRhosts",
    "LogLevel",
    "LoginGraceTime",
    "MaxAuthTries",
    "MaxSessions",
    "MaxStartups",
    "PermitEmptyPasswords",
    "PermitUserEnvironment",
];
pub const DIRECTORY: &str = "/etc/ssh/sshd_config.d";
const MAIN: &str = "/etc/ssh/sshd_config";
const INCLUDED: &str = "/etc/ssh/sshd_config.d/*.conf";
const OURS: &str = "60-nexplane-";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sshd {
    pub keyword: String,
    value: String,
}

impl Sshd {
    /// # Errors
    /// What is wrong with the data.
    pub fn check(&self) -> Result<(), String> {
        if !KEYWORDS.contains(&self.keyword.as_str()) {
            return Err(format!("{} is not for an item", self.keyword));
        }
        let good = !self.value.is_empty() && self.value.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(()) } else { Err("a directive's value is one printable word".to_owned()) }
    }

    pub fn text(&self) -> String {
        format!("{} {}\n", self.keyword, self.value)
    }

    pub fn main_file() -> HostPath {
        path(MAIN)
    }

    /// Why a file of our own would not count, or would go over somebody's word.
    pub fn hindrance(&self, host: &dyn Host) -> Result<Option<String>, HostError> {
        let Some(main) = text(host, &path(MAIN))? else {
            return Ok(Some(format!("there is no {MAIN}")));
        };
        let is_included = directives(&main)
            .take_while(|(keyword, _)| !keyword.eq_ignore_ascii_case("match"))
            .any(|(keyword, rest)| {
                keyword.eq_ignore_ascii_case("include")
                    && rest.split_ascii_whitespace().any(|file| file == INCLUDED)
            });
        if !is_included {
            return Ok(Some(format!("{MAIN} does not include {INCLUDED}")));
        }
        let mut files = vec![(path(MAIN), main)];
        for name in host.list(&path(DIRECTORY))? {
            if name.strip_suffix(".conf").is_some() && !name.starts_with(OURS) {
                let file = path(&format!("{DIRECTORY}/{name}"));
                if let Some(text) = text(host, &file)? {
                    files.push((file, text));
                }
            }
        }
        Ok(files.iter().find_map(|(file, text)| {
            let (_, value) = directives(text)
                .find(|(keyword, _)| keyword.eq_ignore_ascii_case(&self.keyword))?;
            Some(format!("{file} sets {} to {value}, and that stays", self.keyword))
        }))
    }
}

fn directives(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (keyword, rest) = line.split_once(|c: char| c.is_ascii_whitespace() || c == '=')?;
        Some((keyword, rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '=')))
    })
}

fn text(host: &dyn Host, path: &HostPath) -> Result<Option<String>, HostError> {
    let view = host.read(path, CONTENT_LIMIT)?;
    Ok(view.map(|view| String::from_utf8_lossy(&view.content).into_owned()))
}

fn path(text: &str) -> HostPath {
    text.parse().expect("the path is normal and absolute")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{FakeHost, Mode};

    #[test]
    fn a_word_of_somebody_else_stays() {
        let tries = Sshd { keyword: "MaxAuthTries".into(), value: "4".into() };
        let host = FakeHost::new();
        let put = |file: &str, text: &str| {
            host.put_file(&path(file), text.as_bytes(), Mode::from_bits(0o600));
        };
        let hindrance = || tries.hindrance(&host).unwrap();
        assert!(hindrance().unwrap().contains("there is no"));
        put(MAIN, "Match User x\nInclude /etc/ssh/sshd_config.d/*.conf\n");
        assert!(hindrance().unwrap().contains("does not include"));
        put(
            MAIN,
            "#MaxAuthTries 6\n include\t/etc/a /etc/ssh/sshd_config.d/*.conf\nMaxSessions 3\n",
        );
        assert_eq!(hindrance(), None);
        put("/etc/ssh/sshd_config.d/60-nexplane-ssh-maxauthtries.conf", "MaxAuthTries 4\n");
        put("/etc/ssh/sshd_config.d/note.txt", "MaxAuthTries 9\n");
        assert_eq!(hindrance(), None);
        put("/etc/ssh/sshd_config.d/90-own.conf", "Match User y\n  maxauthtries = 2\n");
        assert!(hindrance().unwrap().contains("90-own.conf sets MaxAuthTries to 2"));
    }

    #[test]
    fn who_may_sign_in_is_not_for_an_item() {
        for keyword in ["PermitRootLogin", "PasswordAuthentication", "AllowUsers", "Port", "UsePAM"]
        {
            assert!(Sshd { keyword: keyword.into(), value: "no".into() }.check().is_err());
        }
    }
}
