//! Owns the store's directory: its lock, its files by day, which of them are open, quarantine and
//! retention.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Options;
use super::day::{DAY_UNITS, DayFile, Disk, KEYS, Media, Opening, Place, ROLLUPS};
use super::error::{Fault, StoreError, contain};
use super::labels::Labels;
use super::levels::HOURS;
use super::rollup::{row_key, row_parts};
use super::status::Counts;

/// The file whose lock says that the directory is in use.
const LOCK: &str = "lock";
/// The hours of days whose samples are gone.
const ARCHIVE: &str = "rollups.redb";
/// For how many days the hours are kept.
const ARCHIVE_DAYS: u32 = 400;
/// The archive's place among the open files; no sample is of that day.
pub(super) const ARCHIVE_DAY: u32 = u32::MAX;
/// Files of earlier days that stay open for readers. Together with the writer's own they share
/// the cache.
const MOST_OPEN: usize = 8;

/// The directory and what is open of it.
pub(super) struct Files {
    pub dir: PathBuf,
    pub options: Options,
    pub labels: Labels,
    pub counts: Counts,
    open: Mutex<Open>,
    /// Held as long as anybody uses the directory.
    lock: Mutex<Lock>,
}

/// The lock of a directory, and which file it is.
struct Lock {
    place: Place,
    _file: File,
}

#[derive(Default)]
struct Open {
    files: BTreeMap<u32, (u64, Arc<DayFile>)>,
    uses: u64,
}

