//! `dnf(8)` of the fourth major version, as on RHEL 8 and 9.
//!
//! What it would do is asked with `--assumeno`, which prints a table of every package and changes nothing.
//! Nothing but fetching goes beyond the host: all else is asked of dnf's cache (`-C`), which `dnf makecache`
//! fills. It is never told `--assumeyes`, which would also import keys: instead the answer that it takes from
//! nobody is yes (`defaultyes`), and keys it then refuses. Whether signatures are checked is left as the
//! host's owner has it, and so are excluded packages, modules and protected packages. Recommended packages
//! are not installed (`install_weak_deps`), and what nobody needs any more stays
//! (`clean_requirements_on_remove`).
//!
//! The options are those of dnf.conf(5) and dnf(8) of version 4.14. The exit status is 1 for whatever went
//! wrong, a plan that was not carried out among it, and 200 while another one is at work.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::{Known, known, not_understood};
use super::{
    FETCH, Frontend, Kind, QUESTION, Step, TRANSACTION, Task, Word, failed_scripts, not_kept,
    patiently, trouble,
};
use crate::host::HostError;
use crate::host::package::{PackageName, PackageVersion};
use crate::host::program::Output;

/// dnf 4, also beside dnf 5.
pub(in crate::host) const DNF: &str = "/usr/bin/dnf-3";
const CACHE: &str = "/var/cache/dnf";
/// There with the plugin that fixes versions.
const VERSIONLOCK: &str = "/etc/dnf/plugins/versionlock.conf";
/// Exit status while another one is at work (`exit_on_lock`).
const LOCKED: i32 = 200;

const FIXED: [&str; 7] = [
    "--color=never",
    "--setopt=assumeyes=False",
    "--setopt=defaultyes=True",
    "--setopt=exit_on_lock=True",
    "--setopt=install_weak_deps=False",
    "--setopt=clean_requirements_on_remove=False",
    "--setopt=strict=True",
];
/// For fetching: what a source has is not asked again, however old the answer is.
const AS_KNOWN: [&str; 2] = ["--setopt=metadata_expire=-1", "--setopt=*.metadata_expire=-1"];

/// Beginnings of the lines in which it says why something cannot be done.
const REASONS: [&str; 8] = [
    "Error: ",
    " Problem",
    "  - ",
    "No match for argument",
    "All matches were filtered out",
    "  Failed to",
    "[Errno",
    "Refusing to automatically import keys",
];
/// The same while packages' own programs may be talking, too.
const OUTCOMES: [&str; 3] = ["Error: ", "warning: %", "error: %"];
const ABORTED: &str = "Operation aborted.";
const NOTHING: &str = "Nothing to do.";
const NO_CACHE: &str = "Cache-only enabled but no cache for";

#[derive(Debug)]
pub(in crate::host) struct Dnf;

