//! Releases of the agent, out of a directory: `VERSION/TARGET/` with `manifest.json`, `manifest.sig` and the program.
//!
//! Read when somebody asks, so a release is there as soon as its files are. What is given away is checked for its
//! form, and the program for its size and hash, so that a mishap in the directory is found here and not on ten
//! thousand hosts. Whether it is to be believed is the hosts' to say: no release key is kept here, and a release that
//! was tampered with by whoever has this server is refused by each of them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use nexplane_agent::release::{self, Manifest, PROGRAM, Signatures, TEXT_LIMIT, Version};
use nexplane_core::id::HostId;
use nexplane_core::job::ReleaseOffer;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::problem::ApiError;

/// Programs that are given away at the same time: more only makes each of them slower.
const DOWNLOADS: usize = 16;
/// Longest time that one may take: an order is valid as long.
const DOWNLOAD: Duration = Duration::from_mins(10);
/// When somebody may try again who found no place.
const AGAIN_S: u32 = 10;
const PIECE: usize = 64 * 1024;
/// Most programs whose hash is remembered.
const REMEMBERED: usize = 256;

/// The directory of releases, if there is one.
#[derive(Clone, Debug)]
pub struct Releases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: Option<PathBuf>,
    downloads: Arc<Semaphore>,
    /// Who fetches one now.
    hosts: Mutex<HashSet<HostId>>,
    /// Hashes of programs, for as long as their files stay as they are.
    hashes: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

/// What changes when a file does.
type Stamp = (u64, Option<SystemTime>);

/// Why a release is not given away.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("this control plane offers no releases: the setting agent-releases names no directory")]
    NoDirectory,
    #[error("there is no release {version} for {target}")]
    Unknown { version: String, target: String },
    #[error("the release {version} for {target} is damaged here: {why}")]
    Damaged { version: String, target: String, why: String },
    #[error("other agents fetch programs at the moment")]
    Busy,
}

impl From<ReleaseError> for ApiError {
    fn from(error: ReleaseError) -> Self {
        let detail = error.to_string();
        match error {
            ReleaseError::NoDirectory | ReleaseError::Unknown { .. } => {
                Self::new(StatusCode::NOT_FOUND, "release.unknown", detail)
            }
            ReleaseError::Damaged { .. } => {
                tracing::error!("{detail}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "release.damaged", detail)
            }
            ReleaseError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "release.busy", detail)
                    .retry_after(AGAIN_S)
            }
        }
    }
}

/// The files of one release.
struct Found {
    directory: PathBuf,
    version: String,
    target: String,
}

impl Found {
    fn damaged(&self, why: impl std::fmt::Display) -> ReleaseError {
        let (version, target) = (self.version.clone(), self.target.clone());
        ReleaseError::Damaged { version, target, why: why.to_string() }
    }

    async fn text(&self, name: &str) -> Result<String, ReleaseError> {
        let read = async {
            let file = tokio::fs::File::open(self.directory.join(name)).await?;
            let mut text = String::new();
            file.take(TEXT_LIMIT as u64 + 1).read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        read.await.map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                let (version, target) = (self.version.clone(), self.target.clone());
                return ReleaseError::Unknown { version, target };
            }
            self.damaged(format!("{name}: {error}"))
        })
    }
}

