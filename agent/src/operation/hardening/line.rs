//! One key of a file that has a key on each line, where there is no directory for files of our own.
//!
//! Everything else in the file stays as it is, to the byte. In a file with sections a key counts in its own
//! section only, and is set there; the section is made if there is none.

use serde::Deserialize;

use crate::host::{Access, CONTENT_LIMIT, FileView, Host, HostError, HostPath};

/// Above a section that is made, so that it goes again with the last key that was set in it.
const MADE: &str = "# Section made by the Nexplane agent: host.run_hardening_profile.";

/// A key of such a file, with the value that it should have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub path: HostPath,
    /// The section that the key is in, in a file that has sections.
    section: Option<String>,
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
        if self.section.as_ref().is_some_and(|name| !good(name) || name.contains(['[', ']'])) {
            return Err("a section is one printable word, without its brackets".to_owned());
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

    /// What the item is about: no two are about the same.
    pub fn mark(&self) -> String {
        let section = self.section.as_deref().unwrap_or_default();
        format!("line {} [{section}] {}", self.path, self.key)
    }

    /// The lines that are about the key, as they are.
    pub fn read(&self, host: &dyn Host) -> Result<Vec<String>, HostError> {
        Ok(self.found(&self.open(host)?.1))
    }

    fn found(&self, text: &str) -> Vec<String> {
        let lines = self.parts(text).into_iter().filter(|(_, part)| *part == Part::Key);
        lines.map(|(line, _)| line.to_owned()).collect()
    }

    /// The lines of a file, with what each is for the key.
    fn parts<'a>(&self, text: &'a str) -> Vec<(&'a str, Part)> {
        let mut is_within = self.section.is_none();
        let parts = text.split('\n').map(|line| {
            if let (Some(section), Some(name)) = (&self.section, header(line)) {
                is_within = name == section;
            }
            let part = match (is_within, self.value(line)) {
                (true, Some(_)) => Part::Key,
                (true, None) => Part::Beside,
                (false, _) => Part::Elsewhere,
            };
            (line, part)
        });
        parts.collect()
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
        let mut lines: Vec<&str> = Vec::new();
        // Behind the last line of the section that is not empty, if there is the section.
        let mut end = None;
        for (line, part) in self.parts(text) {
            if part == Part::Key {
                let Some(new) = new.next() else { continue };
                lines.push(new);
            } else {
                lines.push(line);
            }
            let is_within = part != Part::Elsewhere && self.section.is_some();
            if is_within && !line.trim().is_empty() && line != MADE {
                end = Some(lines.len());
            }
        }
        let new: Vec<&str> = new.collect();
        let made = self.section.as_ref().filter(|_| end.is_none() && !new.is_empty());
        let made = made.map(|name| format!("[{name}]"));
        let made = made.as_deref().map(|header| [MADE, header]);
        // What follows the last line end is empty when the file ends with one.
        let end = end.unwrap_or(lines.len() - usize::from(lines.last() == Some(&"")));
        lines.splice(end..end, made.into_iter().flatten().chain(new));
        if to.is_empty()
            && let Some(at) = self.made_in_vain(&lines)
        {
            lines.drain(at..at + 2);
        }
        lines.join("\n")
    }

    /// Where a section begins that was made for items like this one, and has nothing in it any more.
    fn made_in_vain(&self, lines: &[&str]) -> Option<usize> {
        let begins = |pair: &[&str]| matches!(pair, [MADE, line] if header(line).is_some() && header(line) == self.section.as_deref());
        let is_empty = |from: usize| {
            let mut within = lines.iter().skip(from).take_while(|line| header(line).is_none());
            within.all(|line| line.trim().is_empty() || *line == MADE)
        };
        lines
            .windows(2)
            .enumerate()
            .find_map(|(at, pair)| (begins(pair) && is_empty(at + 2)).then_some(at))
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

/// What a line of a file is for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Key,
    /// Another line where the key counts.
    Beside,
    /// Where it does not count.
    Elsewhere,
}

/// The name of the section that a line begins.
fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']')
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
    fn a_key_counts_in_its_section_only_and_is_set_there() {
        let storage = line(
            "path = '/x'\nsection = 'Journal'\nkey = 'Storage'\nvalue = 'none'\nstyle = 'equals'",
        );
        for (before, between) in [
            // Of another section, or of none: not this key.
            ("[Other]\nStorage=none\n", "[Other]\nStorage=none\n# M\n[Journal]\nStorage=none\n"),
            ("Storage=none\n[Journal]\n", "Storage=none\n[Journal]\nStorage=none\n"),
            (
                "# x\n[Journal]\n#Storage=auto\n\n[Other]\nStorage=full\n",
                "# x\n[Journal]\n#Storage=auto\nStorage=none\n\n[Other]\nStorage=full\n",
            ),
            (
                " [Journal] \nStorage = auto\nA=b\n[Other]\nStorage=auto",
                " [Journal] \nStorage=none\nA=b\n[Other]\nStorage=auto",
            ),
            // A section may be there twice, and then both count.
            (
                "[Journal]\nStorage=a\n[B]\n[Journal]\nStorage=b\n",
                "[Journal]\nStorage=none\n[B]\n[Journal]\nStorage=none\n",
            ),
            ("[Journal]\n[B]\n[Journal]", "[Journal]\n[B]\n[Journal]\nStorage=none"),
            ("[Journal]\nStorage=none", "[Journal]\nStorage=none"),
            ("", "# M\n[Journal]\nStorage=none\n"),
            ("[Journals]\nx", "[Journals]\nx\n# M\n[Journal]\nStorage=none"),
        ] {
            let found = storage.found(before);
            let intended = storage.intended(&found);
            let after = storage.edit(before, &intended);
            assert_eq!(after, between.replace("# M", MADE));
            assert_eq!(storage.found(&after), intended);
            assert_eq!(storage.edit(&after, &found), before);
        }
        for bad in ["", "a b", "[x]"] {
            let wrong = Line { section: Some(bad.to_owned()), ..storage.clone() };
            assert!(wrong.check().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_section_that_was_made_goes_with_the_last_key_that_was_set_in_it() {
        let keys = ["A", "B"].map(|key| {
            line(&format!(
                "path = '/x'\nsection = 'S'\nkey = '{key}'\nvalue = '1'\nstyle = 'equals'"
            ))
        });
        let other = line("path = '/x'\nsection = 'T'\nkey = 'A'\nvalue = '1'\nstyle = 'equals'");
        let items = [&keys[0], &other, &keys[1]];
        let made = items.iter().fold("# x\n".to_owned(), |text, item| {
            item.edit(&text, &item.intended(&item.found(&text)))
        });
        assert_eq!(made, format!("# x\n{MADE}\n[S]\nA=1\nB=1\n{MADE}\n[T]\nA=1\n"));
        let gone = |items: &[&Line], text: String| {
            items.iter().fold(text, |text, item| item.edit(&text, &[]))
        };
        assert_eq!(gone(&items, made.clone()), "# x\n");
        assert_eq!(gone(&[&other, &keys[1], &keys[0]], made.clone()), "# x\n");
        // What somebody else put there stays where it is.
        let theirs = made.replace("B=1", "B=1\nC=2");
        assert_eq!(gone(&items, theirs), format!("# x\n{MADE}\n[S]\nC=2\n"));
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
