//! The setting that lists the dapp's own metrics: `"cart_items:gauge"`, `"render:histogram:seconds"`.
//!
//! A name that passes here makes a family that Prometheus and its linter accept.

use toml::Value;

use super::Setting;

/// As mistakes name it, and what is accepted.
const KEY: &str = "api.custom";
const FORM: &str = "Write each as \"name:type\" or \"name:type:unit\", as \"cart_items:gauge\" or \
                    \"render:histogram:seconds\".";
/// The most that may be listed: each has a series for each route.
const MOST: usize = 64;
/// In bytes.
const LONGEST_NAME: usize = 48;
/// Base units, as families are named by, and those of a chain.
const UNITS: [&str; 10] =
    ["seconds", "bytes", "ratio", "celsius", "meters", "grams", "joules", "gas", "wei", "eth"];
/// Words that the family's type, its parts or other units are known by.
const TAKEN: [&str; 12] = [
    "counter",
    "gauge",
    "histogram",
    "summary",
    "total",
    "count",
    "sum",
    "bucket",
    "created",
    "info",
    "milliseconds",
    "microseconds",
];
/// Abbreviations of units, which say too little at the end of a name.
const ABBREVIATED: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

/// A metric of the dapp's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custom {
    pub name: String,
    pub kind: CustomKind,
    /// One of a few base units.
    pub unit: Option<String>,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomKind {
    Counter,
    Gauge,
    Histogram,
}

impl CustomKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Custom {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (name, kind, unit) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let kind = match kind {
            Some("counter") => CustomKind::Counter,
            Some("gauge") => CustomKind::Gauge,
            Some("histogram") => CustomKind::Histogram,
            Some(other) => {
                return Err(format!(
                    "its type is counter, gauge or histogram, and not {other:?}: \"{name}:gauge\""
                ));
            }
            None => {
                return Err(format!(
                    "its type is missing, counter, gauge or histogram: \"{name}:gauge\""
                ));
            }
        };
        if parts.next().is_some() {
            return Err("nothing follows the unit".to_owned());
        }
        if let Some(unit) = unit
            && !UNITS.contains(&unit)
        {
            return Err(format!("its unit is one of {}, or none, not {unit:?}", UNITS.join(", ")));
        }
        check_name(name, unit)?;
        Ok(Self { name: name.to_owned(), kind, unit: unit.map(str::to_owned) })
    }

    /// Whether both would be told by one name, or be one family.
    fn is_like(&self, other: &Self) -> bool {
        let family =
            |it: &Self| it.unit.iter().fold(it.name.clone(), |name, unit| name + "_" + unit);
        self.name == other.name || family(self) == family(other)
    }
}

fn check_name(name: &str, unit: Option<&str>) -> Result<(), String> {
    let words: Vec<&str> = name.split('_').collect();
    let is_word = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if name.len() > LONGEST_NAME || !words.iter().all(is_word) {
        return Err(format!(
            "its name is words of lower-case letters and digits with _ between them, at most \
             {LONGEST_NAME} characters"
        ));
    }
    if let Some(taken) = words.iter().find(|word| TAKEN.contains(word)) {
        return Err(format!("the word {taken} has a meaning of its own in names of metrics"));
    }
    let last = words.last().copied().unwrap_or_default();
    if ABBREVIATED.contains(&last) {
        return Err(format!("its name ends in {last}, which is read as a unit"));
    }
    if unit.is_some_and(|unit| words.contains(&unit)) {
        return Err("the unit comes behind the name by itself".to_owned());
    }
    Ok(())
}

