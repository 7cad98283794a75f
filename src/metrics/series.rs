//! Series kept at hand, so that a sample costs a hash of a few words and no label lookup.
//!
//! A lookup by label texts costs 180–345 ns; here it is paid once for each series. Values gather in
//! plain memory and reach the shared atomics at the end of a batch, through the list of series that
//! the batch touched.

use std::hash::Hash;

use prometheus::local::{LocalHistogram, LocalIntCounter};

use crate::model::LabelMap;

/// What gathers values and hands them over.
pub trait Flush {
    fn flush(&mut self);
}

impl Flush for LocalHistogram {
    fn flush(&mut self) {
        Self::flush(self);
    }
}

impl Flush for LocalIntCounter {
    fn flush(&mut self) {
        Self::flush(self);
    }
}

/// A series' place in its [`Table`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

/// Series by key, and which of them hold values not yet handed over.
pub struct Table<K, S> {
    places: LabelMap<K, Place>,
    series: Vec<(S, bool)>,
    touched: Vec<Place>,
}

impl<K: Eq + Hash, S: Flush> Table<K, S> {
    pub fn new() -> Self {
        Self { places: LabelMap::default(), series: Vec::new(), touched: Vec::new() }
    }

    /// Whether `key` has a series.
    pub fn knows(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    /// The place of `key`'s series, which is opened when it is new.
    pub fn place(&mut self, key: K, open: impl FnOnce() -> S) -> Place {
        *self.places.entry(key).or_insert_with(|| {
            self.series.push((open(), false));
            Place(self.series.len() - 1)
        })
    }

    /// The series at `place`, to be handed over with the next flush.
    pub fn at(&mut self, place: Place) -> &mut S {
        let (series, touched) = &mut self.series[place.0];
        if !*touched {
            *touched = true;
            self.touched.push(place);
        }
        series
    }

    /// The series of `key`, to be handed over with the next flush.
    pub fn touch(&mut self, key: K, open: impl FnOnce() -> S) -> &mut S {
        let place = self.place(key, open);
        self.at(place)
    }

    /// Hands over what gathered.
    pub fn flush(&mut self) {
        for place in self.touched.drain(..) {
            let (series, touched) = &mut self.series[place.0];
            series.flush();
            *touched = false;
        }
    }
}
