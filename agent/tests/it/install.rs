//! What `install` puts on a machine, in a directory that plays it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nexplane_agent::config::Config;
use nexplane_agent::deadman::Limit;
use nexplane_agent::install::{Layout, Mode, Outcome, Problem, Said};
use nexplane_agent::policy::{Loaded, Policy};
use tempfile::TempDir;

const CONTROL_PLANE: &str = "https://nexplane.example:8443";

/// Mode and content of everything beneath a directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Option<Vec<u8>>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(tree(&path));
        }
        let content = meta.is_file().then(|| fs::read(&path).unwrap());
        found.insert(path, (meta.mode() & 0o7777, content));
    }
    found
}

fn machine() -> (TempDir, Layout) {
    let root = tempfile::tempdir().unwrap();
    for directory in ["usr/local/bin", "usr/local/lib", "etc/systemd/system", "var/lib"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    fs::write(root.path().join("etc/motd"), "welcome").unwrap();
    let layout = Layout::beneath(root.path());
    (root, layout)
}

/// The steps that need no systemd and no control plane; which of them changed anything.
fn put(layout: &Layout, mode: Mode) -> Result<Vec<&'static str>, Problem> {
    let program = Path::new(env!("CARGO_BIN_EXE_nexplane-agent"));
    let mut changed = Vec::new();
    let mut note = |what, Outcome { changed: did, .. }| changed.extend(did.then_some(what));
    note("program", layout.put_binary(program, mode)?);
    note("directories", layout.make_directories(mode)?);
    note("config", layout.put_config(&GATEWAY, mode)?);
    note("policy", layout.put_policy(mode)?);
    note("units", layout.put_units(mode)?);
    Ok(changed)
}

const ALL: [&str; 5] = ["program", "directories", "config", "policy", "units"];
const GATEWAY: Said<'_> = Said {
    control_plane: Some(CONTROL_PLANE),
    ca_pem: Some("PEM"),
    keep_snapshots: None,
    dead_man: None,
};

#[test]
fn what_is_told_is_not_done_and_what_is_done_is_done_once() {
    let (root, layout) = machine();
    let before = tree(root.path());
    assert_eq!(put(&layout, Mode::Tell).unwrap(), ALL);
    assert_eq!(tree(root.path()), before, "telling changed something");
    assert_eq!(put(&layout, Mode::Do).unwrap(), ALL);
    let after = tree(root.path());
    assert_eq!(put(&layout, Mode::Do).unwrap(), [""; 0]);
    assert_eq!(tree(root.path()), after);

    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(layout.config()), mode(layout.state())), (0o700, 0o700));
    assert_eq!((mode(layout.binary()), mode(layout.unit())), (0o755, 0o644));
    let config = Config::open(layout.config()).unwrap();
    assert_eq!(config.state(), layout.state());
    assert_eq!(config.gateway(), Some((&CONTROL_PLANE.to_owned(), &"PEM".to_owned())));
    for (path, text) in layout.units() {
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(text.contains("\nExecStart=/usr/local/"), "{text}");
        assert!(
            text.contains("=-/usr/local/lib/nexplane-agent/previous guard\n")
                || path == layout.guard_unit(),
            "{text}"
        );
        assert!(!text.contains("@STATE") && !text.contains("@MOUNTS"), "{text}");
        assert!(!text.contains("RequiresMountsFor"), "{text}");
    }
    assert_eq!(mode(layout.programs()), 0o755);
    let [(_, unit), (_, early), (_, guard)] = layout.units();
    assert!(guard.contains("\nExecStart=/usr/local/lib/nexplane-agent/previous guard --watch\n"));
    assert!(unit.contains("\nExecStart=/usr/local/bin/nexplane-agent run\n"), "{unit}");
    assert!(unit.contains("\nStateDirectory=nexplane-agent\n"), "{unit}");
    assert!(early.contains("\nConditionPathExists=/var/lib/nexplane-agent/armed\n"), "{early}");
}

