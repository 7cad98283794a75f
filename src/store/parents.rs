//! Owns how the roll-ups of a level are made of those one level below, in a file.

use redb::{ReadableTable, Table};

use super::error::Fault;
use super::levels::LEVELS;
use super::rollup::{Rollup, row_key, row_parts};

/// Writes the roll-ups of a level, made of those one level below.
pub(super) fn build_parents(
    rows: &mut Table<'_, u64, &'static [u8]>,
    level: usize,
    id: u32,
    from: u32,
    until: u32,
) -> Result<(), Fault> {
    if from >= until {
        return Ok(());
    }
    let width = LEVELS[level];
    let mut parents: Vec<(u32, Rollup)> = Vec::new();
    for row in rows.range(row_key(level - 1, id, from)..row_key(level - 1, id, until))? {
        let (key, value) = row?;
        let unit = row_parts(key.value()).1 / width * width;
        if parents.last().is_none_or(|(held, _)| *held != unit) {
            parents.push((unit, Rollup::default()));
        }
        if let Some((_, parent)) = parents.last_mut() {
            parent.merge_encoded(value.value())?;
        }
    }
    for (unit, parent) in parents {
        rows.insert(row_key(level, id, unit), &parent.encode()[..])?;
    }
    Ok(())
}
