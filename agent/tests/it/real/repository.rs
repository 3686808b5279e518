//! A repository of packages that the tests make themselves, in the host that they run on.

use std::fs;
use std::path::Path;

use super::{put, sh};

const DIRECTORY: &str = "/var/tmp/nexplane-repository";
const SOURCES: &str = "/etc/apt/sources.list";
/// Of these only the versions are there that a test asks for.
const ASKED_FOR: [&str; 2] = ["nx-app", "nx-large"];

/// A package: name, version, what stands in its control file besides, and what makes its files in the
/// current directory.
const PACKAGES: [(&str, &str, &str, &str); 13] = [
    ("nx-lib", "1.0", "", ""),
    ("nx-app", "1.0", "Depends: nx-lib\n", "conffile nx-app one"),
    ("nx-app", "2.0", "Depends: nx-lib\n", "conffile nx-app two"),
    ("nx-rival", "1.0", "Conflicts: nx-app\n", ""),
    ("nx-friend", "1.0", "Depends: nx-lib\n", ""),
    (
        "nx-broken",
        "1.0",
        "",
        "script postinst 'echo secret; echo secret >&2; exit 1'; conffile nx-broken x",
    ),
    (
        "nx-base",
        "1.0",
        "",
        "script postinst 'mkdir -p /var/tmp/nx-base'; conffile nx-base x
         script postrm '[ \"$1\" != purge ] || rm -r /var/tmp/nx-base'",
    ),
    // The list of the repository calls it nx-liar.
    ("nx-hidden", "1.0", "", ""),
    // The list does not say that.
    ("nx-breaker", "1.0", "Breaks: nx-friend\n", ""),
    ("nx-slow", "1.0", "", "script postinst 'sleep 4'"),
    ("nx-large", "1.0", "", "truncate -s 600000000 usr/share/nx-large/zeros"),
    ("nx-cleans", "1.0", "", "script postrm 'rm -f /var/tmp/nx-data'; conffile nx-cleans x"),
    ("nx-stubborn", "1.0", "", "script prerm 'exit 1'"),
];

/// Both versions of the one that most tests are about.
pub const APPS: &[&str] = &["nx-app_1.0", "nx-app_2.0"];

/// The file of a package that is published.
pub fn file(package: &str) -> String {
    format!("{DIRECTORY}/pool/{package}.deb")
}

/// Makes this the only source of the host's packages.
pub fn publish(asked_for: &[&str]) {
    let pool = format!("{DIRECTORY}/pool");
    fs::create_dir_all(&pool).unwrap();
    for (name, version, control, files) in PACKAGES {
        let deb = format!("{pool}/{name}_{version}.deb");
        let is_asked_for = asked_for.contains(&format!("{name}_{version}").as_str());
        if ASKED_FOR.contains(&name) && !is_asked_for {
            let _ = fs::remove_file(&deb);
        } else if !Path::new(&deb).exists() {
            build(name, version, control, files, &deb);
        }
    }
    put(SOURCES, &format!("deb [trusted=yes] file:{DIRECTORY} ./\n"));
    sh(&format!(
        "rm -f /etc/apt/sources.list.d/*; cd {DIRECTORY}
         for deb in pool/*.deb; do
             dpkg-deb --field \"$deb\" | sed 's/^Package: nx-hidden$/Package: nx-liar/; /^Breaks:/d'
             echo \"Filename: $deb\"
             echo \"Size: $(stat -c %s \"$deb\")\"
             echo \"SHA256: $(sha256sum \"$deb\" | cut -d ' ' -f 1)\"
             echo
         done >Packages
         apt-get -q update"
    ));
}

fn build(name: &str, version: &str, control: &str, files: &str, deb: &str) {
    let build = tempfile::tempdir().unwrap();
    let at = build.path().display();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n\
         Maintainer: Test <test@example.org>\nDescription: of a test\n{control}"
    );
    put(&format!("{at}/DEBIAN/control"), &control);
    sh(&format!(
        "conffile() {{ mkdir -p etc; echo $2 >etc/$1.conf; echo /etc/$1.conf >DEBIAN/conffiles; }}
         script() {{ printf '#!/bin/sh\\n%s\\n' \"$2\" >DEBIAN/$1; chmod 755 DEBIAN/$1; }}
         chmod 755 {at}; cd {at}; mkdir -p usr/share/{name}; echo {version} >usr/share/{name}/version
         {files}
         dpkg-deb --root-owner-group -Zgzip -z1 -b . {deb}"
    ));
}
