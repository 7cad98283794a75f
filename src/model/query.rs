//! What spans come to: a query to a database, a function of the application.

use std::time::Duration;

use super::label::{AppFunction, DbCollection, DbOperation, DbSystem};

/// One query, counted once however many spans told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub system: DbSystem,
    /// The statement's first word: `SELECT`. None where the span does not tell.
    pub operation: Option<DbOperation>,
    /// The table; of several the first. None where there is none, as with `COMMIT`.
    pub collection: Option<DbCollection>,
    pub duration: Duration,
}

/// One call of a function that the application measures.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionTiming {
    pub function: AppFunction,
    pub duration: Duration,
}
