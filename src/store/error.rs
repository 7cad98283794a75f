//! Owns what can go wrong in the store, and how a fault of one file is told from its corruption.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::bytes::Damage;

/// Why the store could not be opened or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error(
        "the store directory {} is in use by another process; stop it or choose another directory",
        dir.display()
    )]
    InUse { dir: PathBuf, lock: PathBuf },
    #[error("cannot {action} {}: {source}", path.display())]
    Directory { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the database {}: {fault}", path.display())]
    File { path: PathBuf, fault: Fault },
    #[error("cannot start the store's writer thread: {0}")]
    Thread(io::Error),
}

/// What went wrong with one database file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    #[error(transparent)]
    Database(#[from] redb::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("expected {0}, found something else")]
    Damaged(&'static str),
    #[error("reading it panicked: {0}")]
    Panicked(String),
}

impl Fault {
    /// Whether the file itself is at fault: trying again would not help, moving it away does.
    pub(super) fn is_corruption(&self) -> bool {
        use redb::Error as E;
        let damaged = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        };
        match self {
            Self::Damaged(_) | Self::Panicked(_) => true,
            Self::Io(error) | Self::Database(E::Io(error)) => damaged(error),
            Self::Database(error) => matches!(
                error,
                E::Corrupted(_)
                    | E::UpgradeRequired(_)
                    | E::RepairAborted
                    | E::TableTypeMismatch { .. }
                    | E::TableIsMultimap(_)
                    | E::TypeDefinitionChanged { .. }
            ),
        }
    }

    /// Whether another handle of this process still holds the file; it will let go of it soon.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Database(redb::Error::DatabaseAlreadyOpen))
    }

    pub(super) fn at(self, path: &Path) -> StoreError {
        StoreError::File { path: path.to_owned(), fault: self }
    }
}

impl From<Damage> for Fault {
    fn from(Damage(expected): Damage) -> Self {
        Self::Damaged(expected)
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Database(error.into())
            }
        })*
    };
}

from_redb! { DatabaseError TransactionError TableError StorageError CommitError }

/// Runs what touches redb; a panic inside becomes a fault. Sound because what panicked is thrown
/// away: the file is closed, and opened anew from what is on disk.
pub(super) fn contain<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Fault::Panicked(panic_text(&*panic))))
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
