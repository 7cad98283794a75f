//! Owns a disk in memory that runs out of space, fails to sync, writes halves and loses power.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dappscope::store::Media;
use redb::StorageBackend;

use super::Random;

/// What goes wrong, once the countdown of writes and syncs has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Writes and growth fail with "no space left", syncs and reads work.
    Full,
    /// Syncs fail; what was written stays readable, as from a page cache.
    Sync,
    /// Writes stop half-way.
    Short,
    /// Nothing works any more.
    PowerCut,
}

#[derive(Debug)]
pub struct SimDisk(Mutex<State>);

#[derive(Debug)]
struct State {
    files: HashMap<PathBuf, SimFile>,
    /// Writes and syncs until the trouble begins, and how many then fail.
    countdown: Option<(u64, u64, Trouble)>,
    /// Handles of before the power cut are dead.
    generation: u64,
}

#[derive(Debug, Default)]
struct SimFile {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
}

impl SimDisk {
    pub fn new() -> Arc<Self> {
        let files = HashMap::new();
        Arc::new(Self(Mutex::new(State { files, countdown: None, generation: 0 })))
    }

    /// After `good` more writes and syncs, `bad` fail.
    pub fn trouble(&self, good: u64, bad: u64, trouble: Trouble) {
        self.0.lock().unwrap().countdown = Some((good, bad, trouble));
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().countdown = None;
    }

    /// Power comes back: of what was not synced, any part may have reached the disk, sector by
    /// sector.
    pub fn restart(&self, random: &mut Random) {
        let mut state = self.0.lock().unwrap();
        state.generation += 1;
        state.countdown = None;
        for file in state.files.values_mut() {
            let mut bytes = std::mem::take(&mut file.durable);
            for change in file.unsynced.drain(..) {
                match change {
                    Change::Write(offset, written) => {
                        let fate = random.below(3);
                        for (index, sector) in written.chunks(512).enumerate() {
                            if fate == 0 || (fate == 1 && random.below(2) == 0) {
                                Change::Write(offset + index * 512, sector.to_vec())
                                    .apply(&mut bytes);
                            }
                        }
                    }
                    // The length is metadata, journalled in order with nothing.
                    Change::Length(_) if random.below(2) == 0 => {}
                    change @ Change::Length(_) => change.apply(&mut bytes),
                }
            }
            file.current.clone_from(&bytes);
            file.durable = bytes;
        }
    }
}

/// A handle on the disk for the store's options.
#[derive(Clone, Debug)]
pub struct Shared(pub Arc<SimDisk>);

impl Media for Shared {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.0.0.lock().unwrap();
        // The store looks for files by name, so each has an empty one in the real directory.
        if !path.exists() {
            state.files.remove(path);
            std::fs::write(path, [])?;
        }
        state.files.entry(path.to_owned()).or_default();
        let (disk, generation) = (Arc::clone(&self.0), state.generation);
        Ok(Box::new(Handle { disk, path: path.to_owned(), generation }))
    }
}

#[derive(Debug)]
struct Handle {
    disk: Arc<SimDisk>,
    path: PathBuf,
    generation: u64,
}

impl Handle {
    fn with<T>(
        &self,
        changing: Option<Trouble>,
        run: impl FnOnce(&mut SimFile, Option<Trouble>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.0.lock().unwrap();
        if state.generation != self.generation {
            return Err(io::Error::other("power was cut"));
        }
        let mut trouble = None;
        if let Some((good, bad, kind)) = &mut state.countdown {
            let concerned = match kind {
                Trouble::Full | Trouble::Short => changing == Some(Trouble::Full),
                Trouble::Sync => changing == Some(Trouble::Sync),
                Trouble::PowerCut => changing.is_some() || *good == 0,
            };
            if concerned {
                if *good > 0 {
                    *good -= 1;
                } else if *bad > 0 {
                    *bad -= 1;
                    trouble = Some(*kind);
                }
            }
        }
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        match trouble {
            Some(Trouble::PowerCut) => Err(io::Error::other("power is cut")),
            trouble => run(file, trouble),
        }
    }
}

fn failed(trouble: Trouble) -> io::Error {
    match trouble {
        Trouble::Full | Trouble::Short => io::ErrorKind::StorageFull.into(),
        Trouble::Sync | Trouble::PowerCut => io::Error::from_raw_os_error(5),
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.with(None, |file, _| Ok(file.current.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(None, |file, _| {
            let start = offset as usize;
            let bytes = file.current.get(start..start + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(Some(Trouble::Full), |file, trouble| {
            if let Some(trouble) = trouble {
                return Err(failed(trouble));
            }
            let change = Change::Length(len as usize);
            change.apply(&mut file.current);
            file.unsynced.push(change);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(Some(Trouble::Sync), |file, trouble| {
            if let Some(trouble) = trouble {
                return Err(failed(trouble));
            }
            file.durable.clone_from(&file.current);
            file.unsynced.clear();
            Ok(())
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(Some(Trouble::Full), |file, trouble| {
            let written = match trouble {
                Some(Trouble::Short) => &bytes[..bytes.len() / 2],
                Some(trouble) => return Err(failed(trouble)),
                None => bytes,
            };
            let change = Change::Write(offset as usize, written.to_vec());
            change.apply(&mut file.current);
            file.unsynced.push(change);
            trouble.map_or(Ok(()), |trouble| Err(failed(trouble)))
        })
    }
}
