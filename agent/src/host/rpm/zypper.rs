//! `zypper(8)`, as on SLES and openSUSE.
//!
//! What it would do is asked with `--dry-run` and `--xmlout`. It never asks its sources what they have
//! (`--no-refresh`), and where it has not asked one yet, which it would make up for by itself, it is not asked
//! either. Recommended packages are not installed, what nobody needs any more stays (`--no-clean-deps`), and
//! to whatever it asks, the answer is its own default (`--non-interactive`), which is no wherever a key, a
//! licence or a conflict is concerned. Locks and vendors are left as the host's owner has them.
//!
//! Options and exit codes are those of zypper(8) of version 1.14. While a transaction runs, another one is
//! told so at once, with exit code 7.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::database::{Known, known, not_understood};
use super::{
    FETCH, Frontend, Kind, QUESTION, Step, TRANSACTION, Task, Word, failed_scripts, patiently,
    trouble,
};
use crate::host::HostError;
use crate::host::package::redacted;
use crate::host::package::{PackageName, PackageVersion};
use crate::host::program::Output;

pub(in crate::host) const ZYPPER: &str = "/usr/bin/zypper";
const CACHE: &str = "/var/cache/zypp";
/// What it knows of each source, by its alias.
const KNOWN_SOURCES: &str = "/var/cache/zypp/solv";
/// Names of packages that are there only because others need them, one a line.
const AUTOMATIC: &str = "/var/lib/zypp/AutoInstalled";

/// Exit codes (zypper(8)): another one is at work, its plan has a problem, there is no such thing.
const LOCKED: i32 = 7;
const PROBLEM: i32 = 4;
const NOT_FOUND: i32 = 104;
/// Done; done, and the host or zypper itself should be started again.
const DONE: [i32; 3] = [0, 102, 103];

const FIXED: [&str; 4] = ["--non-interactive", "--no-refresh", "--no-color", "--xmlout"];
/// Beginnings of the lines in which it says what went wrong, while packages' own programs may be talking, too.
const OUTCOMES: [&str; 6] = [
    "<message type=\"error\">Installation of ",
    "<message type=\"error\">Removal of ",
    "<message type=\"error\">Problem ",
    "<message type=\"error\">Failed to ",
    "warning: %",
    "error: %",
];

#[derive(Debug)]
pub(in crate::host) struct Zypper;

impl Frontend for Zypper {
    fn called(&self) -> &'static str {
        "zypper"
    }

    fn available(&self, name: &PackageName) -> Result<Vec<Known>, HostError> {
        sources_are_known()?;
        let words = ["search", "--match-exact", "--details", "--type", "package", "--"];
        let output = zypper(&[&words[..], &[name.as_str()]].concat(), QUESTION)?;
        match output.code() {
            Some(0) => offers(&output.said),
            Some(NOT_FOUND) => Ok(Vec::new()),
            _ => Err(trouble(ZYPPER, reason(&output))),
        }
    }

    fn held(&self, names: &BTreeSet<PackageName>) -> Result<BTreeSet<PackageName>, HostError> {
        let output = zypper(&["locks"], QUESTION)?;
        if output.code() != Some(0) {
            return Err(trouble(ZYPPER, reason(&output)));
        }
        let patterns = locks(&output.said)?;
        let is_held =
            |name: &&PackageName| patterns.iter().any(|pattern| fits(pattern, name.as_str()));
        Ok(names.iter().filter(is_held).cloned().collect())
    }

    fn automatic(&self) -> Result<BTreeSet<PackageName>, HostError> {
        let text = list().map_err(not_read)?;
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    fn mark(&self, names: &[&PackageName], is_auto: bool) -> Result<(), HostError> {
        // It has no command for that; but it is not changed while one is at work.
        let output = zypper(&["locks"], QUESTION)?;
        if output.code() != Some(0) {
            return Err(trouble(ZYPPER, reason(&output)));
        }
        let text = marked(&list().map_err(not_read)?, names, is_auto);
        let directory = Path::new(AUTOMATIC).parent().unwrap_or(Path::new("/"));
        let write = || -> io::Result<()> {
            fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(AUTOMATIC)?;
            Ok(())
        };
        write().map_err(not_read)
    }

    fn plan(&self, task: &Task) -> Result<Vec<Step>, HostError> {
        if !task.come.is_empty() {
            sources_are_known()?;
        }
        let output = tell(task, &["--dry-run"], QUESTION)?;
        if output.code() == Some(0) {
            return steps(&output.said);
        }
        // Something is in the way, which it would remove.
        let can_force = output.code() == Some(PROBLEM) && !task.come.is_empty() && !task.is_again;
        if can_force {
            let forced = tell(task, &["--dry-run", "--force-resolution"], QUESTION)?;
            if forced.code() == Some(0) {
                let steps = steps(&forced.said)?;
                // What it gives up of the task is no plan for it.
                if steps.iter().any(|step| matches!(step.kind, Kind::Install(_) | Kind::Replace(_)))
                {
                    return Ok(steps);
                }
            }
        }
        Err(trouble(ZYPPER, reason(&output)))
    }

    fn fetch(&self, task: &Task) -> Result<(), HostError> {
        let output = tell(task, &["--download-only"], FETCH)?;
        if output.code() == Some(0) { Ok(()) } else { Err(trouble(ZYPPER, reason(&output))) }
    }

    fn download(
        &self,
        installed: &[(&PackageName, &PackageVersion)],
        others: &[(&PackageName, &PackageVersion)],
        _directory: &Path,
    ) -> Result<Vec<PathBuf>, HostError> {
        sources_are_known()?;
        let both = installed.iter().chain(others);
        let exact: Vec<String> = both.map(|(name, version)| exact(name, version)).collect();
        let mut words = vec!["download", "--"];
        words.extend(exact.iter().map(String::as_str));
        let output = zypper(&words, FETCH)?;
        if output.code() != Some(0) {
            return Err(trouble(ZYPPER, reason(&output)));
        }
        files(&output.said)
    }

    fn carry_out(&self, task: &Task) -> Result<Result<(), HostError>, HostError> {
        let output = tell(task, &[], TRANSACTION)?;
        // 107: a program of a package failed after it was installed.
        let scripts = failed_scripts(&output);
        let is_done = output.code().is_some_and(|code| DONE.contains(&code));
        Ok(if is_done && scripts.is_empty() {
            Ok(())
        } else {
            let text = output.complaint_of(&OUTCOMES).replace("<message type=\"error\">", "");
            Err(trouble(ZYPPER, text))
        })
    }

    fn cache(&self) -> &'static str {
        CACHE
    }

    fn again(&self) -> &'static str {
        "zypper install --force"
    }
}

