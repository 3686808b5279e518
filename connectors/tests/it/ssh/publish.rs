//! Packages that a test makes in its host, and a source of them.

/// Makes these the only packages of the host's sources; for its root. Of each: name, version and what else stands
/// in its control file.
pub const PUBLISH: &str = r#"
    cd /var/tmp; mkdir -p repository; : >repository/Packages
    package() {
        mkdir -p build/DEBIAN build/usr/share/$1 build/etc
        echo $2 >build/usr/share/$1/version
        echo $2 >build/etc/$1.conf
        echo /etc/$1.conf >build/DEBIAN/conffiles
        printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Test <test@example.org>\n%b' \
            "$1" "$2" "${3-}Description: of a test\n" >build/DEBIAN/control
        deb=repository/$1_$2.deb
        dpkg-deb --root-owner-group -Znone -b build $deb
        {
            cat build/DEBIAN/control
            echo "Filename: $1_$2.deb"
            echo "Size: $(stat -c %s $deb)"
            echo "SHA256: $(sha256sum $deb | cut -d ' ' -f 1)"
            echo
        } >>repository/Packages
        rm -r build
    }
    package nx-lib 1.0
    package nx-app 1.0 'Depends: nx-lib\n'
    package nx-app 2.0 'Depends: nx-lib\n'
    package nx-rival 1.0 'Conflicts: nx-app\n'
    echo 'deb [trusted=yes] file:/var/tmp/repository ./' >/etc/apt/sources.list
    apt-get -q update"#;