#[test]
fn a_second_run_repairs_and_keeps_what_is_the_owners() {
    let (_root, layout) = machine();
    put(&layout, Mode::Do).unwrap();
    let config = Config::new(layout.config());
    fs::write(config.policy(), "hold = true\n").unwrap();
    let said = fs::read_to_string(config.file()).unwrap() + "keep_snapshots = \"7d\"\n";
    fs::write(config.file(), &said).unwrap();
    fs::write(layout.unit(), "[Unit]\n").unwrap();
    fs::set_permissions(layout.binary(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(layout.state(), Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(config.ca()).unwrap();
    let changed = put(&layout, Mode::Do).unwrap();
    assert_eq!(changed, ["program", "directories", "config", "units"]);
    assert_eq!(fs::read_to_string(config.policy()).unwrap(), "hold = true\n");
    assert_eq!(fs::read_to_string(config.file()).unwrap(), said);
    assert_eq!(fs::read_to_string(layout.unit()).unwrap(), layout.units()[0].1);
    assert_eq!(fs::metadata(layout.binary()).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(put(&layout, Mode::Do).unwrap(), [""; 0]);

    let elsewhere = Said {
        control_plane: Some("https://elsewhere:1"),
        dead_man: Limit::new(90),
        ..Said::default()
    };
    assert!(layout.put_config(&elsewhere, Mode::Do).unwrap().changed);
    let moved = Config::open(layout.config()).unwrap();
    assert_eq!(moved.gateway().unwrap().0, "https://elsewhere:1");
    assert_eq!(moved.dead_man(), Limit::new(90));
    assert!(moved.retention().is_some(), "the owner's time was lost");
    fs::write(config.file(), "hodl = true").unwrap();
    let refused = put(&layout, Mode::Do).unwrap_err();
    assert!(refused.why.contains("hodl") && refused.fix.contains("config.toml"), "{refused:?}");
}

#[test]
fn the_first_policy_allows_what_no_policy_allows() {
    let (_root, layout) = machine();
    put(&layout, Mode::Do).unwrap();
    let path = Config::new(layout.config()).policy();
    let text = fs::read_to_string(&path).unwrap();
    if rustix::process::geteuid().is_root() {
        let Loaded { policy, hash } = Policy::load(&path).unwrap();
        assert_eq!((policy, hash.is_some()), (Policy::default(), true));
        let spoken: String = text
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(&path, spoken).unwrap();
        let spoken = Policy::load(&path).unwrap().policy;
        assert!(spoken.hold && spoken.operations.is_some() && spoken.paths.is_some(), "{text}");
    }
}

#[test]
fn removing_leaves_what_was_there_before() {
    let (root, layout) = machine();
    let before = tree(root.path());
    put(&layout, Mode::Do).unwrap();
    fs::create_dir(layout.state().join("snapshots")).unwrap();
    fs::write(layout.state().join("snapshots/1"), "before").unwrap();
    let installed = tree(root.path());
    for part in layout.parts(false) {
        Layout::remove(&part, Mode::Tell).unwrap();
    }
    assert_eq!(tree(root.path()), installed, "telling removed something");
    for part in layout.parts(true) {
        Layout::remove(&part, Mode::Do).unwrap();
    }
    assert!(layout.state().join("snapshots/1").exists() && layout.config().exists());
    assert!(!layout.binary().exists() && !layout.unit().exists());
    for part in layout.parts(false) {
        Layout::remove(&part, Mode::Do).unwrap();
    }
    assert_eq!(tree(root.path()), before);
    assert!(layout.parts(false).is_empty());
}

#[test]
fn what_is_in_the_way_is_said_and_not_replaced() {
    let (root, layout) = machine();
    fs::create_dir(layout.binary()).unwrap();
    assert!(put(&layout, Mode::Do).unwrap_err().why.contains("is a directory"));
    fs::remove_dir(layout.binary()).unwrap();
    fs::write(layout.state(), "a file").unwrap();
    assert!(put(&layout, Mode::Do).unwrap_err().why.contains("no directory"));
    fs::remove_file(layout.state()).unwrap();
    // A link in place of the program is replaced, not followed.
    let elsewhere = root.path().join("etc/motd");
    fs::remove_file(layout.binary()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, layout.binary()).unwrap();
    put(&layout, Mode::Do).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "welcome");
    assert!(fs::symlink_metadata(layout.binary()).unwrap().is_file());
}

#[test]
fn state_that_the_owner_keeps_elsewhere_stays_there_and_the_units_know() {
    let (root, layout) = machine();
    layout.make_directories(Mode::Do).unwrap();
    fs::remove_dir(layout.state()).unwrap();
    let own = root.path().join("data/agent");
    let file = Config::new(layout.config()).file();
    fs::write(&file, format!("state_dir = \"{}\"\n", own.display())).unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    let before = tree(root.path());

    let layout = layout.as_configured().unwrap();
    assert!(layout.has_own_state());
    assert_eq!(put(&layout, Mode::Do).unwrap(), ALL);
    let config = Config::open(layout.config()).unwrap();
    assert_eq!((config.state(), layout.state()), (own.as_path(), own.clone()));
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, 0o700);
    assert!(!root.path().join("var/lib/nexplane-agent").exists());
    assert_eq!(put(&layout, Mode::Do).unwrap(), [""; 0]);
    let [(_, unit), (_, early), _] = layout.units();
    let mounts = format!("\nRequiresMountsFor={}\n", own.display());
    assert!(unit.contains(&mounts) && early.contains(&mounts), "{unit}{early}");
    assert!(!unit.contains("StateDirectory"), "{unit}");
    assert!(early.contains(&format!("\nConditionPathExists={}/armed\n", own.display())), "{early}");

    // What others can look into is theirs to close.
    fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
    let problem = layout.make_directories(Mode::Do).unwrap_err();
    assert!(problem.why.contains("open to other users"), "{problem:?}");
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, 0o755);
    fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();

    // Only what is the agent's goes with it.
    let host = "00000000-0000-0000-0000-0000000000a1";
    fs::create_dir(own.join("snapshots")).unwrap();
    for name in [
        "identity.json",
        "journal",
        "lock",
        &format!("journal.{host}"),
        &format!("identity.{host}.json"),
    ] {
        fs::write(own.join(name), "x").unwrap();
    }
    for name in ["notes.txt", "journal.old"] {
        fs::write(own.join(name), "mine").unwrap();
    }
    for part in layout.parts(false) {
        Layout::remove(&part, Mode::Do).unwrap();
    }
    let mut left: Vec<_> = fs::read_dir(&own).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["journal.old", "notes.txt"]);
    let mut after = tree(root.path());
    after.retain(|path, _| !path.starts_with(&own));
    let config = root.path().join("etc/nexplane-agent");
    let programs = root.path().join("usr/local/lib/nexplane-agent");
    let kept = before
        .into_iter()
        .filter(|(path, _)| !path.starts_with(&config) && !path.starts_with(&programs));
    assert_eq!(after, kept.collect());
}

#[test]
fn a_state_directory_that_no_unit_could_name_is_refused() {
    let (_root, layout) = machine();
    layout.make_directories(Mode::Do).unwrap();
    let file = Config::new(layout.config()).file();
    for wrong in ["/", "relative", "/data/with space", "/data/%n", "/data/a\\nb"] {
        fs::write(&file, format!("state_dir = \"{wrong}\"\n")).unwrap();
        let problem = layout.clone().as_configured().unwrap_err();
        assert!(problem.why.contains("state_dir"), "{wrong}: {problem:?}");
    }
}
