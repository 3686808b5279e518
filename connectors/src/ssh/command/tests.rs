//! Command lines, character by character.

use nexplane_agent::host::package::Wish;

use super::*;

fn name(text: &str) -> AccountName {
    text.to_owned().try_into().unwrap()
}

#[test]
fn a_command_line_is_exactly_this() {
    let (user, path) = (name("deploy"), "/srv/it's $(here)".parse::<HostPath>().unwrap());
    let new: HostPath = "/etc/new".parse().unwrap();
    let mode = Mode::from_bits(0o640);
    let unit: UnitName = r"a\x2db.service".parse().unwrap();
    let hash = SecretText::new("$6$salt$hash".to_owned());
    let ids = |uid, gid| Ids { uid, gid };
    let expires = Some(Expiry::Day(1));
    let begin = "/usr/bin/env LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    let wish = Wish {
        install: [("nx-app".parse().unwrap(), "1:2.0".parse().ok())].into(),
        ..Wish::default()
    };
    let apt = Apt::new(&wish, How::CarryOut).unwrap().unwrap();
    let line = Command::Apt(&apt).line(true);
    let to_the_end = format!("{begin} /bin/sh -c {} sh", quoted(TO_THE_END));
    let apt_begins = "/usr/bin/sudo -n -- /usr/bin/env 'DEBIAN_FRONTEND=noninteractive' \
                      'NEEDRESTART_SUSPEND=1' '/usr/bin/apt-get' '-q' '-y' '--no-install-recommends'";
    assert!(line.starts_with(&format!("{to_the_end} {apt_begins}")), "{line}");
    let only_fetched = Apt::new(&wish, How::Fetch).unwrap().unwrap();
    let line = Command::Apt(&only_fetched).line(true);
    assert!(line.starts_with(&format!("{begin} {apt_begins}")), "{line}");
    let names = ["nx-app".parse().unwrap(), "nx-lib".parse().unwrap()];
    assert_eq!(
        Command::Remove(&names).line(false),
        format!(
            "{to_the_end} /usr/bin/env 'DEBIAN_FRONTEND=noninteractive' 'NEEDRESTART_SUSPEND=1' '/usr/bin/dpkg' \
             '--remove' '--' 'nx-app' 'nx-lib'"
        )
    );
    let line = Command::Apt(&apt).line(true);
    assert!(line.ends_with("'--no-remove' 'install' '--' 'nx-app=1:2.0'"), "{line}");
    for (command, rest) in [
        (Command::Shadow(&user), "/usr/bin/getent '-s' 'files' '--' 'shadow' 'deploy'"),
        (
            Command::SetMode { path: &path, mode },
            r"/usr/bin/chmod '--' '0640' '/srv/it'\''s $(here)'",
        ),
        (
            Command::SetOwner { path: &path, from: ids(0, 0), to: ids(1000, 33) },
            r"/usr/bin/chown '--no-dereference' '--from=0:0' '--' '1000:33' '/srv/it'\''s $(here)'",
        ),
        (
            Command::SetAccess { user: &user, lock: Some(true), expires },
            "/usr/sbin/usermod '--lock' '--expiredate' '1' '--' 'deploy'",
        ),
        (
            Command::SetAccess { user: &user, lock: None, expires: Some(Expiry::Never) },
            "/usr/sbin/usermod '--expiredate' '' '--' 'deploy'",
        ),
        (Command::SetHash { user: &user, hash: &hash }, "/usr/sbin/chpasswd '--encrypted'"),
        (
            Command::Create { path: &new, mode, ids: ids(0, 7) },
            "/usr/bin/install '--mode=0640' '--owner=0' '--group=7' '--no-target-directory' '--' \
             '/dev/null' '/etc/new'",
        ),
        (
            Command::Fill { path: &new, content: b"text" },
            "/usr/bin/dd 'of=/etc/new' 'bs=64K' 'conv=nocreat,fsync' 'status=none'",
        ),
        (
            Command::Rename { from: &new, to: &path, replace: false },
            r"/usr/bin/mv '--no-target-directory' '--no-clobber' '--' '/etc/new' '/srv/it'\''s $(here)'",
        ),
        (
            Command::SshdAccepts(&["MaxAuthTries 4", "LogLevel INFO"]),
            "/usr/sbin/sshd '-t' '-o' 'MaxAuthTries 4' '-o' 'LogLevel INFO'",
        ),
        (
            Command::Switch { unit: &unit, to: Switch::Stop },
            r"/usr/bin/systemctl 'stop' '--no-ask-password' '--quiet' '--' 'a\x2db.service'",
        ),
    ] {
        let sudo = format!("{begin} /usr/bin/sudo -n -- {rest}");
        assert_eq!(command.line(true), sudo);
        assert_eq!(command.line(false), format!("{begin} {rest}"));
    }
    assert_eq!(Command::OwnId.line(true), format!("{begin} /usr/bin/id '-u'"));
    let set = Command::SetHash { user: &user, hash: &hash };
    assert_eq!(*set.input().unwrap(), b"deploy:$6$salt$hash\n");
    assert!(!format!("{set:?} {}", set.line(true)).contains("salt"));
}

