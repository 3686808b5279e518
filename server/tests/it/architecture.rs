//! The table of `ARCHITECTURE.md` as data, and the rules about the source tree that a machine can
//! check. Every failure says what to do about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// What one package may name. Paths between packages only: crates from outside are `deny.toml`'s.
struct Rule {
    package: &'static str,
    may_use: &'static [&'static str],
    /// What its tests may use besides.
    tests_may_use: &'static [&'static str],
}

/// In the order of the data flow: what decides first, what people see last.
const RULES: [Rule; 9] = [
    Rule { package: "nexplane-core", may_use: &[], tests_may_use: &[] },
    Rule { package: "nexplane-store", may_use: &["nexplane-core"], tests_may_use: &[] },
    Rule {
        package: "nexplane-projections",
        may_use: &["nexplane-core", "nexplane-store"],
        tests_may_use: &[],
    },
    Rule {
        package: "nexplane-agent",
        may_use: &["nexplane-core"],
        tests_may_use: &["nexplane-peers"],
    },
    Rule {
        package: "nexplane-connectors",
        may_use: &["nexplane-agent", "nexplane-core"],
        tests_may_use: &["nexplane-peers"],
    },
    Rule { package: "nexplane-peers", may_use: &[], tests_may_use: &[] },
    Rule {
        package: "nexplane-server",
        may_use: &[
            "nexplane-agent",
            "nexplane-connectors",
            "nexplane-core",
            "nexplane-peers",
            "nexplane-projections",
            "nexplane-store",
        ],
        tests_may_use: &["nexplane-bindgen", "nexplane-frontend"],
    },
    Rule {
        package: "nexplane-frontend",
        may_use: &["nexplane-core"],
        // A made-up year is written as the server would have written it.
        tests_may_use: &["nexplane-connectors", "nexplane-peers", "nexplane-server"],
    },
    Rule { package: "nexplane-bindgen", may_use: &[], tests_may_use: &[] },
];

/// It has the embedded PostgreSQL, which any package's tests may start.
const ANY_TEST_MAY_USE: &str = "nexplane-store";

/// Crates that would give the core a clock, chance, a runtime, a disk or a network.
const NOT_IN_CORE: [&str; 14] = [
    "async-std",
    "fastrand",
    "getrandom",
    "hyper",
    "rand",
    "reqwest",
    "ring",
    "rustix",
    "rustls",
    "sqlx",
    "tempfile",
    "tokio",
    "tokio-postgres",
    "tracing-subscriber",
];

/// Names under which everything ends up that nobody found a place for.
const DRAWERS: [&str; 9] =
    ["common", "helper", "helpers", "macros", "misc", "shared", "util", "utils", "utilities"];

/// Spelt in two parts, so that this file does not break its own rule.
const EVENT_TABLE: &str = concat!("log_", "events");
const MAY_NAME_EVENT_TABLE: [&str; 2] = ["schema", "store"];

const MAX_LINES: usize = 900;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for an ordinary dependency.
    kind: Option<String>,
    /// Set for packages of this workspace.
    path: Option<PathBuf>,
}

impl Dependency {
    fn only_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

fn metadata() -> Metadata {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo started this test, so it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo promises this format")
}

fn root() -> PathBuf {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"));
    server.parent().expect("server/ lies in the workspace").to_path_buf()
}

/// Every file of ours with one of these extensions, as (path below the root, text).
fn sources(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("our own folders can be listed") {
            let entry = entry.expect("our own folders can be listed");
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry.file_type().expect("our own files have a type");
            let generated = name.starts_with('.') || name == "target" || name == "dist";
            if kind.is_dir() && !generated {
                folders.push(path);
            } else if kind.is_file()
                && path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
            {
                let text = fs::read_to_string(&path).expect("our own files are UTF-8");
                let below = path.strip_prefix(&root).expect("found below the root").to_path_buf();
                found.push((below, text));
            }
        }
    }
    assert!(found.len() > RULES.len(), "{} has too few sources: wrong folder?", root.display());
    found.sort();
    found
}

