//! How large the dapp's database files are.

use std::path::{Path, PathBuf};

/// What SQLite keeps beside a database: its write-ahead log or its rollback journal.
const JOURNALS: [&str; 2] = ["-wal", "-journal"];

/// The files that are watched, by the names that they are told by.
pub struct Databases(Vec<(Box<str>, PathBuf)>);

impl Databases {
    /// A file is told by its name alone; those of which several have the same, by their whole paths.
    pub fn new(paths: &[PathBuf]) -> Self {
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let named = paths.iter().map(|path| {
            let alike = paths.iter().filter(|other| name(other) == name(path)).count();
            let own = name(path).filter(|_| alike == 1);
            (own.unwrap_or_else(|| path.display().to_string()).into(), path.clone())
        });
        Self(named.collect())
    }

    /// Bytes of each that is there, its journals included.
    pub fn sizes(&self) -> Vec<(Box<str>, u64)> {
        let sizes = self.0.iter().filter_map(|(name, path)| Some((name.clone(), size(path)?)));
        sizes.collect()
    }
}

fn size(path: &Path) -> Option<u64> {
    let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let journals = JOURNALS.iter().filter_map(|ending| {
        let mut journal = path.as_os_str().to_owned();
        journal.push(ending);
        Some(std::fs::metadata(journal).ok()?.len())
    });
    Some(file.len() + journals.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_as_large_as_its_file_with_its_journals() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("market.db"), [0; 4_096]).unwrap();
        std::fs::write(at("market.db-wal"), [0; 100]).unwrap();
        std::fs::write(at("other.db-wal"), [0; 100]).unwrap();
        let databases = Databases::new(&[at("market.db"), at("other.db"), dir.path().into()]);
        assert_eq!(databases.sizes(), [("market.db".into(), 4_196)]);
    }

    #[test]
    fn two_of_one_name_are_told_by_their_paths() {
        let names = |paths: &[&str]| -> Vec<Box<str>> {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            Databases::new(&paths).0.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(
            *names(&["a/x.db", "b/x.db", "b/y.db"]),
            ["a/x.db".into(), "b/x.db".into(), "y.db".into()]
        );
    }
}
