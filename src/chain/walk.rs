//! The files that a compiler may have written, found in folders: which there are, and what tells that
//! one has changed. What is in them is others' business.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::decode::artifact::ArtifactError;
use crate::decode::build_info::BuildInfoError;

/// Folders that hold no artifacts, or copies of them.
const PASSED_OVER: [&str; 3] = ["cache", "node_modules", ".git"];
/// How deep folders are followed: also what ends a chain of links that grows.
const DEEPEST: usize = 24;
/// Files that are looked at in one scan, where no more artifacts are asked for.
pub(super) const MOST_FILES: usize = 50_000;
/// Folders that are looked into below each one that was named.
const MOST_FOLDERS: usize = 20_000;

/// Why a file or folder gave no artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    #[error("expected a folder of artifacts: {0}; it is looked for again")]
    Folder(#[source] io::Error),
    #[error("could not be read: {0}")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    BuildInfo(#[from] BuildInfoError),
    #[error("more than {0} files here: the others are not looked at; raise chain.max_artifacts")]
    TooManyFiles(usize),
    #[error(
        "more than {MOST_FOLDERS} folders here: the others are not looked into; name the folder that \
         the compiler writes to"
    )]
    TooManyFolders,
}

/// Something a person should know of.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct Warning {
    pub path: PathBuf,
    pub cause: LoadError,
}

/// What tells that a file has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) modified: Option<SystemTime>,
    bytes: u64,
}

impl Looks {
    fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), bytes: metadata.len() }
    }
}

/// Lists the JSON files below `folder` that may be artifacts. Links are followed to what is below it
/// too, and not out of it: there may be a whole disk.
pub(super) fn walk(
    folder: &Path,
    most_files: usize,
    files: &mut Vec<(PathBuf, Looks)>,
    stopped: impl Fn() -> bool,
) -> Result<(), LoadError> {
    let root = fs::canonicalize(folder).map_err(LoadError::Folder)?;
    // Real paths, so that a link that leads back up is met once.
    let mut visited = HashSet::new();
    let mut ahead = vec![(folder.to_path_buf(), 0)];
    let first = fs::read_dir(folder).map_err(LoadError::Folder)?;
    drop(first);
    while let Some((folder, depth)) = ahead.pop() {
        let Ok(real) = fs::canonicalize(&folder) else { continue };
        if !real.starts_with(&root) || !visited.insert(real) {
            continue;
        }
        if visited.len() > MOST_FOLDERS {
            return Err(LoadError::TooManyFolders);
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if stopped() {
                return Ok(());
            }
            let path = entry.path();
            // Follows links.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if metadata.is_dir() {
                if depth < DEEPEST && !PASSED_OVER.contains(&&*name) {
                    ahead.push((path, depth + 1));
                }
            } else if metadata.is_file() && name.ends_with(".json") && !name.ends_with(".dbg.json")
            {
                if files.len() >= most_files {
                    return Err(LoadError::TooManyFiles(most_files));
                }
                files.push((path, Looks::of(&metadata)));
            }
        }
    }
    Ok(())
}