impl Releases {
    /// Those of a directory; none without one.
    pub fn within(directory: Option<PathBuf>) -> Self {
        let downloads = Arc::new(Semaphore::new(DOWNLOADS));
        let (hosts, hashes) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { directory, downloads, hosts, hashes }))
    }

    fn find(&self, version: &str, target: &str) -> Result<Found, ReleaseError> {
        let root = self.0.directory.as_ref().ok_or(ReleaseError::NoDirectory)?;
        // Both are parts of a path from here on.
        if version.parse::<Version>().is_err() || !release::is_target(target) {
            let short = |text: &str| text.chars().take(80).collect();
            return Err(ReleaseError::Unknown { version: short(version), target: short(target) });
        }
        let directory = root.join(version).join(target);
        Ok(Found { directory, version: version.to_owned(), target: target.to_owned() })
    }

    /// Manifest and signatures.
    ///
    /// # Errors
    /// When there is no such release, or its files do not fit each other.
    pub async fn offer(&self, version: &str, target: &str) -> Result<ReleaseOffer, ReleaseError> {
        let found = self.find(version, target)?;
        self.read(&found).await.map(|(offer, _)| offer)
    }

    async fn read(&self, found: &Found) -> Result<(ReleaseOffer, Manifest), ReleaseError> {
        let manifest = found.text("manifest.json").await?;
        let signatures = found.text("manifest.sig").await?;
        let parsed = Manifest::parse(&manifest).map_err(|error| found.damaged(error))?;
        if parsed.version.to_string() != found.version || parsed.target != found.target {
            let why = format!("its manifest is for {} on {}", parsed.version, parsed.target);
            return Err(found.damaged(why));
        }
        Signatures::parse(&signatures).map_err(|error| found.damaged(error))?;
        let program = found.directory.join(PROGRAM);
        let (size, sha256) = self
            .hash(&program)
            .await
            .map_err(|error| found.damaged(format!("{PROGRAM}: {error}")))?;
        parsed.is(&sha256, size).map_err(|error| found.damaged(error))?;
        Ok((ReleaseOffer { manifest, signatures }, parsed))
    }

    async fn hash(&self, program: &Path) -> std::io::Result<(u64, String)> {
        let meta = tokio::fs::metadata(program).await?;
        let stamp = (meta.len(), meta.modified().ok());
        let known = {
            let hashes = self.0.hashes.lock().unwrap_or_else(PoisonError::into_inner);
            hashes.get(program).filter(|(at, _)| *at == stamp).map(|(_, hash)| hash.clone())
        };
        if let Some(known) = known {
            return Ok((stamp.0, known));
        }
        let path = program.to_owned();
        let read = move || release::digest(std::fs::File::open(path)?);
        let (sha256, size) =
            tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
        let mut hashes = self.0.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= REMEMBERED {
            hashes.clear();
        }
        hashes.insert(program.to_owned(), (stamp, sha256.clone()));
        Ok((size, sha256))
    }

    /// The program, piece by piece. A host gets one at a time.
    ///
    /// # Errors
    /// As [`Releases::offer`], and when too many fetch one.
    pub async fn program(
        &self,
        host: HostId,
        version: &str,
        target: &str,
    ) -> Result<Response, ReleaseError> {
        let found = self.find(version, target)?;
        let place = Place::take(&self.0, host).ok_or(ReleaseError::Busy)?;
        let (_, manifest) = self.read(&found).await?;
        let file = tokio::fs::File::open(found.directory.join(PROGRAM))
            .await
            .map_err(|error| found.damaged(format!("{PROGRAM}: {error}")))?;
        let fetching = CancellationToken::new();
        let ended = fetching.clone();
        // Not a part of the stream: that is not asked for more by whoever does not read it.
        tokio::spawn(async move {
            let _ = timeout(DOWNLOAD, ended.cancelled()).await;
            drop(place);
        });
        let until = tokio::time::Instant::now() + DOWNLOAD;
        let fetching = fetching.drop_guard();
        let pieces = ReaderStream::with_capacity(file.take(manifest.size), PIECE);
        let pieces = pieces.take_until(tokio::time::sleep_until(until)).map(move |piece| {
            let _ = &fetching;
            piece
        });
        let mut response = Response::new(Body::from_stream(pieces));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(manifest.size));
        Ok(response)
    }
}

