//! Artifact files on disk: found, read, and read again when they change.
//!
//! What is in a file is [`decode::artifact`](crate::decode::artifact)'s business. Nothing is watched
//! by the operating system's means: a scan of a project's few hundred files takes milliseconds.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::watch;

use super::builds::{Builds, is_build};
use super::walk::{LoadError, Looks, MOST_FILES, Warning, walk};
use crate::decode::artifact::{Artifact, ArtifactError, Compiled, LARGEST};

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// New and changed ones, in the order of their paths.
    pub artifacts: Vec<Artifact>,
    /// New ones: each file is warned of once for each time it changes, a folder once.
    pub warnings: Vec<Warning>,
}

/// Scans folders, again and again, for what is new.
pub struct ArtifactWatcher {
    folders: Vec<PathBuf>,
    /// Files read before, by what they looked like then.
    read: HashMap<PathBuf, Looks>,
    builds: Builds,
    /// Files that are looked at in a folder.
    most_files: usize,
    /// Folders that were warned of.
    warned: HashSet<PathBuf>,
}

impl ArtifactWatcher {
    pub fn new(folders: Vec<PathBuf>) -> Self {
        let (read, builds, warned) = Default::default();
        Self { folders, read, builds, most_files: MOST_FILES, warned }
    }

    /// One that finds so many artifacts, beside the other files of their folders.
    pub fn finding(self, artifacts: usize) -> Self {
        Self { most_files: artifacts.saturating_mul(2).max(MOST_FILES), ..self }
    }

    /// Reads what is new since the last scan, as long as nobody `stopped` it. Blocks on the disk.
    pub fn scan(&mut self, stopped: impl Fn() -> bool) -> Scan {
        let mut scan = Scan::default();
        let mut files = Vec::new();
        for folder in &self.folders {
            match walk(folder, self.most_files, &mut files, &stopped) {
                Ok(()) => drop(self.warned.remove(folder)),
                Err(cause) => {
                    if self.warned.insert(folder.clone()) {
                        scan.warnings.push(Warning { path: folder.clone(), cause });
                    }
                }
            }
        }
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        files.dedup_by(|a, b| a.0 == b.0);
        let (builds, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(path, _)| is_build(path));
        let changed = self.builds.update(builds, &mut scan.warnings, &stopped);
        // The compiler writes both, and a scan may come in between.
        self.read.retain(|path, _| !changed.iter().any(|folder| path.starts_with(folder)));
        let mut read = HashMap::with_capacity(files.len());
        for (path, looks) in files {
            if stopped() {
                break;
            }
            // Files may be gone by now: `read` holds those of this scan only.
            if self.read.get(&path) != Some(&looks) {
                match load(&path) {
                    Ok(mut artifact) => {
                        let layout = artifact.layout.take();
                        artifact.layout = layout.or_else(|| self.builds.layout(&path, &artifact));
                        scan.artifacts.push(artifact);
                    }
                    Err(LoadError::Artifact(ArtifactError::NotAnArtifact)) => {}
                    Err(cause) => scan.warnings.push(Warning { path: path.clone(), cause }),
                }
            }
            read.insert(path, looks);
        }
        self.read = read;
        scan
    }
}

