//! Build infos on disk: the storage layouts that artifacts of Hardhat do not hold themselves.
//!
//! The files are found with those of the artifacts ([`super::artifacts`]); what is in one is
//! [`decode::build_info`](crate::decode::build_info)'s business.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::walk::{LoadError, Looks, Warning};
use crate::decode::artifact::Artifact;
use crate::decode::build_info::{BuildInfoError, BuiltLayout, LARGEST, layouts};
use crate::decode::layout::Layout;

/// The folder that build infos are in.
pub(super) const FOLDER: &str = "build-info";
/// How much of a file is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The layouts of all build infos.
#[derive(Default)]
pub(super) struct Builds {
    read: HashMap<PathBuf, Build>,
}

struct Build {
    looks: Looks,
    layouts: Vec<BuiltLayout>,
}

/// Whether a file is a build info by where it is.
pub(super) fn is_build(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder == FOLDER)
}

/// The folder whose artifacts a build info is about: the one that the folder of build infos is in.
fn root(build: &Path) -> &Path {
    build.parent().and_then(Path::parent).unwrap_or(Path::new(""))
}

impl Builds {
    /// Reads what is new among all build infos that there are. Gives the folders below which the
    /// artifacts have other layouts now than they had before.
    pub(super) fn update(
        &mut self,
        files: Vec<(PathBuf, Looks)>,
        warnings: &mut Vec<Warning>,
        stopped: impl Fn() -> bool,
    ) -> HashSet<PathBuf> {
        let mut changed = HashSet::new();
        let mut read = HashMap::with_capacity(files.len());
        for (path, looks) in files {
            if stopped() {
                break;
            }
            let before = self.read.remove(&path);
            let build = match before {
                Some(before) if before.looks == looks => before,
                before => {
                    let layouts = load(&path).unwrap_or_else(|cause| {
                        warnings.push(Warning { path: path.clone(), cause });
                        Vec::new()
                    });
                    if !layouts.is_empty() || before.is_some_and(|b| !b.layouts.is_empty()) {
                        changed.insert(root(&path).to_path_buf());
                    }
                    Build { looks, layouts }
                }
            };
            read.insert(path, build);
        }
        // Those that are gone.
        let gone = self.read.drain().filter(|(_, build)| !build.layouts.is_empty());
        changed.extend(gone.map(|(path, _)| root(&path).to_path_buf()));
        self.read = read;
        changed
    }

    /// The layout of an artifact that was read from `path`, by the newest build info that has one.
    pub(super) fn layout(&self, path: &Path, artifact: &Artifact) -> Option<Arc<Layout>> {
        let source = artifact.built_from.as_ref().unwrap_or(&artifact.source);
        let found = self.read.iter().filter(|(build, _)| path.starts_with(root(build)));
        let found = found.filter_map(|(_, build)| {
            let same = |l: &&BuiltLayout| l.contract == artifact.contract && l.source == *source;
            Some((build.looks.modified, &build.layouts.iter().find(same)?.layout))
        });
        found.max_by_key(|(modified, _)| *modified).map(|(_, layout)| Arc::clone(layout))
    }
}

fn load(path: &Path) -> Result<Vec<BuiltLayout>, LoadError> {
    let file = File::open(path).map_err(LoadError::Read)?;
    let bytes = file.metadata().map_err(LoadError::Read)?.len();
    if bytes > LARGEST {
        return Err(BuildInfoError::TooLarge(bytes).into());
    }
    // It may grow while it is read.
    Ok(layouts(BufReader::with_capacity(CHUNK, file.take(LARGEST)))?)
}