/// One of the [`DOWNLOADS`], for one host.
struct Place {
    releases: Arc<Inner>,
    host: HostId,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(releases: &Arc<Inner>, host: HostId) -> Option<Self> {
        let permit = Arc::clone(&releases.downloads).try_acquire_owned().ok()?;
        let is_first = releases.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(host);
        is_first.then(|| Self { releases: Arc::clone(releases), host, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.releases.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use nexplane_agent::release::key::SigningKey;
    use nexplane_agent::release::{FORMAT, TARGET};

    use super::*;

    const BYTES: &[u8] = b"the program";

    fn host(n: usize) -> HostId {
        HostId(uuid::Uuid::from_u128(n as u128))
    }

    fn manifest(version: &str) -> Manifest {
        let (sha256, size) = release::digest(BYTES).unwrap();
        let (program, target) = (PROGRAM.to_owned(), TARGET.to_owned());
        let version = version.parse().unwrap();
        Manifest { format: FORMAT, program, version, target, sha256, size, from: None }
    }

    /// A directory with a release.
    fn shop(manifest: &Manifest, at: &str) -> (tempfile::TempDir, Releases) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(at).join(TARGET);
        std::fs::create_dir_all(&directory).unwrap();
        let text = manifest.to_text();
        std::fs::write(directory.join("manifest.json"), &text).unwrap();
        let signature = SigningKey::generate().unwrap().sign(&text);
        std::fs::write(directory.join("manifest.sig"), signature).unwrap();
        std::fs::write(directory.join(PROGRAM), BYTES).unwrap();
        let releases = Releases::within(Some(root.path().to_owned()));
        (root, releases)
    }

    #[tokio::test]
    async fn a_release_is_given_as_it_is() {
        let (_root, releases) = shop(&manifest("1.2.3"), "1.2.3");
        let offer = releases.offer("1.2.3", TARGET).await.unwrap();
        assert_eq!(offer.manifest, manifest("1.2.3").to_text());
        let response = releases.program(host(1), "1.2.3", TARGET).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_LENGTH], BYTES.len().to_string());
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, BYTES);
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_to_be_unknown_and_no_path_leads_out() {
        let (root, releases) = shop(&manifest("1.2.3"), "1.2.3");
        std::fs::write(root.path().join("manifest.json"), "secret").unwrap();
        let long = "9".repeat(300);
        for (version, target) in [
            ("1.2.4", TARGET),
            ("1.2.3", "aarch64-unknown-linux-musl"),
            ("..", TARGET),
            ("1.2.3", ".."),
            ("1.2.3", "../.."),
            ("", ""),
            (&long, TARGET),
        ] {
            let refused = releases.offer(version, target).await.unwrap_err();
            assert!(matches!(refused, ReleaseError::Unknown { .. }), "{version} {target}");
            assert!(refused.to_string().len() < 300);
        }
        let none = Releases::within(None).offer("1.2.3", TARGET).await.unwrap_err();
        assert!(none.to_string().contains("agent-releases"), "{none}");
    }

    #[tokio::test]
    async fn a_mishap_in_the_directory_is_found_here() {
        let (_root, other_place) = shop(&manifest("1.2.3"), "1.2.4");
        let refused = other_place.offer("1.2.4", TARGET).await.unwrap_err().to_string();
        assert!(refused.contains("its manifest is for 1.2.3"), "{refused}");

        let (root, releases) = shop(&manifest("1.2.3"), "1.2.3");
        releases.offer("1.2.3", TARGET).await.unwrap();
        let program = root.path().join("1.2.3").join(TARGET).join(PROGRAM);
        std::fs::write(program, "the program, cut").unwrap();
        for refused in [
            releases.offer("1.2.3", TARGET).await.map(drop).unwrap_err(),
            releases.program(host(1), "1.2.3", TARGET).await.map(drop).unwrap_err(),
        ] {
            assert!(refused.to_string().contains("damaged here"), "{refused}");
        }
    }

    #[tokio::test]
    async fn only_so_many_programs_are_fetched_at_a_time() {
        let (_root, releases) = shop(&manifest("1.2.3"), "1.2.3");
        let fetch = |n| releases.program(host(n), "1.2.3", TARGET);
        let mut open = Vec::new();
        for n in 0..DOWNLOADS - 1 {
            open.push(fetch(n).await.unwrap());
        }
        let again = fetch(0).await.unwrap_err();
        assert!(matches!(again, ReleaseError::Busy), "one host takes no other's place: {again}");
        open.push(fetch(DOWNLOADS).await.unwrap());
        let busy = fetch(DOWNLOADS + 1).await.unwrap_err();
        assert!(matches!(busy, ReleaseError::Busy), "{busy}");
        // Whoever goes away gives the place back, with or without the program.
        drop(open.pop());
        let last = open.pop().unwrap();
        axum::body::to_bytes(last.into_body(), 1000).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for n in [DOWNLOADS + 1, DOWNLOADS + 2] {
            open.push(fetch(n).await.unwrap());
        }
        assert!(fetch(DOWNLOADS + 3).await.is_err());
    }

    /// Whoever takes nothing of it keeps its place no longer than anybody.
    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back_when_its_time_is_over() {
        let (_root, releases) = shop(&manifest("1.2.3"), "1.2.3");
        let _held = releases.program(host(1), "1.2.3", TARGET).await.unwrap();
        assert!(releases.program(host(1), "1.2.3", TARGET).await.is_err());
        tokio::time::sleep(DOWNLOAD + Duration::from_secs(1)).await;
        assert!(releases.program(host(1), "1.2.3", TARGET).await.is_ok());
    }
}