impl Frontend for Dnf {
    fn called(&self) -> &'static str {
        "dnf"
    }

    fn available(&self, name: &PackageName) -> Result<Vec<Known>, HostError> {
        let format = "%{name}\t%{evr}\t%{arch}";
        // Not quietly: then it would not say that it has not asked a source yet.
        let output = dnf(&["-C", "repoquery", "--qf", format, "--", name.as_str()], QUESTION)?;
        if output.code() != Some(0) {
            return Err(trouble(DNF, reason(&output)));
        }
        let known = rows(&output.said)?;
        if known.is_empty() && !output.picked(|line| line.contains(NO_CACHE)).is_empty() {
            return Err(trouble(DNF, reason(&output)));
        }
        Ok(known)
    }

    fn held(&self, names: &BTreeSet<PackageName>) -> Result<BTreeSet<PackageName>, HostError> {
        if !Path::new(VERSIONLOCK).is_file() {
            return Ok(BTreeSet::new());
        }
        let output = dnf(&["-C", "-q", "versionlock", "list"], QUESTION)?;
        // Its settings may switch it off.
        if !output.picked(|line| line.starts_with("No such command")).is_empty() {
            return Ok(BTreeSet::new());
        }
        if output.code() != Some(0) {
            return Err(trouble(DNF, reason(&output)));
        }
        let is_held = |name: &&PackageName| output.said.lines().any(|line| fixes(line, name));
        Ok(names.iter().filter(is_held).cloned().collect())
    }

    fn automatic(&self) -> Result<BTreeSet<PackageName>, HostError> {
        let format = "%{name}\t%{reason}";
        let words = ["-C", "-q", "--disablerepo=*", "repoquery", "--installed", "--qf", format];
        let output = dnf(&words, QUESTION)?;
        if output.code() != Some(0) || !output.is_whole {
            return Err(trouble(DNF, reason(&output)));
        }
        Ok(automatic(&output.said))
    }

    fn mark(&self, names: &[&PackageName], is_auto: bool) -> Result<(), HostError> {
        let mark = if is_auto { "remove" } else { "install" };
        let mut words = vec!["-C", "mark", mark, "--"];
        words.extend(names.iter().map(|name| name.as_str()));
        let output = dnf(&words, QUESTION)?;
        if output.code() == Some(0) { Ok(()) } else { Err(trouble(DNF, reason(&output))) }
    }

    fn plan(&self, task: &Task) -> Result<Vec<Step>, HostError> {
        let output = tell(task, &["-C", "--assumeno", "--allowerasing"], QUESTION)?;
        let errors = output.picked(|line| line.starts_with("Error:") && !line.contains(ABORTED));
        let is_asked = !output.picked(|line| line.contains(ABORTED)).is_empty();
        let is_nothing = output.said.lines().any(|line| line == NOTHING);
        let is_answer = is_asked || is_nothing && output.code() == Some(0);
        if !errors.is_empty() || !is_answer {
            return Err(trouble(DNF, reason(&output)));
        }
        steps(&output.said)
    }

    fn fetch(&self, task: &Task) -> Result<(), HostError> {
        // What goes is not fetched, but may be in the way of what comes.
        let task = Task { gone: Vec::new(), ..task.clone() };
        let options = [&AS_KNOWN[..], &["--allowerasing", "--downloadonly"]].concat();
        let output = tell(&task, &options, FETCH)?;
        if output.code() == Some(0) { Ok(()) } else { Err(trouble(DNF, reason(&output))) }
    }

    fn download(
        &self,
        installed: &[(&PackageName, &PackageVersion)],
        others: &[(&PackageName, &PackageVersion)],
        directory: &Path,
    ) -> Result<Vec<PathBuf>, HostError> {
        let destination = format!("--destdir={}", directory.display());
        let options = [&AS_KNOWN[..], &["--allowerasing", "--downloadonly", &destination]].concat();
        for (versions, is_again) in [(installed, true), (others, false)] {
            if versions.is_empty() {
                continue;
            }
            let exact = |(name, version): &(&PackageName, &PackageVersion)| {
                Word::Exact((*name).clone(), (*version).clone())
            };
            let task =
                Task { come: versions.iter().map(exact).collect(), is_again, ..Task::default() };
            let output = tell(&task, &options, FETCH)?;
            if output.code() != Some(0) {
                return Err(trouble(DNF, reason(&output)));
            }
        }
        let entries = fs::read_dir(directory).map_err(not_kept)?;
        let files: Result<Vec<PathBuf>, _> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut files = files.map_err(not_kept)?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "rpm"));
        Ok(files)
    }

    fn carry_out(&self, task: &Task) -> Result<Result<(), HostError>, HostError> {
        let output = tell(task, &["-C"], TRANSACTION)?;
        // It ends with 0 although a program of a package failed, and its shell always does.
        let scripts = failed_scripts(&output);
        // Elsewhere such a line is one of a package's own program.
        let by_shell = !task.come.is_empty() && !task.gone.is_empty();
        let errors = output.picked(|line| by_shell && line.starts_with("Error: "));
        Ok(if output.code() == Some(0) && scripts.is_empty() && errors.is_empty() {
            Ok(())
        } else if scripts.is_empty() {
            Err(trouble(DNF, output.complaint_of(&OUTCOMES)))
        } else {
            Err(trouble(DNF, output.ended_with(&scripts)))
        })
    }

    fn cache(&self) -> &'static str {
        CACHE
    }

    fn again(&self) -> &'static str {
        "dnf reinstall"
    }
}

