//! Owns the bytes of an [`AppTiming`], in a request's column 16:
//!
//! ```text
//! 0 │ 1 took (0 │ 1 queries)     the database's share
//! n (name, took)…                functions; durations are microseconds
//! ```

use std::time::Duration;

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::fields::{get_option, micros, put_option};
use super::labels::Labels;
use crate::model::{AppTiming, DatabaseTiming};

pub(super) fn put_app(out: &mut Vec<u8>, timing: &AppTiming) {
    put_option(out, timing.database, |out, database| {
        put_varint(out, micros(database.took));
        put_option(out, database.queries, put_varint);
    });
    put_varint(out, timing.functions.len() as u64);
    for (function, took) in &timing.functions {
        put_text(out, function.as_str());
        put_varint(out, micros(*took));
    }
}

/// Empty bytes are those of none.
pub(super) fn get_app(bytes: &[u8], labels: &Labels) -> Read<Option<Box<AppTiming>>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader(bytes);
    let database = get_option(&mut reader, |reader| {
        let took = Duration::from_micros(reader.varint()?);
        Ok(DatabaseTiming { took, queries: get_option(reader, Reader::varint)? })
    })?;
    let count = reader.length()?;
    if count > bytes.len() {
        return Err(Damage("no more functions than bytes"));
    }
    let mut functions = Vec::with_capacity(count);
    for _ in 0..count {
        let function = labels.app_function(reader.text()?);
        functions.push((function, Duration::from_micros(reader.varint()?)));
    }
    reader.end()?;
    Ok(Some(Box::new(AppTiming { database, functions: functions.into() })))
}