impl Setting for Vec<Custom> {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        let Some(items) = value.as_array() else {
            return Err(format!("expected a list, found {value}. {FORM}"));
        };
        let mut read: Self = Vec::new();
        let mut wrong = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let why = match item.as_str().map(Custom::parse) {
                Some(Ok(custom)) if read.iter().any(|known| known.is_like(&custom)) => {
                    format!("{} is listed already", custom.name)
                }
                Some(Ok(custom)) => {
                    read.push(custom);
                    continue;
                }
                Some(Err(why)) => why,
                None => "it is no text in quotes".to_owned(),
            };
            wrong.push(format!("\n    {KEY}[{at}] = {item}: {why}."));
        }
        let counted = match wrong.len() {
            0 if items.len() <= MOST => {
                *self = read;
                return Ok(());
            }
            0 => format!("found {} entries, where at most {MOST} are taken", items.len()),
            1 => "1 entry is wrong".to_owned(),
            several => format!("{several} entries are wrong"),
        };
        Err(format!("{counted}. {FORM}{}", wrong.concat()))
    }

    fn show(&self) -> Value {
        let shown = self.iter().map(|custom| {
            let unit = custom.unit.iter().map(String::as_str);
            let parts: Vec<&str> =
                [custom.name.as_str(), custom.kind.as_str()].into_iter().chain(unit).collect();
            Value::String(parts.join(":"))
        });
        Value::Array(shown.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<Custom>, String> {
        let mut read: Vec<Custom> = Vec::new();
        let value = Value::Array(texts.iter().map(|text| Value::String((*text).into())).collect());
        read.read(&value).map(|()| {
            assert_eq!(read.show(), value, "what is shown can be read back");
            read
        })
    }

    #[test]
    fn names_types_and_units_are_read() {
        let read = read(&["cart_items:gauge", "render:histogram:seconds", "v2_mints:counter"]);
        let read = read.unwrap();
        assert_eq!(
            (&*read[0].name, read[0].kind, &read[0].unit),
            ("cart_items", CustomKind::Gauge, &None)
        );
        assert_eq!(read[1].unit.as_deref(), Some("seconds"));
        assert_eq!((&*read[2].name, read[2].kind), ("v2_mints", CustomKind::Counter));
        assert_eq!(self::read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn every_mistake_is_told_at_once_and_says_what_is_accepted() {
        let told = read(&[
            "good:gauge",
            "good:counter",
            "x",
            "x:timer",
            "x:gauge:minutes",
            "x:gauge:seconds:more",
            "Cart-Items:gauge",
            "minted_total:counter",
            "wait_ms:histogram",
            "wait_seconds:histogram:seconds",
            "_x:gauge",
            ":gauge",
            "wait:gauge:bytes",
            "wait_bytes:gauge",
        ]);
        let told = told.unwrap_err();
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert!(
            lines[0].starts_with("12 entries are wrong. Write each as \"name:type\""),
            "{told}"
        );
        assert_eq!(lines.len(), 13, "a line for each\n{told}");
        assert!(lines.iter().all(|line| line.len() <= 160), "short ones\n{told}");
        for expected in [
            "api.custom[1] = \"good:counter\": good is listed already.",
            "api.custom[2] = \"x\": its type is missing, counter, gauge or histogram: \"x:gauge\".",
            "api.custom[3] = \"x:timer\": its type is counter, gauge or histogram, and not \"timer\"",
            "api.custom[4] = \"x:gauge:minutes\": its unit is one of seconds, bytes",
            "api.custom[5] = \"x:gauge:seconds:more\": nothing follows the unit.",
            "api.custom[6] = \"Cart-Items:gauge\": its name is words of lower-case letters",
            "api.custom[7] = \"minted_total:counter\": the word total has a meaning of its own",
            "api.custom[8] = \"wait_ms:histogram\": its name ends in ms, which is read as a unit",
            "api.custom[9] = \"wait_seconds:histogram:seconds\": the unit comes behind the name",
            "api.custom[10] = \"_x:gauge\": its name is words",
            "api.custom[11] = \":gauge\": its name is words",
            "api.custom[13] = \"wait_bytes:gauge\": wait_bytes is listed already",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected} in\n{told}");
        }
        let told = Vec::<Custom>::new().read(&Value::String("x:gauge".into())).unwrap_err();
        assert!(told.starts_with("expected a list, found \"x:gauge\". Write each"), "{told}");
        let many: Vec<String> = (0..65).map(|i| format!("x{i}:gauge")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(read(&many).unwrap_err().contains("found 65 entries, where at most 64 are taken"));
    }
}
