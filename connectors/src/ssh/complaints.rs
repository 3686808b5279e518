//! What a command complains of: how much of it is kept, and what can be believed of it.

use std::collections::VecDeque;

/// Bytes that are kept from the beginning, and from the end: what went wrong stands at one of the two.
const HEAD: usize = 1024;
const TAIL: usize = 3072;
/// Stands for the rest.
const CUT: &str = "[…]";

/// sudo's own words when it does not start a program (`sudo(8)`, `plugins/sudoers/logging.c`), with `LC_ALL=C`.
const REFUSALS: [&str; 4] = [
    "a password is required",
    "is not allowed to",
    "may not run sudo",
    "is not in the sudoers file",
];
/// How lines begin that dpkg prints once it changes something.
const BEGINNINGS: [&str; 6] = [
    "Preparing to unpack ",
    "Processing triggers ",
    "Purging ",
    "Removing ",
    "Setting up ",
    "Unpacking ",
];

/// The beginning and the end of a text.
#[derive(Debug, Default)]
pub struct Complaints {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    is_cut: bool,
}

impl Complaints {
    pub fn add(&mut self, data: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len()).min(data.len());
        let (first, rest) = data.split_at(room);
        self.head.extend(first);
        self.tail.extend(rest);
        let most = self.tail.len().saturating_sub(TAIL);
        self.is_cut |= most > 0;
        self.tail.drain(..most);
    }

    /// Whole lines where something is left out: a part of an address could not be told from other text, and may
    /// be a part of what opens it.
    pub fn text(mut self) -> String {
        let tail = self.tail.make_contiguous();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !self.is_cut {
            return text(&[self.head.as_slice(), tail].concat());
        }
        let (head, tail) = (text(&self.head), text(tail));
        let head = head.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let tail = tail.split_once('\n').map_or("", |(_, lines)| lines);
        format!("{head}\n{CUT}\n{tail}")
    }
}

/// Whether it is sudo that said no, before anything was started. It may warn of something first.
pub fn is_refusal(errors: &str) -> bool {
    let is_no = |line: &str| REFUSALS.iter().any(|text| line.contains(text));
    let first = errors.lines().find(|line| is_no(line) || !line.starts_with("sudo: "));
    first.is_some_and(is_no)
}

/// Whether apt or dpkg says that somebody else has a lock, and did nothing.
pub fn is_locked(errors: &str) -> bool {
    let of_apt = ["Could not get lock", "Unable to acquire the dpkg frontend lock"];
    is_before_anything(errors)
        && lines(errors).any(|line| match line.strip_prefix("E: ") {
            Some(said) => of_apt.iter().any(|text| said.starts_with(text)),
            None => line.starts_with("dpkg: error: ") && line.contains("locked by another process"),
        })
}

/// Whether dpkg did not remove anything because others need it.
pub fn is_needed(errors: &str) -> bool {
    is_before_anything(errors)
        && lines(errors).any(|line| line == "dependency problems - not removing")
}

/// Whether all of it is there, and dpkg had not begun.
fn is_before_anything(errors: &str) -> bool {
    let has_begun = |line: &str| {
        BEGINNINGS.iter().any(|text| line.starts_with(text)) || line.contains("Sub-process")
    };
    !lines(errors).any(|line| line == CUT || has_begun(line))
}

/// apt goes back to the beginning of a line while it waits.
fn lines(errors: &str) -> impl Iterator<Item = &str> {
    errors.split(['\n', '\r']).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: &str = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (perl)\n\
                          E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend)\n";

    fn kept(pieces: &[&str]) -> String {
        let mut complaints = Complaints::default();
        for piece in pieces {
            complaints.add(piece.as_bytes());
        }
        complaints.text()
    }

    #[test]
    fn the_beginning_and_the_end_are_kept_in_whole_lines() {
        assert_eq!(kept(&["a\n", "", "b"]), "a\nb");
        let exactly = "x".repeat(HEAD + TAIL);
        assert_eq!(kept(&[&exactly]), exactly);
        let lines = (0..2000).map(|no| format!("line {no}")).collect::<Vec<_>>().join("\n") + "\n";
        for pieces in [vec![lines.as_str()], lines.split_inclusive('\n').collect()] {
            let text = kept(&pieces);
            assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("line 1999\n"));
            assert!(text.len() <= HEAD + TAIL + CUT.len() + 2, "{}", text.len());
            let whole = |line: &str| line == CUT || lines.contains(&format!("{line}\n"));
            assert!(text.lines().all(whole), "{text}");
        }
        // What is left of one endless line could be the half of a password.
        assert_eq!(kept(&[&"s".repeat(9000)]), format!("\n{CUT}\n"));
    }

    #[test]
    fn only_what_sudo_says_is_its_refusal() {
        for no in [
            "sudo: a password is required\n",
            "sudo: unable to resolve host x: Name or service not known\nsudo: a password is required\n",
            "Sorry, user a is not allowed to execute '/usr/bin/chmod' as root on host.\n",
            "Sorry, user a may not run sudo on host.\n",
            "a is not in the sudoers file.\n",
        ] {
            assert!(is_refusal(no), "{no}");
        }
        for other in [
            "",
            "sudo: unable to resolve host x: Name or service not known\n",
            "sudo: unable to resolve host x\nJob for nx.service failed.\n",
            "Removing nx ...\nsudo: a password is required\n",
        ] {
            assert!(!is_refusal(other), "{other}");
        }
    }

    #[test]
    fn a_lock_is_believed_only_before_anything_began() {
        assert!(is_locked(LOCKED));
        assert!(is_locked(&format!("Waiting for cache lock: Could not get lock x\r{LOCKED}")));
        let of_dpkg = "dpkg: error: dpkg frontend lock was locked by another process with pid 7\n";
        assert!(is_locked(of_dpkg));
        for began in
            ["Unpacking nx (1.0) ...", "Setting up nx (1.0) ...", "Removing nx (1.0) ...", CUT]
        {
            assert!(!is_locked(&format!("{began}\n{LOCKED}")), "{began}");
        }
        assert!(!is_locked(&format!(
            "{LOCKED}E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
        )));
        // A program of a package said it, or apt while it waits.
        assert!(!is_locked("nx: Could not get lock /run/nx\n"));
        assert!(!is_locked(
            "Waiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend\nE: other\n"
        ));
    }

    #[test]
    fn what_others_need_is_left_alone_by_dpkg() {
        let said = "dpkg: dependency problems prevent removal of nx-lib:\n nx-app depends on nx-lib.\n\n\
                    dpkg: error processing package nx-lib (--remove):\n dependency problems - not removing\n";
        assert!(is_needed(said));
        assert!(!is_needed(&format!("Removing nx-app (1.0) ...\n{said}")));
        assert!(!is_needed("dpkg: error processing package nx-lib (--remove):\n"));
    }
}