/// The shell gives back what was quoted: texts of the characters that mean something to it, and of all
/// ASCII but NUL, which no argument can have.
#[test]
fn whatever_is_quoted_is_one_word_of_the_shell() {
    let special = "''''''\"\"\"$$$``\\\\\\!;&|<>(){}[]*?~#=%- \t\n\rüß€\u{1F600}\u{202e}";
    let alphabet: Vec<char> = (1..=127_u8).map(char::from).chain(special.chars()).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut texts: Vec<String> =
        ["", "'", "''", "-n", "--", "\\", "$(id)", "`id`", "a'; id; 'b", "\n"]
            .map(str::to_owned)
            .to_vec();
    for _ in 0..2000 {
        let length = draw(12);
        texts.push((0..length).map(|_| alphabet[draw(alphabet.len())]).collect());
    }
    let words: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    let script = format!("printf '%s\\0' {}", words.join(" "));
    for shell in ["/bin/sh", "/bin/bash"] {
        let said = std::process::Command::new(shell).args(["-c", &script]).output().unwrap();
        assert!(said.status.success(), "{shell}: {said:?}");
        let said = String::from_utf8(said.stdout).unwrap();
        let back: Vec<_> = said.split_terminator('\0').collect();
        assert_eq!(back, texts, "{shell}");
    }
}

/// Nobody reads what it prints, and it goes on to its end; somebody does, and hears all of it. Nothing is left.
#[test]
fn what_goes_on_to_its_end_does_so_with_broken_pipes_and_passes_on_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let start = |script: &str, shut: bool| {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", TO_THE_END, "sh", "/bin/sh", "-c", script]);
        command.env("TMPDIR", folder.path()).current_dir(folder.path());
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        if shut {
            drop((child.stdout.take(), child.stderr.take()));
        }
        child.wait_with_output().unwrap()
    };
    // What packages make has the modes that it has without us.
    let said = start("umask", false);
    let umask = std::process::Command::new("/bin/sh").args(["-c", "umask"]).output().unwrap();
    assert_eq!((said.stdout, said.stderr), (Vec::new(), umask.stdout));
    start("sleep 0.1; echo one; echo two >&2; ls -l $TMPDIR >done", true);
    let done = std::fs::read_to_string(folder.path().join("done")).unwrap();
    assert!(done.contains("-rw------- "), "{done}");
    std::fs::remove_file(folder.path().join("done")).unwrap();
    let said = start("echo one; echo two >&2; exit 100", false);
    assert_eq!((said.status.code(), said.stdout), (Some(100), Vec::new()));
    assert_eq!(String::from_utf8(said.stderr).unwrap(), "one\ntwo\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
    drop(std::fs::remove_dir(folder.path()));
    let said = start_nowhere(folder.path());
    assert_eq!(said.status.code().map(i32::cast_unsigned), Some(NOT_BEGUN));
}

/// There is no folder for the file.
fn start_nowhere(gone: &std::path::Path) -> std::process::Output {
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", TO_THE_END, "sh", "/bin/true"]).env("TMPDIR", gone);
    command.output().unwrap()
}

#[test]
fn a_day_has_the_date_that_the_system_gives_it() {
    for day in [0, 1, 58, 59, 60, 364, 365, 789, 11_016, 11_017, 19_782, 20_000, 47_540, 99_999] {
        let at = format!("@{}", u64::from(day) * 86_400);
        let said = std::process::Command::new("date").args(["-u", "-d", &at, "+%F"]).output();
        assert_eq!(date(day), String::from_utf8(said.unwrap().stdout).unwrap().trim());
    }
}
