//! The newest samples of a list, one by one, up to a bound.

use crate::store::{Page, Paging, StoreError};

/// Samples that are visited at most; beyond that the caller says that its counts are not complete.
const MAX_SAMPLES: usize = 10_000;
const PAGE: usize = 1_000;

/// Visits the newest samples of a list, up to [`MAX_SAMPLES`]; returns whether that was all of them.
pub fn each<T>(
    page: impl Fn(Paging) -> Result<Page<T>, StoreError>,
    mut visit: impl FnMut(&T),
) -> Result<bool, StoreError> {
    let mut visited = 0;
    let mut before = None;
    while visited < MAX_SAMPLES {
        let page = page(Paging { limit: PAGE, before })?;
        page.items.iter().for_each(&mut visit);
        visited += page.items.len();
        before = page.next;
        if before.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}