fn zypper(words: &[&str], limit: Duration) -> Result<Output, HostError> {
    patiently(ZYPPER, &[&FIXED[..], words].concat(), limit, LOCKED)
}

/// Has it do a task, with these options.
fn tell(task: &Task, options: &[&str], limit: Duration) -> Result<Output, HostError> {
    let words = words(task, options);
    zypper(&words.iter().map(String::as_str).collect::<Vec<_>>(), limit)
}

/// What it is told. A name with `!` before it is removed by `install`.
fn words(task: &Task, options: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if task.come.is_empty() {
        words.extend(["remove", "--no-clean-deps"].map(str::to_owned));
        words.extend(options.iter().map(|&word| word.to_owned()));
        words.push("--".to_owned());
        words.extend(task.gone.iter().map(ToString::to_string));
        return words;
    }
    words.extend(["install", "--no-recommends"].map(str::to_owned));
    if task.may_downgrade || task.is_again {
        words.push("--oldpackage".to_owned());
    }
    if task.is_again {
        words.push("--force".to_owned());
    }
    if task.come.iter().any(|word| matches!(word, Word::File(_))) {
        // Of files alone: what was kept was checked as the host's owner wants it when it was fetched.
        words.push("--allow-unsigned-rpm".to_owned());
    }
    words.extend(options.iter().map(|&word| word.to_owned()));
    words.push("--".to_owned());
    words.extend(task.come.iter().map(|word| match word {
        Word::Any(name) => name.to_string(),
        Word::Exact(name, version) => exact(name, version),
        Word::File(path) => path.display().to_string(),
    }));
    words.extend(task.gone.iter().map(|name| format!("!{name}")));
    words
}

/// Always with an epoch: without one any would do.
fn exact(name: &PackageName, version: &PackageVersion) -> String {
    let epoch = if version.as_str().contains(':') { "" } else { "0:" };
    format!("{name}={epoch}{version}")
}

/// That it has asked every source once what it has: for it would do that now.
fn sources_are_known() -> Result<(), HostError> {
    let output = zypper(&["repos", "--show-enabled-only"], QUESTION)?;
    // 6: it has no sources.
    if ![Some(0), Some(6)].contains(&output.code()) {
        return Err(trouble(ZYPPER, reason(&output)));
    }
    let unknown = |alias: &&String| !Path::new(KNOWN_SOURCES).join(alias).join("solv").is_file();
    match sources(&output.said)?.iter().find(unknown) {
        None => Ok(()),
        Some(alias) => {
            let why = format!(
                "it has not asked its source '{alias}' yet; run 'zypper refresh' on the host: the agent does \
                 not ask sources what they have"
            );
            Err(trouble(ZYPPER, why))
        }
    }
}