/// Has `watcher` scan once and then every so often, until `shutdown` becomes true or nothing receives:
/// sends artifacts, logs warnings.
pub async fn follow_artifacts(
    mut watcher: ArtifactWatcher,
    every: Duration,
    artifacts: Sender<Compiled>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let stopping = shutdown.clone();
        let scanned = tokio::task::spawn_blocking(move || {
            let scan = watcher.scan(|| *stopping.borrow());
            (watcher, scan)
        });
        let Ok((back, scan)) = scanned.await else {
            tracing::error!("the scan for artifacts ended early; contracts stay as they are known");
            return;
        };
        watcher = back;
        for Warning { path, cause } in &scan.warnings {
            match cause {
                // Of the usual folders a project has one, and before it is compiled none.
                LoadError::Folder(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::debug!(path = %path.display(), "no artifacts here yet");
                }
                cause => tracing::warn!(path = %path.display(), "artifact not used: {cause}"),
            }
        }
        let found = scan.artifacts.into_iter().map(|it| Compiled::Artifact(Box::new(it)));
        for compiled in found.chain([Compiled::Scanned]) {
            if artifacts.send(compiled).is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

fn load(path: &Path) -> Result<Artifact, LoadError> {
    let file = File::open(path).map_err(LoadError::Read)?;
    let mut json = Vec::new();
    // One byte more than is accepted, and never more than that in memory.
    let most = LARGEST as u64 + 1;
    let read = file.take(most).read_to_end(&mut json).map_err(LoadError::Read)?;
    if read > LARGEST {
        let bytes = fs::metadata(path).map_or(most, |metadata| metadata.len());
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        return Err(ArtifactError::TooLarge(bytes).into());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Artifact::parse(&json, &stem)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFT: &str = include_str!("../../tests/fixtures/artifacts/MarketNFT.json");

    fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn names(scan: &Scan) -> Vec<&str> {
        scan.artifacts.iter().map(|artifact| &*artifact.contract).collect()
    }

    fn warnings(scan: &Scan) -> Vec<String> {
        let of = |warning: &Warning| {
            format!("{}: {}", warning.path.file_name().unwrap().to_string_lossy(), warning.cause)
        };
        scan.warnings.iter().map(of).collect()
    }

    #[test]
    fn artifacts_are_found_and_other_files_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "contracts/MarketNFT.sol/MarketNFT.json", NFT);
        write(
            folder,
            "contracts/MarketNFT.sol/MarketNFT.dbg.json",
            "{\"_format\":\"hh-sol-dbg-1\"}",
        );
        write(folder, "build-info/abc.json", NFT);
        write(folder, "cache/solidity-files-cache.json", "{");
        write(folder, "tsconfig.json", "{\"compilerOptions\":{}}");
        write(folder, "readme.md", "no JSON");
        let scan = ArtifactWatcher::new(vec![folder.to_path_buf()]).scan(|| false);
        assert_eq!(names(&scan), ["MarketNFT"]);
        assert_eq!(warnings(&scan), [""; 0]);
    }

    #[test]
    fn bad_files_are_warned_of_once_and_stop_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "A.json", NFT);
        let cut = write(folder, "Cut.json", &NFT[..NFT.len() / 2]);
        File::create(folder.join("Huge.json")).unwrap().set_len(50 << 20).unwrap();
        write(folder, "Wrong.json", r#"{"abi":[],"bytecode":"0xzz"}"#);
        let mut watcher = ArtifactWatcher::new(vec![folder.to_path_buf()]);
        let scan = watcher.scan(|| false);
        assert_eq!(names(&scan), ["MarketNFT"]);
        let told = warnings(&scan);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("Cut.json: expected a Hardhat or Foundry artifact: EOF"));
        assert!(told[1].starts_with("Huge.json: expected an artifact of at most 16777216 bytes"));
        assert!(told[2].starts_with("Wrong.json: expected hex in `bytecode`"));
        let again = watcher.scan(|| false);
        assert!(again.artifacts.is_empty() && again.warnings.is_empty());
        fs::write(cut, NFT).unwrap();
        let healed = watcher.scan(|| false);
        assert_eq!((names(&healed).len(), healed.warnings.len()), (1, 0));
    }

    /// A project of Hardhat's with a contract and its layout in a build info.
    fn ledger(folder: &Path, version: u8) -> (PathBuf, String) {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/artifacts/openzeppelin.json"))
                .unwrap();
        let mut artifact = all["ledger"].clone();
        let layout = artifact["storageLayout"].take();
        if version == 3 {
            artifact["inputSourceName"] = "project/Ledger.sol".into();
        }
        write(folder, "contracts/Ledger.json", &artifact.to_string());
        let source = if version == 3 { "project/Ledger.sol" } else { "Ledger.sol" };
        let contracts = serde_json::json!({source: {"Ledger": {"storageLayout": layout}}});
        let build = serde_json::json!({"output": {"contracts": contracts}}).to_string();
        let name = if version == 3 { "build-info/x.output.json" } else { "build-info/x.json" };
        (folder.join(name), build)
    }

    #[test]
    fn layouts_come_from_the_build_info_of_the_same_folder() {
        for version in [2, 3] {
            let parent = tempfile::tempdir().unwrap();
            let (here, elsewhere) = (parent.path().join("a"), parent.path().join("b"));
            let (path, build) = ledger(&here, version);
            let (other, _) = ledger(&elsewhere, version);
            write(&here, "build-info/input.json", r#"{"input":{"sources":{}}}"#);
            fs::create_dir_all(other.parent().unwrap()).unwrap();
            fs::write(&other, &build).unwrap();
            let mut watcher = ArtifactWatcher::new(vec![here, elsewhere]);
            let has = |scan: &Scan| -> Vec<bool> {
                assert_eq!(warnings(scan), [""; 0]);
                scan.artifacts.iter().map(|artifact| artifact.layout.is_some()).collect()
            };
            assert_eq!(has(&watcher.scan(|| false)), [false, true], "Hardhat {version}");
            fs::write(&path, &build).unwrap();
            assert_eq!(has(&watcher.scan(|| false)), [true], "told when the build info came");
            assert_eq!(has(&watcher.scan(|| false)), [false; 0]);
            fs::remove_file(&path).unwrap();
            assert_eq!(has(&watcher.scan(|| false)), [false], "the layout is out of date");
        }
    }

    #[test]
    fn bad_build_infos_are_warned_of_once_and_stop_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (path, build) = ledger(folder, 2);
        write(folder, "build-info/cut.json", &build[..build.len() / 2]);
        write(folder, "build-info/odd.json", r#"{"output":{"contracts":[7]}}"#);
        let huge = File::create(folder.join("build-info/huge.json")).unwrap();
        huge.set_len(300 << 20).unwrap();
        // 50 MB of what is not wanted, before and in the place of what is.
        let text = "x".repeat(25_000_000);
        let large = build.replacen('{', &format!(r#"{{"input":"{text}","#), 1);
        let large = large.replacen(
            "\"contracts\":{",
            &format!(r#""contracts":{{"a":{{"A":{{"storageLayout":"{text}"}}}},"#),
            1,
        );
        fs::write(path, large).unwrap();
        let mut watcher = ArtifactWatcher::new(vec![folder.to_path_buf()]);
        let scan = watcher.scan(|| false);
        assert_eq!(names(&scan), ["Ledger"]);
        assert!(scan.artifacts[0].layout.is_some());
        let told = warnings(&scan);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("cut.json: expected a build info: EOF"), "{told:?}");
        assert!(told[1].starts_with("huge.json: expected a build info of at most"), "{told:?}");
        assert_eq!(warnings(&watcher.scan(|| false)), [""; 0]);
    }

    #[test]
    fn a_missing_folder_is_warned_of_once_and_looked_for_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("artifacts");
        let mut watcher = ArtifactWatcher::new(vec![folder.clone()]);
        assert!(warnings(&watcher.scan(|| false))[0].starts_with("artifacts: expected a folder"));
        assert!(watcher.scan(|| false).warnings.is_empty());
        write(&folder, "A.json", NFT);
        assert_eq!(names(&watcher.scan(|| false)), ["MarketNFT"]);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(watcher.scan(|| false).warnings.len(), 1, "gone again");
        write(&folder, "A.json", NFT);
        assert_eq!(names(&watcher.scan(|| false)), ["MarketNFT"], "compiled anew");
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_in_circles_end() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "a/A.json", NFT);
        std::os::unix::fs::symlink(folder, folder.join("a/up")).unwrap();
        std::os::unix::fs::symlink(folder.join("a"), folder.join("b")).unwrap();
        std::os::unix::fs::symlink(folder.join("nowhere"), folder.join("Gone.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("Zero.json")).unwrap();
        let scan = ArtifactWatcher::new(vec![folder.to_path_buf()]).scan(|| false);
        assert_eq!(names(&scan), ["MarketNFT"]);
        assert!(scan.warnings.is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_not_followed_and_a_stopped_scan_ends() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = folder.path();
        write(folder, "a/A.json", NFT);
        write(elsewhere.path(), "deep/B.json", NFT);
        std::os::unix::fs::symlink(elsewhere.path(), folder.join("out")).unwrap();
        std::os::unix::fs::symlink("/", folder.join("root")).unwrap();
        let mut watcher = ArtifactWatcher::new(vec![folder.to_path_buf()]);
        assert!(watcher.scan(|| true).artifacts.is_empty());
        let scan = watcher.scan(|| false);
        assert_eq!((names(&scan), scan.warnings.len()), (vec!["MarketNFT"], 0));
        // A folder that is named may be a link itself.
        let link = folder.join("out");
        assert_eq!(names(&ArtifactWatcher::new(vec![link]).scan(|| false)), ["MarketNFT"]);
    }

    #[tokio::test]
    async fn following_sends_what_is_new_and_ends_when_told() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "A.json", NFT);
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = watch::channel(false);
        let watcher = ArtifactWatcher::new(vec![folder.path().to_path_buf()]);
        let task =
            tokio::spawn(follow_artifacts(watcher, Duration::from_secs(60), sender, stopped));
        // The receiver stays: without one there is nothing to follow for.
        let received = tokio::task::spawn_blocking(move || (receiver.recv(), receiver));
        let (first, _receiver) = received.await.unwrap();
        let Ok(Compiled::Artifact(first)) = first else { panic!("an artifact") };
        assert_eq!(first.contract, "MarketNFT");
        stop.send(true).unwrap();
        task.await.unwrap();
    }
}