impl Files {
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let lock = Mutex::new(Lock::take(dir)?);
        Ok(Self {
            dir: dir.to_owned(),
            options,
            labels: Labels::default(),
            counts: Counts::default(),
            open: Mutex::default(),
            lock,
        })
    }

    /// Makes the directory and its lock anew if they were removed.
    ///
    /// # Errors
    /// They cannot be made, or another process has taken the lock since.
    pub fn hold(&self) -> Result<(), StoreError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.place.check().is_err() {
            *lock = Lock::take(&self.dir)?;
            tracing::warn!(
                dir = %self.dir.display(),
                "the store directory's lock was removed, or the directory itself; it was made anew"
            );
        }
        Ok(())
    }

    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn path_of(&self, day: u32) -> PathBuf {
        if day == ARCHIVE_DAY {
            return self.dir.join(ARCHIVE);
        }
        let (year, month, day) = civil(day);
        self.dir.join(format!("samples-{year:04}-{month:02}-{day:02}.redb"))
    }

    /// The days that have a file, earliest first.
    pub fn days(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut days: Vec<u32> =
            entries.flatten().filter_map(|entry| day_named(entry.file_name().to_str()?)).collect();
        days.sort_unstable();
        days
    }

    /// Disk space in use. Not the files' lengths: redb doubles a file as it grows, and what was
    /// never written takes no room.
    pub fn bytes(&self) -> u64 {
        #[cfg(unix)]
        let size_of = |file: fs::Metadata| std::os::unix::fs::MetadataExt::blocks(&file) * 512;
        #[cfg(not(unix))]
        let size_of = |file: fs::Metadata| file.len();
        let size = |day| fs::metadata(self.path_of(day)).map_or(0, size_of);
        self.days().into_iter().chain([ARCHIVE_DAY]).map(size).sum()
    }

    /// An open file for a reader. `None` when there is none for the day, or it was corrupt.
    pub fn get(&self, day: u32) -> Result<Option<Arc<DayFile>>, StoreError> {
        self.find(day, false, false)
    }

    /// An open file for the writer, created if need be.
    pub fn get_or_create(&self, day: u32, check: bool) -> Result<Arc<DayFile>, StoreError> {
        let found = self.find(day, true, check)?;
        Ok(found.expect("a file is created where there is none; qed"))
    }

    fn find(
        &self,
        day: u32,
        create: bool,
        check: bool,
    ) -> Result<Option<Arc<DayFile>>, StoreError> {
        let mut open = self.opened();
        open.uses += 1;
        let uses = open.uses;
        if let Some((used, file)) = open.files.get_mut(&day)
            && file.in_place().is_ok()
        {
            *used = uses;
            return Ok(Some(Arc::clone(file)));
        }
        open.files.remove(&day);
        open.evict();
        if create {
            self.hold()?;
        }
        let path = self.path_of(day);
        for attempt in 0..2 {
            let existed = path.exists();
            if !existed && !create {
                return Ok(None);
            }
            let opening = Opening {
                media: Arc::clone(&self.options.media),
                // The day being written gets half, the others share the rest.
                cache_bytes: self.options.cache_bytes / if create { 2 } else { 2 * MOST_OPEN },
                check,
            };
            match contain(|| DayFile::open(&path, day, &opening)) {
                Ok(file) => {
                    let file = Arc::new(file);
                    open.files.insert(day, (uses, Arc::clone(&file)));
                    return Ok(Some(file));
                }
                Err(fault) if attempt == 0 && existed && fault.is_corruption() => {
                    self.quarantine(&path, &fault);
                    if !create {
                        return Ok(None);
                    }
                }
                Err(fault) => {
                    // A file that could not even be begun holds nothing.
                    if !existed {
                        let _ = fs::remove_file(&path);
                    }
                    return Err(fault.at(&path));
                }
            }
        }
        unreachable!("the second attempt returns either way")
    }

    /// Lets go of a file, for it to be opened anew once its other users have let go too.
    pub fn forget(&self, day: u32) {
        self.opened().files.remove(&day);
    }

    /// After a failed read: redb refuses everything until the file is opened anew. The writer,
    /// should it use the file, meets the same and reopens it itself.
    pub fn forget_if_idle(&self, day: u32, file: Arc<DayFile>) {
        let mut open = self.opened();
        drop(file);
        if open.files.get(&day).is_some_and(|(_, file)| Arc::strong_count(file) == 1) {
            open.files.remove(&day);
        }
    }

    /// Gives a corrupt or foreign file another name and says so.
    fn quarantine(&self, path: &Path, fault: &Fault) {
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let free = (1..10_000)
            .map(|n| path.with_file_name(format!("{name}.corrupt-{n}")))
            .find(|candidate| !candidate.exists());
        let Some(moved) = free else { return };
        match fs::rename(path, &moved) {
            Ok(()) => {
                tracing::error!(
                    file = %path.display(), moved = %moved.display(),
                    "the database is not usable and was moved away; a new one is started: {fault}"
                );
                self.counts.quarantined(moved);
            }
            Err(error) => tracing::error!(
                file = %path.display(),
                "the database is not usable ({fault}) and could not be moved away: {error}"
            ),
        }
    }

    /// Deletes the files of days that are too old.
    pub fn delete(&self, days: &[u32]) {
        for &day in days {
            match contain(|| self.archive(day)) {
                Ok(()) => {}
                // The samples are to go in any case; a disk that is full is one reason more.
                Err(fault) => tracing::warn!(
                    file = %self.path_of(day).display(),
                    "the hours of a day could not be kept beyond its samples: {fault}"
                ),
            }
            self.forget(day);
            match fs::remove_file(self.path_of(day)) {
                Ok(()) => tracing::info!(file = %self.path_of(day).display(), "deleted, by age"),
                Err(error) => self.counts.failed(error.to_string(), false),
            }
        }
    }

    /// Copies a day's hours into the archive. Doing it twice changes nothing.
    fn archive(&self, day: u32) -> Result<(), Fault> {
        let refused = |error| match error {
            StoreError::File { fault, .. } => fault,
            other => Fault::Io(std::io::Error::other(other)),
        };
        let Some(file) = self.get(day).map_err(refused)? else { return Ok(()) };
        let archive = self.get_or_create(ARCHIVE_DAY, false).map_err(refused)?;
        let read = file.read()?;
        let rows = read.open_table(ROLLUPS)?;
        let write = archive.write()?;
        {
            let mut kept = write.open_table(ROLLUPS)?;
            let mut names = write.open_table(KEYS)?;
            let from = file.keys();
            let mut into = archive.keys();
            let (first, last) = (day * DAY_UNITS, (day + 1) * DAY_UNITS);
            for (id, archived) in into.adopt(&from) {
                for row in rows.range(row_key(HOURS, id, first)..row_key(HOURS, id, last))? {
                    let (key, value) = row?;
                    let unit = row_parts(key.value()).1;
                    kept.insert(row_key(HOURS, archived, unit), value.value())?;
                }
                let oldest = first.saturating_sub(ARCHIVE_DAYS * DAY_UNITS);
                let stale = row_key(HOURS, archived, 0)..row_key(HOURS, archived, oldest);
                kept.retain_in(stale, |_, _| false)?;
            }
            for (id, row) in into.take_unwritten() {
                names.insert(id, &row[..])?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

impl Lock {
    /// Takes the lock of a directory, which is created if need be.
    fn take(dir: &Path) -> Result<Self, StoreError> {
        let error = |action, path: &Path, source| StoreError::Directory {
            action,
            path: path.to_owned(),
            source,
        };
        if !dir.is_dir() {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(dir).map_err(|source| error("create the directory", dir, source))?;
        }
        let path = dir.join(LOCK);
        let mut opening = OpenOptions::new();
        opening.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut opening, 0o600);
        let file = opening.open(&path).map_err(|source| error("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { dir: dir.to_owned(), lock: path });
            }
            Err(TryLockError::Error(source)) => return Err(error("lock", &path, source)),
        }
        let disk: Arc<dyn Media> = Arc::new(Disk);
        let place = Place::of(&path, &disk).map_err(|source| error("find", &path, source))?;
        Ok(Self { place, _file: file })
    }
}

impl Open {
    /// Closes files that nobody uses, the longest unused first.
    fn evict(&mut self) {
        while self.files.len() >= MOST_OPEN {
            let idle = self.files.iter().filter(|(_, (_, file))| Arc::strong_count(file) == 1);
            let Some(day) = idle.min_by_key(|(_, (used, _))| *used).map(|(day, _)| *day) else {
                return;
            };
            self.files.remove(&day);
        }
    }
}

/// The day of a file's name.
fn day_named(name: &str) -> Option<u32> {
    let date = name.strip_prefix("samples-")?.strip_suffix(".redb")?;
    let mut parts = date.split('-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let number = days_from_civil(year, month, day)?;
    (parts.next().is_none() && civil(number) == (year, month, day)).then_some(number)
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: u32) -> (u32, u32, u32) {
    let z = u64::from(days) + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    (narrow(year), narrow(month), narrow(day))
}

fn days_from_civil(year: u32, month: u32, day: u32) -> Option<u32> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = u64::from(year) - u64::from(month <= 2);
    let era = year / 400;
    let yoe = year % 400;
    let shifted = u64::from(if month > 2 { month - 3 } else { month + 9 });
    let doy = (153 * shifted + 2) / 5 + u64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    u32::try_from((era * 146_097 + doe).checked_sub(719_468)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_a_day_and_back() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(day_named("samples-2026-11-23.redb"), Some(20_780));
        for day in (0..200_000).step_by(13) {
            let (year, month, date) = civil(day);
            assert_eq!(days_from_civil(year, month, date), Some(day));
        }
        for foreign in ["samples-2026-13-01.redb", "samples-2026-02-30.redb", "samples-x.redb"] {
            assert_eq!(day_named(foreign), None, "{foreign}");
        }
    }
}