fn dnf(words: &[&str], limit: Duration) -> Result<Output, HostError> {
    patiently(DNF, &[&FIXED[..], words].concat(), limit, LOCKED)
}

/// Has it do a task, with these options.
fn tell(task: &Task, options: &[&str], limit: Duration) -> Result<Output, HostError> {
    let come: Vec<String> = task.come.iter().map(word).collect();
    let gone: Vec<&str> = task.gone.iter().map(PackageName::as_str).collect();
    let mut words = options.to_vec();
    if !come.is_empty() && !gone.is_empty() {
        // Both at once: only its shell takes that, from a file.
        let mut script = tempfile::NamedTempFile::new_in(CACHE).map_err(not_kept)?;
        script.write_all(lines(&come, &gone).as_bytes()).map_err(not_kept)?;
        let path = script.path().display().to_string();
        words.extend(["shell", &path]);
        return dnf(&words, limit);
    }
    words.push(match task {
        Task { is_again: true, .. } => "reinstall",
        _ if gone.is_empty() => "install",
        _ => "remove",
    });
    words.push("--");
    words.extend(come.iter().map(String::as_str));
    words.extend(gone);
    dnf(&words, limit)
}

/// What its shell is told; files first, which it takes only while there is nothing else to do. Each word is of
/// a checked name and version, or a path of the agent's own.
fn lines(come: &[String], gone: &[&str]) -> String {
    format!("install {}\nremove {}\nrun\n", come.join(" "), gone.join(" "))
}

/// Versions always with an epoch, so that none is taken for a part of a name.
fn word(word: &Word) -> String {
    match word {
        Word::Any(name) => name.to_string(),
        Word::Exact(name, version) if version.as_str().contains(':') => format!("{name}-{version}"),
        Word::Exact(name, version) => format!("{name}-0:{version}"),
        Word::File(path) => path.display().to_string(),
    }
}

/// Why not; and what to do when it has not asked its sources yet.
fn reason(output: &Output) -> String {
    let text = output.complaint_of(&REASONS);
    if output.picked(|line| line.contains(NO_CACHE)).is_empty() {
        text
    } else {
        format!(
            "{text}; run 'dnf makecache' on the host: the agent does not ask sources what they have"
        )
    }
}

fn rows(said: &str) -> Result<Vec<Known>, HostError> {
    let row = |line: &str| {
        let mut words = line.split('\t');
        known(words.next()?, words.next()?, words.next()?.to_owned())
    };
    let lines = said.lines().filter(|line| line.contains('\t'));
    lines.map(|line| row(line).ok_or_else(|| trouble(DNF, not_understood(line)))).collect()
}

fn automatic(said: &str) -> BTreeSet<PackageName> {
    let rows = said.lines().filter_map(|line| line.split_once('\t'));
    let needed = rows.filter(|(_, reason)| ["dependency", "weak-dependency"].contains(reason));
    needed.filter_map(|(name, _)| name.parse().ok()).collect()
}

/// Whether a line of `versionlock list`, such as `nx-app-0:1.0-1.*`, is about the package. One that begins
/// with `!` excludes a version. A pattern may be about anything that begins like it.
fn fixes(line: &str, name: &PackageName) -> bool {
    let line = line.trim().trim_start_matches('!');
    let parts = || {
        let (rest, _release) = line.rsplit_once('-')?;
        let (locked, version) = rest.rsplit_once('-')?;
        version.contains(':').then_some(locked)
    };
    let locked = parts().unwrap_or(line);
    match locked.split_once(['*', '?', '[']) {
        Some((beginning, _)) => name.as_str().starts_with(beginning),
        None => locked == name.as_str(),
    }
}

