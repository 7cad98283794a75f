//! Owns which buffer holds the rows of which kind of sample.

use super::call::Calls;
use super::columns::Columns;
use super::request::Requests;
use super::row::RowBuffer;
use crate::model::SampleKind;

pub(super) fn columns_of(kind: SampleKind) -> Box<dyn Columns> {
    match kind {
        SampleKind::Call => Box::<Calls>::default(),
        SampleKind::Request => Box::<Requests>::default(),
        SampleKind::Transaction
        | SampleKind::Block
        | SampleKind::Host
        | SampleKind::State
        | SampleKind::Finding
        | SampleKind::Operation
        | SampleKind::Breakdown
        | SampleKind::Route
        | SampleKind::Rollback => Box::new(RowBuffer::new(kind)),
    }
}
