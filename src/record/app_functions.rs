//! What the API tells of its own time, with its functions' names bounded: they become labels.

use std::time::Duration;

use super::outbox::Outbox;
use crate::decode::server_timing;
use crate::model::kind::AppFunctionKind;
use crate::model::{AppFunction, AppTiming, DatabaseTiming, Event, LabelKind, LabelSet};

/// The names of entries that time a function begin so.
const FUNCTION: &str = "fn.";
const DATABASE: &str = "db";

/// The functions met so far.
#[derive(Default)]
pub(super) struct AppFunctions {
    met: LabelSet<AppFunctionKind>,
}

impl AppFunctions {
    /// The label of a function's name, whoever told it.
    pub(super) fn name(&mut self, name: &str, outbox: &mut Outbox) -> AppFunction {
        // A name goes into scrapes and pages: no control characters, no prose.
        if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return AppFunction::other();
        }
        let before = self.met.overflow();
        let function = self.met.admit(name);
        if self.met.overflow() > before {
            outbox.event(&Event::LabelOverflow { label: AppFunctionKind::NAME });
        }
        function
    }

    /// What a response's `Server-Timing` tells of the database and of functions; none when it tells
    /// of neither. Entries of one name add up.
    pub(super) fn timing(&mut self, header: &str, outbox: &mut Outbox) -> Option<Box<AppTiming>> {
        let mut database: Option<DatabaseTiming> = None;
        let mut functions: Vec<(AppFunction, Duration)> = Vec::new();
        for entry in server_timing::entries(header) {
            if entry.name == DATABASE {
                let queries = leading_number(&entry.description);
                if entry.duration.is_none() && queries.is_none() {
                    continue;
                }
                let database =
                    database.get_or_insert(DatabaseTiming { took: Duration::ZERO, queries: None });
                database.took += entry.duration.unwrap_or_default();
                if let Some(queries) = queries {
                    let counted = database.queries.unwrap_or(0);
                    database.queries = Some(counted.saturating_add(queries));
                }
            } else if let Some(name) = entry.name.strip_prefix(FUNCTION)
                && let Some(took) = entry.duration
            {
                let function = self.name(name, outbox);
                match functions.iter_mut().find(|(known, _)| *known == function) {
                    Some((_, sum)) => *sum += took,
                    None => functions.push((function, took)),
                }
            }
        }
        (database.is_some() || !functions.is_empty())
            .then(|| Box::new(AppTiming { database, functions: functions.into() }))
    }
}

/// `7` of `7` and of `7 queries`.
fn leading_number(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Tally;

    fn timing(header: &str) -> Option<AppTiming> {
        let mut outbox = Outbox::new(Vec::new(), Arc::new(Tally::default()));
        AppFunctions::default().timing(header, &mut outbox).map(|timing| *timing)
    }

    #[test]
    fn database_and_functions_are_told_and_the_rest_is_left() {
        let told = timing("db;dur=12.3;desc=\"7\", fn.mint;dur=8.1, cache;desc=hit, total;dur=20");
        let told = told.unwrap();
        let queries = Some(7);
        let took = Duration::from_micros(12_300);
        assert_eq!(told.database, Some(DatabaseTiming { took, queries }));
        let mint = (AppFunction::known("mint"), Duration::from_micros(8_100));
        assert_eq!(*told.functions, [mint]);
    }

    #[test]
    fn entries_of_one_name_add_up() {
        let told = timing("db;dur=1;desc=\"2 queries\", fn.a;dur=1, db;dur=2;desc=3, fn.a;dur=4");
        let told = told.unwrap();
        let took = Duration::from_millis(3);
        assert_eq!(told.database, Some(DatabaseTiming { took, queries: Some(5) }));
        assert_eq!(*told.functions, [(AppFunction::known("a"), Duration::from_millis(5))]);
    }

    #[test]
    fn what_tells_nothing_is_nothing() {
        for header in ["", "cache;desc=hit", "db", "fn.mint", "db;desc=slow", "\"", "fn.;dur=x"] {
            assert_eq!(timing(header), None, "{header}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let mut outbox = Outbox::new(Vec::new(), Arc::new(Tally::default()));
        let mut functions = AppFunctions::default();
        for i in 0..256 {
            assert_eq!(functions.name(&format!("f{i}"), &mut outbox).as_str(), format!("f{i}"));
        }
        assert_eq!(functions.name("one more", &mut outbox), AppFunction::other());
        assert_eq!(functions.name("more", &mut outbox), AppFunction::other());
        assert_eq!(functions.name("f7", &mut outbox).as_str(), "f7");
    }
}
