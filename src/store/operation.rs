//! Owns the row of an [`Operation`]:
//!
//! ```text
//! trace id 16 │ span id 8 │ 0 │ 1 parent 8 │ duration │ failed 1 │ name │ work 1 │ …
//!   query      system, operation?, collection?, fingerprint
//!   function   name
//! ```

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::fields::{get_duration, get_option, micros, put_option};
use super::labels::Labels;
use crate::model::{Operation, Query, UnixMicros, Work};

pub(super) fn put_operation(out: &mut Vec<u8>, operation: &Operation) {
    out.extend_from_slice(&operation.trace_id.to_le_bytes());
    out.extend_from_slice(&operation.span_id.to_le_bytes());
    put_option(out, operation.parent, |out, id| out.extend_from_slice(&id.to_le_bytes()));
    put_varint(out, micros(operation.duration));
    out.push(u8::from(operation.failed));
    put_text(out, &operation.name);
    match &operation.work {
        Work::Server => out.push(0),
        Work::Client => out.push(1),
        Work::Query(query) => {
            out.push(2);
            put_text(out, query.system.as_str());
            put_option(out, query.operation, |out, operation| put_text(out, operation.as_str()));
            put_option(out, query.collection, |out, table| put_text(out, table.as_str()));
            put_text(out, &query.fingerprint);
        }
        Work::Function(function) => {
            out.push(3);
            put_text(out, function.as_str());
        }
        Work::Other => out.push(4),
    }
}

pub(super) fn get_operation(
    reader: &mut Reader<'_>,
    at: UnixMicros,
    labels: &Labels,
) -> Read<Operation> {
    Ok(Operation {
        at,
        trace_id: u128::from_le_bytes(reader.array::<16>()?),
        span_id: u64::from_le_bytes(reader.array::<8>()?),
        parent: get_option(reader, Reader::array::<8>)?.map(u64::from_le_bytes),
        duration: get_duration(reader)?,
        failed: reader.byte()? != 0,
        name: reader.text()?.into(),
        work: match reader.byte()? {
            0 => Work::Server,
            1 => Work::Client,
            2 => Work::Query(Query {
                system: labels.db_system(reader.text()?),
                operation: get_option(reader, Reader::text)?.map(|text| labels.db_operation(text)),
                collection: get_option(reader, Reader::text)?
                    .map(|text| labels.db_collection(text)),
                fingerprint: reader.text()?.into(),
            }),
            3 => Work::Function(labels.app_function(reader.text()?)),
            4 => Work::Other,
            _ => return Err(Damage("what an operation does")),
        },
    })
}