fn assert_none(broken: &[String], what_to_do: &str) {
    assert!(broken.is_empty(), "\n  {}\n{what_to_do}\n", broken.join("\n  "));
}

#[test]
fn packages_depend_in_one_direction() {
    let metadata = metadata();
    let mut broken = Vec::new();
    for package in &metadata.packages {
        let Some(rule) = RULES.iter().find(|rule| rule.package == package.name) else {
            broken.push(format!("{} is in no rule", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let name = dependency.name.as_str();
            let allowed_in_tests = name == ANY_TEST_MAY_USE
                || name == package.name
                || rule.tests_may_use.contains(&name);
            let allowed =
                rule.may_use.contains(&name) || (dependency.only_for_tests() && allowed_in_tests);
            if !allowed {
                let kind = dependency.kind.as_deref().unwrap_or("ordinary");
                broken.push(format!("{} has {name} as {kind} dependency", package.name));
            }
        }
    }
    assert_none(
        &broken,
        "Move the code to the package that may do this, or pass in what it needs. If the house really \
         gets a new edge or a new package, change the table in ARCHITECTURE.md and the one in \
         server/tests/it/architecture.rs together.",
    );
}

#[test]
fn every_rule_is_about_a_package() {
    let packages = metadata().packages;
    let gone: Vec<String> = RULES
        .iter()
        .map(|rule| rule.package.to_owned())
        .filter(|name| packages.iter().all(|package| package.name != *name))
        .collect();
    assert_none(&gone, "These packages are gone: take their rules out of this file.");
}

#[test]
fn the_core_takes_no_crate_that_acts() {
    let metadata = metadata();
    let core = metadata.packages.iter().find(|package| package.name == "nexplane-core");
    let broken: Vec<String> = core
        .expect("the core is a member of the workspace")
        .dependencies
        .iter()
        .filter(|dependency| !dependency.only_for_tests())
        .filter(|dependency| NOT_IN_CORE.contains(&dependency.name.as_str()))
        .map(|dependency| dependency.name.clone())
        .collect();
    assert_none(
        &broken,
        "The core decides and does nothing else. Let the server, a connector or the agent act, and pass \
         the result in as an argument.",
    );
}

#[test]
fn no_package_is_a_drawer() {
    let broken: Vec<String> = metadata()
        .packages
        .into_iter()
        .map(|package| package.name)
        .filter(|name| name.split(['-', '_']).any(|word| DRAWERS.contains(&word)))
        .collect();
    assert_none(
        &broken,
        "Name it after what it does, or move each part to the package that uses it.",
    );
}

#[test]
fn only_the_store_names_the_event_table() {
    let broken: Vec<String> = sources(&["rs", "sql"])
        .into_iter()
        .filter(|(path, _)| !MAY_NAME_EVENT_TABLE.iter().any(|folder| path.starts_with(folder)))
        .flat_map(|(path, text)| {
            let naming = text.lines().enumerate().filter(|(_, line)| line.contains(EVENT_TABLE));
            naming.map(|(index, _)| format!("{}:{}", path.display(), index + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &broken,
        "Only store/ and schema/ may name the event table. Append, read and subscribe through \
         nexplane_store; for a new question about events, add a function there.",
    );
}

#[test]
fn no_file_is_too_long_to_read() {
    let broken: Vec<String> = sources(&["rs"])
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert_none(
        &broken,
        "More than 900 lines in one file: split it along the nouns in it, each part with module \
         documentation of its own.",
    );
}

#[test]
fn the_scan_sees_the_files_it_is_about() {
    let found = sources(&["rs", "sql"]);
    let this = Path::new("server/tests/it/architecture.rs");
    assert!(found.iter().any(|(path, _)| path == this), "it does not even find itself");
    let inside =
        |(path, text): &(PathBuf, String)| path.starts_with("schema") && text.contains(EVENT_TABLE);
    assert!(found.iter().any(inside), "no migration names {EVENT_TABLE}: was the table renamed?");
}
