//! `nexplane-agent release`: for whoever builds the agent, and for whoever wants to know who did.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use nexplane_agent::release::key::{PublicKey, SigningKey};
use nexplane_agent::release::{self, FORMAT, Manifest, PROGRAM, Signatures, Version};
use zeroize::Zeroizing;

/// Make release keys, and sign and check releases of the agent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  Once, on a machine that the control plane does not reach. The public key that it prints goes into [update] of
  config.toml on every host:
    nexplane-agent release keygen --key release.key
  For every release, from the program that was built:
    nexplane-agent release sign --key release.key --program target/x86_64-unknown-linux-musl/agent/nexplane-agent \\
      --version 1.4.2 --target x86_64-unknown-linux-musl --out releases
  The directory `releases` is what the server's --agent-releases names. Who signed what:
    nexplane-agent release verify --public-key BASE64 releases/1.4.2/x86_64-unknown-linux-musl")]
pub struct Release {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key that signs releases. Prints the public half.
    Keygen(Keygen),
    /// Sign a program as a release.
    Sign(Sign),
    /// Say whether a release is whole, and signed by these keys.
    Verify(Verify),
}

/// Make a key that signs releases. Prints the public half.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent release keygen --key release.key

The file has mode 0600 and is never overwritten. Who has it can put a program on every host that pins it: keep it
off the control plane, and off every machine that need not sign.")]
struct Keygen {
    /// Where the private key is written.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Sign a program as a release.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent release sign --key release.key --program nexplane-agent --version 1.4.2 \\
    --target x86_64-unknown-linux-musl --out releases

Writes manifest.json, manifest.sig and the program to OUT/VERSION/TARGET. `nexplane-agent version` prints version and
target of a program. Signing a release that is there again, with another key, adds a signature, for the time in which
hosts pin the one or the other.")]
struct Sign {
    /// The private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The program that was built.
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Its version, as the program itself says it.
    #[arg(long)]
    version: Version,
    /// The target triple that it is built for.
    #[arg(long, value_name = "TRIPLE")]
    target: String,
    /// The lowest version that it may follow. [default: any]
    #[arg(long, value_name = "VERSION")]
    from: Option<Version>,
    /// Directory of releases.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Say whether a release is whole, and signed by these keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent release verify --public-key BASE64 releases/1.4.2/x86_64-unknown-linux-musl

Exit status: 0 when it is, 1 when it is not.")]
struct Verify {
    /// A key that counts, as `release keygen` prints it; may be given several times.
    #[arg(long = "public-key", value_name = "BASE64", required = true)]
    public_keys: Vec<PublicKey>,
    /// Directory with manifest.json, manifest.sig and the program.
    release: PathBuf,
}

impl Release {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Keygen(command) => command.run(),
            Command::Sign(command) => command.run(),
            Command::Verify(command) => command.run(),
        }
    }
}

impl Keygen {
    fn run(self) -> anyhow::Result<ExitCode> {
        let key = SigningKey::generate()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.key)
            .with_context(|| format!("could not make {}", self.key.display()))?;
        file.write_all(key.pem().as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("could not write {}", self.key.display()))?;
        let public = key.public_key();
        let mut out = io::stdout();
        writeln!(out, "key id      {}", public.id())?;
        writeln!(out, "public key  {public}")?;
        writeln!(out, "\nOn each host, in config.toml:\n\n[update]\nkeys = [\"{public}\"]")?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Sign {
    fn run(self) -> anyhow::Result<ExitCode> {
        let pem = fs::read_to_string(&self.key).map(Zeroizing::new);
        let pem = pem.with_context(|| format!("could not read {}", self.key.display()))?;
        let key = SigningKey::from_pem(&pem)?;
        let open = || {
            File::open(&self.program)
                .with_context(|| format!("could not read {}", self.program.display()))
        };
        let (sha256, size) = release::digest(open()?)?;
        let manifest = Manifest {
            format: FORMAT,
            program: PROGRAM.to_owned(),
            version: self.version,
            target: self.target,
            sha256,
            size,
            from: self.from,
        }
        .checked()?;
        let directory = self.out.join(manifest.version.to_string()).join(&manifest.target);
        fs::create_dir_all(&directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
        let text = manifest.to_text();
        let (manifest_path, signatures_path) = paths(&directory);
        let mut signatures = String::new();
        match fs::read_to_string(&manifest_path) {
            Ok(earlier) if earlier == text => {
                signatures = fs::read_to_string(&signatures_path)
                    .with_context(|| format!("could not read {}", signatures_path.display()))?;
            }
            Ok(_) => bail!(
                "{} is there and says something else: a version is released once, so give this one another",
                manifest_path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("could not read {}", manifest_path.display()));
            }
        }
        let signed = key.sign(&text);
        if !signatures.lines().any(|line| line == signed.trim_end()) {
            signatures.push_str(&signed);
        }
        Signatures::parse(&signatures)?;
        // The manifest last: with it the release is there.
        put(&directory.join(PROGRAM), &mut open()?)?;
        put(&signatures_path, &mut signatures.as_bytes())?;
        put(&manifest_path, &mut text.as_bytes())?;
        let Manifest { version, target, sha256, size, .. } = manifest;
        let mut out = io::stdout();
        writeln!(out, "signed  {PROGRAM} {version} for {target}")?;
        writeln!(out, "sha256  {sha256} ({size} bytes)")?;
        writeln!(out, "key     {}", key.public_key().id())?;
        writeln!(out, "in      {}", directory.display())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (manifest_path, signatures_path) = paths(&self.release);
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
        };
        let text = read(&manifest_path)?;
        let manifest = Manifest::parse(&text)?;
        let signatures = Signatures::parse(&read(&signatures_path)?)?;
        let signer = signatures.signer(&text, &self.public_keys)?;
        let program = self.release.join(PROGRAM);
        let file = File::open(&program)
            .with_context(|| format!("could not read {}", program.display()))?;
        manifest.compare(file)??;
        let Manifest { version, target, .. } = manifest;
        writeln!(
            io::stdout(),
            "OK    {PROGRAM} {version} for {target}, signed by {}",
            signer.id()
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("manifest.json"), directory.join("manifest.sig"))
}

/// Puts a whole file in place.
fn put(path: &Path, from: &mut dyn io::Read) -> anyhow::Result<()> {
    let mut attempt = || {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        io::copy(from, &mut file)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error).map(drop)
    };
    attempt().with_context(|| format!("could not write {}", path.display()))
}