/// Reads the table of what it would do: a title for each kind, then one row per package with name,
/// architecture, version, source and size, which goes on in the next line where a word is too long for its
/// column.
fn steps(said: &str) -> Result<Vec<Step>, HostError> {
    let mut steps = Vec::new();
    // Before the first title, and after the summary's, there is no row.
    let mut kind: Option<&str> = None;
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in said.lines() {
        let is_title = !line.starts_with(' ') && line.ends_with(':');
        match (kind, line) {
            (_, "Transaction Summary") => break,
            (_, title) if is_title => kind = Some(title.trim_end_matches(':')),
            (None, _) | (_, "") => {}
            (Some(kind), row) if row.starts_with(' ') && !row.starts_with("  ") => {
                rows.push((kind, row.split_whitespace().collect()));
            }
            (Some(_), row) if row.trim_start().starts_with("replacing ") => {
                rows.push(("replacing", row.split_whitespace().skip(1).collect()));
            }
            (Some(_), row) if row.starts_with("  ") => {
                let wrong = || trouble(DNF, not_understood(row));
                rows.last_mut().ok_or_else(wrong)?.1.extend(row.split_whitespace());
            }
            (Some(_), row) => return Err(trouble(DNF, not_understood(row))),
        }
    }
    for (kind, words) in rows {
        let wrong = || trouble(DNF, not_understood(&format!("{kind}: {}", words.join(" "))));
        steps.push(step(kind, &words).ok_or_else(wrong)?);
    }
    Ok(steps)
}

