//! A repository of rpm's packages that the tests make themselves and serve over HTTP, in the host that they run
//! on, for dnf and for zypper.

use std::fs;
use std::path::Path;

use super::{put, sh};

const DIRECTORY: &str = "/var/tmp/nexplane-rpms";
const ADDRESS: &str = "http://127.0.0.1:8099";
/// While it is there, nx-slow is not installed to the end.
pub const WAIT: &str = "/run/nx-wait";

/// A package: name, version, what stands in its header besides, its programs, and whether it has configuration.
const PACKAGES: [(&str, &str, &str, &str, bool); 16] = [
    // Programs of packages are run by it, and whoever runs one needs it.
    ("nx-shell", "1.0", "Provides: /bin/sh", "", false),
    ("nx-lib", "1.0", "", "", false),
    ("nx-lib", "1.1", "", "", false),
    ("nx-app", "1.0", "Requires: nx-lib", "", true),
    ("nx-app", "2.0", "Requires: nx-lib >= 1.1\nEpoch: 1\nRecommends: nx-friend", "", true),
    ("nx-rival", "1.0", "Conflicts: nx-app", "", false),
    ("nx-friend", "1.0", "Requires: nx-lib", "", false),
    ("nx-broken", "1.0", "", "%post\necho secret; echo secret >&2; exit 1", false),
    ("nx-refuses", "1.0", "", "%pre\necho secret; echo secret >&2; exit 1", false),
    ("nx-stubborn", "1.0", "", "%preun\nexit 1", false),
    ("nx-slow", "1.0", "", "%post\nwhile [ -e /run/nx-wait ]; do sleep 0.1; done", false),
    ("nx-old", "1.0", "", "", false),
    ("nx-new", "1.0", "Obsoletes: nx-old < 2", "", false),
    ("nx-lost", "1.0", "Requires: nx-not-there", "", false),
    (
        "kernel",
        "1.0",
        "Provides: installonlypkg(kernel)\nProvides: multiversion(kernel)",
        "",
        false,
    ),
    (
        "kernel",
        "2.0",
        "Provides: installonlypkg(kernel)\nProvides: multiversion(kernel)",
        "",
        false,
    ),
];

/// All but what takes the place of another one.
pub const MOST: &[&str] = &["nx-new-1.0"];

/// Where a package is that is published.
pub fn file(package: &str) -> String {
    format!("{DIRECTORY}/served/{package}-1.noarch.rpm")
}

/// Makes this the only source of the host's packages: all but these.
pub fn publish(without: &[&str]) {
    let pool = format!("{DIRECTORY}/pool");
    fs::create_dir_all(&pool).unwrap();
    for package in PACKAGES {
        if !Path::new(&format!("{pool}/{}-{}-1.noarch.rpm", package.0, package.1)).exists() {
            build(package, &pool);
        }
    }
    let served = format!("{DIRECTORY}/served");
    sh(&format!("rm -rf {served}; cp -r {pool} {served}"));
    for package in without {
        fs::remove_file(file(package)).unwrap();
    }
    let source = format!("[nx]\nname=nx\nbaseurl={ADDRESS}\ngpgcheck=0\nenabled=1\n");
    put("/etc/yum.repos.d/nx.repo", &source);
    put("/etc/zypp/repos.d/nx.repo", &source);
    serve();
    sh(&format!("createrepo_c -q {served}"));
}

/// Has the repository answer.
pub fn serve() {
    sh(&format!(
        "systemctl -q is-active nx-rpms || systemd-run -q --unit=nx-rpms python3 -m http.server \
             --bind 127.0.0.1 --directory {DIRECTORY}/served 8099
         i=0; until python3 -c 'import urllib.request as r; r.urlopen(\"{ADDRESS}\")'; do
             i=$((i+1)); [ $i -lt 100 ]; sleep 0.1
         done"
    ));
}

/// Has nobody answer any more.
pub fn go_away() {
    sh("systemctl stop nx-rpms");
}

fn build(
    (name, version, header, programs, is_configured): (&str, &str, &str, &str, bool),
    to: &str,
) {
    let build = tempfile::tempdir().unwrap();
    let at = build.path().display();
    let (make, list) = if is_configured {
        (
            format!(
                "mkdir %{{buildroot}}/etc; for f in app plain; do \
                 echo {version} >%{{buildroot}}/etc/nx-$f.conf; done"
            ),
            "%config(noreplace) /etc/nx-app.conf\n%config /etc/nx-plain.conf",
        )
    } else {
        (String::new(), "")
    };
    let spec = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: of a test\nLicense: MIT\n\
         BuildArch: noarch\n{header}\n%description\nof a test\n%install\n\
         mkdir -p %{{buildroot}}/usr/share/{name}; echo {version} >%{{buildroot}}/usr/share/{name}/version\n\
         {make}\n{programs}\n%files\n/usr/share/{name}\n{list}\n"
    );
    put(&format!("{at}/package.spec"), &spec);
    sh(&format!(
        "rpmbuild -bb --quiet --define '_topdir {at}' --define '_rpmdir {at}/out' \
             --buildroot {at}/root {at}/package.spec >{at}/log 2>&1 || {{ cat {at}/log; exit 1; }}
         mv {at}/out/noarch/*.rpm {to}/"
    ));
}