fn list() -> io::Result<String> {
    match fs::read_to_string(AUTOMATIC) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

fn not_read(error: io::Error) -> HostError {
    trouble(AUTOMATIC, error.to_string())
}

/// The list with these names in it, or without them.
fn marked(text: &str, names: &[&PackageName], is_auto: bool) -> String {
    let is_named = |line: &&str| names.iter().any(|name| name.as_str() == line.trim());
    let mut lines: Vec<&str> = text.lines().filter(|line| !is_named(line)).collect();
    if is_auto {
        lines.extend(names.iter().map(|name| name.as_str()));
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.filter_map(|at| name.get(at..)).any(|name| fits(rest.as_str(), name))
        }
        Some(first) => {
            let mut left = name.chars();
            left.next().is_some_and(|c| first == '?' || first == c)
                && fits(rest.as_str(), left.as_str())
        }
    }
}

/// What it says, element by element: `visit` is told of each with the names of those that it is in, and of
/// each text.
fn walk(
    said: &str,
    mut visit: impl FnMut(&[String], Said<'_>) -> Result<(), HostError>,
) -> Result<(), HostError> {
    let wrong = |error: &dyn std::fmt::Display| trouble(ZYPPER, not_understood(&error.to_string()));
    let mut reader = Reader::from_str(said);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    loop {
        let event = reader.read_event().map_err(|error| wrong(&error))?;
        match event {
            Event::Start(start) => {
                visit(&path, Said::Element(&start))?;
                path.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                text.clear();
            }
            Event::Empty(start) => visit(&path, Said::Element(&start))?,
            Event::Text(part) => {
                text.push_str(&part.decode().map_err(|error| wrong(&error))?);
            }
            Event::GeneralRef(part) => {
                let entity = part.decode().map_err(|error| wrong(&error))?;
                let known = quick_xml::escape::resolve_predefined_entity(&entity);
                text.push_str(known.unwrap_or("?"));
            }
            Event::End(_) => {
                visit(&path, Said::Text(&text))?;
                text.clear();
                path.pop();
            }
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => {
                return Err(trouble(ZYPPER, "it was cut off in the middle of what it said"));
            }
            Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
}

enum Said<'a> {
    Element(&'a BytesStart<'a>),
    Text(&'a str),
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned)
}

fn is_element(element: &BytesStart<'_>, name: &str) -> bool {
    element.name().as_ref() == name.as_bytes()
}

/// Reads what it would do: in `<install-summary>`, one part for each kind of change with a `<solvable>` for each
/// package.
fn steps(said: &str) -> Result<Vec<Step>, HostError> {
    let mut steps = Vec::new();
    let mut has_summary = false;
    walk(said, |path, said| {
        let Said::Element(element) = said else { return Ok(()) };
        has_summary |= is_element(element, "install-summary");
        let part = match path {
            [.., summary, part] if summary == "install-summary" && part.starts_with("to-") => part,
            _ => return Ok(()),
        };
        if !is_element(element, "solvable") {
            return Ok(());
        }
        let text = |name: &str| attribute(element, name).unwrap_or_default();
        let wrong = || trouble(ZYPPER, not_understood(&format!("{part}: {}", text("name"))));
        if text("type") != "package" {
            let why = format!(
                "the {} {} would change, which is not supported",
                text("type"),
                text("name")
            );
            return Err(trouble(ZYPPER, why));
        }
        let Known { name, version, architecture } =
            known(&text("name"), &text("edition"), text("arch")).ok_or_else(wrong)?;
        let kind = match part.as_str() {
            "to-install" => Kind::Install(version),
            "to-upgrade"
            | "to-downgrade"
            | "to-change-vendor"
            | "to-upgrade-change-vendor"
            | "to-downgrade-change-vendor" => Kind::Replace(version),
            "to-reinstall" => Kind::Again,
            "to-remove" => Kind::Remove,
            _ => return Err(wrong()),
        };
        steps.push(Step { name, architecture, kind });
        Ok(())
    })?;
    if has_summary { Ok(steps) } else { Err(trouble(ZYPPER, "it did not say what it would do")) }
}

fn offers(said: &str) -> Result<Vec<Known>, HostError> {
    let mut offers = Vec::new();
    walk(said, |_, said| {
        let Said::Element(element) = said else { return Ok(()) };
        let text = |name: &str| attribute(element, name).unwrap_or_default();
        // What is installed and in no source any more has no source's name.
        let is_offer = is_element(element, "solvable")
            && text("kind") == "package"
            && text("repository") != "(System Packages)";
        if is_offer {
            let wrong = || trouble(ZYPPER, not_understood(&text("name")));
            offers.push(known(&text("name"), &text("edition"), text("arch")).ok_or_else(wrong)?);
        }
        Ok(())
    })?;
    Ok(offers)
}

/// Names, or patterns of them, whose packages are locked.
fn locks(said: &str) -> Result<Vec<String>, HostError> {
    let (mut locks, mut name) = (Vec::new(), String::new());
    walk(said, |path, said| {
        match (path, said) {
            ([.., lock, element], Said::Text(text)) if lock == "lock" => match element.as_str() {
                "name" => text.clone_into(&mut name),
                "type" if text == "package" => locks.push(name.clone()),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    })?;
    Ok(locks)
}

fn sources(said: &str) -> Result<Vec<String>, HostError> {
    let mut sources = Vec::new();
    walk(said, |_, said| {
        if let Said::Element(element) = said
            && is_element(element, "repo")
        {
            sources.extend(attribute(element, "alias"));
        }
        Ok(())
    })?;
    Ok(sources)
}

/// Where what was downloaded is.
fn files(said: &str) -> Result<Vec<PathBuf>, HostError> {
    let mut files = Vec::new();
    walk(said, |_, said| {
        if let Said::Element(element) = said
            && is_element(element, "localfile")
        {
            files.extend(attribute(element, "path").map(PathBuf::from));
        }
        Ok(())
    })?;
    Ok(files)
}

/// Why not: its messages of errors, and problems without the ways out that it offers.
fn reason(output: &Output) -> String {
    output.ended_with(&problems(&output.said))
}

fn problems(said: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut is_error = false;
    // Whatever can be read of it.
    let _ = walk(said, |path, said| {
        match said {
            Said::Element(element) if is_element(element, "message") => {
                is_error = attribute(element, "type").as_deref() == Some("error");
            }
            Said::Text(text) if path.last().is_some_and(|last| last == "message") && is_error => {
                problems.extend(text.lines().map(str::trim).map(redacted));
            }
            Said::Text(text) if path.last().is_some_and(|last| last == "description") => {
                let lines = text.lines().map(str::trim);
                let lines = lines.take_while(|line| !line.starts_with("Solution "));
                problems.extend(lines.filter(|line| line.starts_with("Problem")).map(redacted));
            }
            Said::Element(_) | Said::Text(_) => {}
        }
        Ok(())
    });
    problems.retain(|line| !line.is_empty());
    problems
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
    fn the_words_are_fixed_but_for_checked_ones_after_the_dashes() {
        let task = Task {
            come: vec![
                Word::Any(name("g++")),
                Word::Exact(name("nx-app"), version("1.0-1")),
                Word::Exact(name("nx-lib"), version("1:2.0-1")),
            ],
            gone: vec![name("nx-rival")],
            ..Task::default()
        };
        let words = words(&task, &["--dry-run"]);
        let expected = [
            "install",
            "--no-recommends",
            "--dry-run",
            "--",
            "g++",
            "nx-app=0:1.0-1",
            "nx-lib=1:2.0-1",
            "!nx-rival",
        ];
        assert_eq!(words, expected);
        let kept = vec![Word::File("/kept/nx-lib,1.0-1.rpm".into())];
        let back = Task { come: kept, may_downgrade: true, ..Task::default() };
        let expected = [
            "install",
            "--no-recommends",
            "--oldpackage",
            "--allow-unsigned-rpm",
            "--",
            "/kept/nx-lib,1.0-1.rpm",
        ];
        assert_eq!(super::words(&back, &[]), expected);
        let removal = Task { come: Vec::new(), ..task };
        let expected = ["remove", "--no-clean-deps", "--dry-run", "--", "nx-rival"];
        assert_eq!(super::words(&removal, &["--dry-run"]), expected);
    }

    // All of the following is what zypper 1.14.42 said.

    #[test]
    fn what_it_would_do_is_read_package_by_package() {
        let said = include_str!("recorded/zypper-install.xml");
        let expected = [("nx-app", "1.0-1"), ("nx-lib", "1.1-1"), ("nx-shell", "1.0-1")]
            .map(|(name, text)| step(name, Kind::Install(version(text))));
        assert_eq!(steps(said).unwrap(), expected);
        let up = |text| Kind::Replace(version(text));
        let said = include_str!("recorded/zypper-upgrade.xml");
        assert_eq!(
            steps(said).unwrap(),
            [step("nx-app", up("1:2.0-1")), step("nx-lib", up("1.1-1"))]
        );
        let said = include_str!("recorded/zypper-downgrade.xml");
        assert_eq!(steps(said).unwrap(), [step("nx-app", up("1.0-1"))]);
        let said = include_str!("recorded/zypper-forced.xml");
        let expected =
            [step("nx-rival", Kind::Install(version("1.0-1"))), step("nx-app", Kind::Remove)];
        assert_eq!(steps(said).unwrap(), expected);
        let said = include_str!("recorded/zypper-remove.xml");
        assert_eq!(
            steps(said).unwrap(),
            [step("nx-app", Kind::Remove), step("nx-lib", Kind::Remove)]
        );
        assert_eq!(steps(include_str!("recorded/zypper-nothing.xml")).unwrap(), []);
    }

    #[test]
    fn what_is_not_understood_is_no_plan() {
        let said = include_str!("recorded/zypper-upgrade.xml");
        for (what, instead) in [
            ("type=\"package\" name=\"nx-lib\"", "type=\"pattern\" name=\"nx-lib\""),
            ("to-upgrade>", "to-change-arch>"),
            ("name=\"nx-lib\"", "name=\"nx/lib\""),
            ("edition=\"1.1-1\"", "edition=\"\""),
            ("</install-summary>", ""),
            ("install-summary", "update-summary"),
        ] {
            let changed = said.replace(what, instead);
            assert_ne!(changed, said);
            assert!(steps(&changed).is_err(), "{what}");
        }
        let cut = &said[..said.len() / 2];
        assert!(steps(cut).is_err());
        assert!(steps(include_str!("recorded/zypper-conflict.xml")).is_err());
    }

    #[test]
    fn why_it_cannot_be_done_is_told_without_the_ways_out() {
        let said = include_str!("recorded/zypper-conflict.xml");
        let expected = "Problem: nx-rival-1.0-1.noarch conflicts with nx-app provided by nx-app-1:2.0-1.noarch";
        assert_eq!(problems(said), [expected]);
        let said = include_str!("recorded/zypper-unknown.xml");
        assert_eq!(problems(said), ["No provider of 'nx-nothing' found."]);
        let said = include_str!("recorded/zypper-locked.xml");
        assert!(problems(said)[0].contains("System management is locked"), "{:?}", problems(said));
    }

    #[test]
    fn what_can_be_had_and_what_somebody_locked_is_read() {
        let found = offers(include_str!("recorded/zypper-search.xml")).unwrap();
        let texts: Vec<&str> = found.iter().map(|known| known.version.as_str()).collect();
        assert_eq!(texts, ["1:2.0-1", "1.0-1"]);
        assert_eq!(locks(include_str!("recorded/zypper-locks.xml")).unwrap(), ["nx-lib"]);
        assert_eq!(sources(include_str!("recorded/zypper-repos.xml")).unwrap(), ["nx"]);
        let file = "/var/cache/zypp/packages/nx/noarch/nx-lib-1.1-1.noarch.rpm";
        let found = files(include_str!("recorded/zypper-download.xml")).unwrap();
        assert_eq!(found, [PathBuf::from(file)]);
    }

    #[test]
    fn a_pattern_fits_whole_names() {
        for (pattern, name, is_it) in [
            ("nx-lib", "nx-lib", true),
            ("nx-*", "nx-lib", true),
            ("*", "nx-lib", true),
            ("nx-?ib", "nx-lib", true),
            ("*-l*b", "nx-lib", true),
            ("nx-lib", "nx-libs", false),
            ("nx", "nx-lib", false),
            ("?", "nx-lib", false),
            ("", "nx-lib", false),
        ] {
            assert_eq!(fits(pattern, name), is_it, "{pattern} {name}");
        }
    }

    #[test]
    fn the_list_of_what_others_need_keeps_its_other_lines() {
        let text = "# AutoInstalled generated\n#\nnx-lib\nproduct:x\n";
        let [lib, app] = [&name("nx-lib"), &name("nx-app")];
        let expected = "# AutoInstalled generated\n#\nproduct:x\nnx-lib\nnx-app\n";
        assert_eq!(marked(text, &[lib, app], true), expected);
        assert_eq!(
            marked(expected, &[lib, app], false),
            "# AutoInstalled generated\n#\nproduct:x\n"
        );
    }
}