fn step(kind: &str, words: &[&str]) -> Option<Step> {
    if kind == "replacing" {
        let [package, _version] = words else { return None };
        let (name, architecture) = package.rsplit_once('.')?;
        let (name, architecture) = (name.parse().ok()?, architecture.to_owned());
        return Some(Step { name, architecture, kind: Kind::Remove });
    }
    let [name, architecture, version, _source, size @ ..] = words else { return None };
    // A number, and a unit unless it is of bytes.
    if !(1..=2).contains(&size.len()) {
        return None;
    }
    let Known { name, version, architecture } = known(name, version, (*architecture).to_owned())?;
    let kind = match kind {
        "Installing"
        | "Installing dependencies"
        | "Installing weak dependencies"
        | "Installing group/module packages" => Kind::Install(version),
        "Upgrading" | "Downgrading" => Kind::Replace(version),
        "Reinstalling" => Kind::Again,
        "Removing" | "Removing dependent packages" | "Removing unused dependencies" => Kind::Remove,
        _ => return None,
    };
    Some(Step { name, architecture, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PackageName {
        text.parse().unwrap()
    }

    fn version(text: &str) -> PackageVersion {
        text.parse().unwrap()
    }

    fn step(text: &str, kind: Kind) -> Step {
        Step { name: name(text), architecture: "noarch".to_owned(), kind }
    }

    #[test]
    fn the_words_are_fixed_but_for_checked_ones() {
        assert_eq!(word(&Word::Any(name("g++"))), "g++");
        assert_eq!(word(&Word::Exact(name("nx-app"), version("1.0-1"))), "nx-app-0:1.0-1");
        assert_eq!(word(&Word::Exact(name("nx-app"), version("1:2.0-1"))), "nx-app-1:2.0-1");
        assert_eq!(word(&Word::File("/kept/nx-app,1.0-1.rpm".into())), "/kept/nx-app,1.0-1.rpm");
        let come = ["nx-rival-0:1.0-1".to_owned(), "/kept/x.rpm".to_owned()];
        let script = "install nx-rival-0:1.0-1 /kept/x.rpm\nremove nx-app nx-lib\nrun\n";
        assert_eq!(lines(&come, &["nx-app", "nx-lib"]), script);
    }

    // All of the following is what dnf 4.14.0 said.

    #[test]
    fn what_it_would_do_is_read_row_by_row() {
        let said = include_str!("recorded/dnf-install-long.txt");
        let long =
            "nx-a-package-with-a-name-that-is-so-long-that-it-does-not-fit-into-a-line-of-a-table";
        let expected = [
            step(long, Kind::Install(version("1.0-1"))),
            step("nx-app", Kind::Install(version("1.0-1"))),
            step("nx-lib", Kind::Install(version("1.1-1"))),
        ];
        assert_eq!(steps(said).unwrap(), expected);
        let said = include_str!("recorded/dnf-upgrade.txt");
        let up = |text| Kind::Replace(version(text));
        assert_eq!(
            steps(said).unwrap(),
            [step("nx-app", up("1:2.0-1")), step("nx-lib", up("1.1-1"))]
        );
        let said = include_str!("recorded/dnf-downgrade.txt");
        assert_eq!(steps(said).unwrap(), [step("nx-app", up("1.0-1"))]);
        let said = include_str!("recorded/dnf-erasing.txt");
        let expected =
            [step("nx-rival", Kind::Install(version("1.0-1"))), step("nx-app", Kind::Remove)];
        assert_eq!(steps(said).unwrap(), expected);
        assert_eq!(steps(include_str!("recorded/dnf-shell.txt")).unwrap(), expected);
        let said = include_str!("recorded/dnf-remove.txt");
        assert_eq!(
            steps(said).unwrap(),
            [step("nx-lib", Kind::Remove), step("nx-app", Kind::Remove)]
        );
        let said = include_str!("recorded/dnf-obsoletes.txt");
        let expected =
            [step("nx-new", Kind::Install(version("1.0-1"))), step("nx-old", Kind::Remove)];
        assert_eq!(steps(said).unwrap(), expected);
        let said = include_str!("recorded/dnf-reinstall.txt");
        assert_eq!(steps(said).unwrap(), [step("nx-lib", Kind::Again)]);
        assert_eq!(steps(include_str!("recorded/dnf-nothing.txt")).unwrap(), []);
    }

    #[test]
    fn a_table_that_is_not_understood_is_no_plan() {
        let said = include_str!("recorded/dnf-upgrade.txt");
        for (what, instead) in [
            ("Upgrading:", "Enabling module streams:"),
            ("nx-lib  ", "nx/lib  "),
            ("6.0 k", "6.0 k of which"),
            ("1.1-1", "     "),
        ] {
            let changed = said.replace(what, instead);
            assert_ne!(changed, said);
            assert!(steps(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn what_can_be_had_and_why_it_is_there_is_read() {
        let found = rows("nx-app\t1.0-1\tnoarch\nnx-app\t1:2.0-1\tnoarch\n").unwrap();
        let texts: Vec<&str> = found.iter().map(|known| known.version.as_str()).collect();
        assert_eq!(texts, ["1.0-1", "1:2.0-1"]);
        assert!(rows("nx-app\t1.0-1\n").is_err() && rows("").unwrap().is_empty());
        let said = "kernel\tuser\nnx-lib\tdependency\nnx-new\tuser\nnx-x\tweak-dependency\nnx-y\tunknown\n";
        assert_eq!(automatic(said), [name("nx-lib"), name("nx-x")].into());
    }

    #[test]
    fn what_somebody_fixed_is_known_by_its_name() {
        for (line, is_it) in [
            ("nx-app-0:1.0-1.*", true),
            ("!nx-app-0:1.0-1.*", true),
            ("nx-*-0:1.0-1.*", true),
            ("nx-app-more-0:1.0-1.*", false),
            ("nx-0:1.0-1.*", false),
            ("nx-app", true),
            ("", false),
        ] {
            assert_eq!(fixes(line, &name("nx-app")), is_it, "{line}");
        }
    }
}
