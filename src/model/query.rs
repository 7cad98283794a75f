//! A query to a database, counted once however many spans told of it.

use std::sync::Arc;

use super::label::{DbCollection, DbOperation, DbSystem};

/// What a query is.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub system: DbSystem,
    /// The statement's first word: `SELECT`. None where the span does not tell.
    pub operation: Option<DbOperation>,
    /// The table; of several the first. None where there is none, as with `COMMIT`.
    pub collection: Option<DbCollection>,
    /// The statement with every literal replaced by `?`; empty where it is not told.
    pub fingerprint: Arc<str>,
}
