//! One key of a file that has a key on each line, where there is no directory for files of our own.
//!
//! Everything else in the file stays as it is, to the byte.

use serde::Deserialize;

use crate::host::{Access, CONTENT_LIMIT, FileView, Host, HostError, HostPath};

/// A key of such a file, with the value that it should have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub path: HostPath,
    pub key: String,
    pub value: String,
    style: Style,
    /// Other values that are as good.
    #[serde(default)]
    or: Vec<String>,
    at_least: Option<i64>,
    at_most: Option<i64>,
}

/// How the file writes it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Style {
    /// `KEY value`
    Spaced,
    /// `Key=value`
    Equals,
    /// `key = value`
    SpacedEquals,
}

impl Line {
    /// # Errors
    /// What is wrong with the data.
    pub fn check(&self) -> Result<(), String> {
        let good =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !good(&self.key) || !good(&self.value) || self.key.contains(['=', '#', ';']) {
            return Err("key and value are one printable word each".to_owned());
        }
        if self.accepts(&self.value) {
            Ok(())
        } else {
            Err("the value is out of bounds".to_owned())
        }
    }

    fn accepts(&self, value: &str) -> bool {
        if value == self.value || self.or.iter().any(|other| other == value) {
            return self.value != value || self.within(value) != Some(false);
        }
        self.within(value) == Some(true)
    }

    /// Whether it is within the bounds; `None` when there are none.
    fn within(&self, value: &str) -> Option<bool> {
        if self.at_least.is_none() && self.at_most.is_none() {
            return None;
        }
        let number = value.parse::<i64>().ok();
        Some(number.is_some_and(|number| {
            self.at_least.is_none_or(|least| least <= number)
                && self.at_most.is_none_or(|most| number <= most)
        }))
    }

    fn text(&self) -> String {
        let Self { key, value, style, .. } = self;
        match style {
            Style::Spaced => format!("{key} {value}"),
            Style::Equals => format!("{key}={value}"),
            Style::SpacedEquals => format!("{key} = {value}"),
        }
    }

    /// The value that a line gives the key; `None` for comments and other keys.
    fn value<'a>(&self, line: &'a str) -> Option<&'a str> {
        let line = line.trim();
        let (key, value) = match self.style {
            Style::Spaced => line.split_once([' ', '\t'])?,
            Style::Equals | Style::SpacedEquals => line.split_once('=')?,
        };
        (key.trim_end() == self.key).then(|| value.trim())
    }

    /// The lines that are about the key, as they are.
    pub fn read(&self, host: &dyn Host) -> Result<Vec<String>, HostError> {
        Ok(self.found(&self.open(host)?.1))
    }

    fn found(&self, text: &str) -> Vec<String> {
        let lines = text.split('\n').filter(|line| self.value(line).is_some());
        lines.map(ToOwned::to_owned).collect()
    }

    pub fn intended(&self, before: &[String]) -> Vec<String> {
        let good = |line: &String| self.value(line).is_some_and(|value| self.accepts(value));
        if !before.is_empty() && before.iter().all(good) {
            return before.to_vec();
        }
        vec![self.text(); before.len().max(1)]
    }

    /// Gives the file these lines in place of those that are about the key.
    pub fn bring(&self, host: &dyn Host, to: &[String]) -> Result<(), HostError> {
        host.may_touch(&self.path, Access::Content)?;
        host.discard_leftovers(&self.path)?;
        let (view, text) = self.open(host)?;
        if self.found(&text) == to {
            return Ok(());
        }
        let FileView { meta, .. } = &view;
        host.write(&self.path, Some(meta), self.edit(&text, to).as_bytes(), meta.mode, meta.ids)
    }

    fn edit(&self, text: &str, to: &[String]) -> String {
        let mut new = to.iter().map(String::as_str);
        let mut lines: Vec<&str> = text
            .split('\n')
            .filter_map(|line| if self.value(line).is_some() { new.next() } else { Some(line) })
            .collect();
        for line in new {
            // What follows the last line end is empty when the file ends with one.
            let end = lines.len() - usize::from(lines.last() == Some(&""));
            lines.insert(end, line);
        }
        lines.join("\n")
    }

    fn open(&self, host: &dyn Host) -> Result<(FileView, String), HostError> {
        let path = || self.path.clone();
        let view = host
            .read(&self.path, CONTENT_LIMIT)?
            .ok_or_else(|| HostError::Missing { path: path() })?;
        match String::from_utf8(view.content.clone()) {
            Ok(text) => Ok((view, text)),
            Err(_) => Err(HostError::Unsafe { path: path(), why: "it is not text" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_key_comes_and_goes_and_the_rest_stays_to_the_byte() {
        let days =
            line("path = '/x'\nkey = 'DAYS'\nvalue = '365'\nstyle = 'spaced'\nat_most = 365");
        for (before, between) in [
            ("", "DAYS 365\n"),
            ("#\n", "#\nDAYS 365\n"),
            ("# end", "# end\nDAYS 365"),
            ("a b\n\n\n", "a b\n\n\nDAYS 365\n"),
            ("a\nDAYS\t99999 \nb", "a\nDAYS 365\nb"),
            (
                "\r\n DAYS 1000\r\nDAYS 30\nDAYSX 1\n#DAYS 2",
                "\r\nDAYS 365\nDAYS 365\nDAYSX 1\n#DAYS 2",
            ),
        ] {
            let found = days.found(before);
            let intended = days.intended(&found);
            let after = days.edit(before, &intended);
            assert_eq!(after, between);
            assert_eq!(days.intended(&days.found(&after)), intended);
            assert_eq!(days.edit(&after, &found), before);
        }
    }

    #[test]
    fn what_is_stricter_already_stays() {
        let days =
            line("path = '/x'\nkey = 'DAYS'\nvalue = '365'\nstyle = 'spaced'\nat_most = 365");
        assert_eq!(days.intended(&["DAYS 90".to_owned()]), ["DAYS 90"]);
        assert_eq!(days.intended(&["DAYS never".to_owned()]), ["DAYS 365"]);
        let lock = line(
            "path = '/x'\nkey = 'time'\nvalue = '900'\nstyle = 'spaced_equals'\nat_least = 900\nor = ['0']",
        );
        for (now, then) in
            [("time=0", "time=0"), ("time =1200", "time =1200"), ("time = 9", "time = 900")]
        {
            assert_eq!(lock.intended(&[now.to_owned()]), [then]);
        }
    }
}
