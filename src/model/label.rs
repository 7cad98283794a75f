//! Names that may become metric labels, bounded where they are made.
//!
//! A [`Label`] cannot hold an arbitrary string: only a [`LabelSet`] makes one, and a set admits a
//! fixed number of names and answers [`OTHER`] from then on. The kinds are types of their own, so a
//! route cannot be passed where a method is expected.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// The label of everything that came after a set was full.
pub const OTHER: &str = "_OTHER";
/// The label of what no artifact names.
pub const UNKNOWN: &str = "_unknown";

/// The longest text a label holds, in bytes; a longer one is `_OTHER` (a name that long is noise or
/// an attack, and cutting it could make two names equal).
const LONGEST: usize = 128;

/// What a label names.
pub trait LabelKind: 'static {
    /// How many names a set of this kind admits before it answers [`OTHER`].
    const CAPACITY: usize;
    /// The kind's name, as it appears in `dappscope_label_overflow_total{label}`.
    const NAME: &'static str;
}

macro_rules! label_kinds {
    ($($(#[$doc:meta])* $alias:ident = $kind:ident, $name:literal, $capacity:literal;)*) => {
        /// One empty type for each kind of label.
        pub mod kind {
            $(
                pub struct $kind;
                impl super::LabelKind for $kind {
                    const CAPACITY: usize = $capacity;
                    const NAME: &'static str = $name;
                }
            )*
        }
        $($(#[$doc])* pub type $alias = Label<kind::$kind>;)*
    };
}

label_kinds! {
    /// A JSON-RPC method: `eth_call`.
    Method = MethodKind, "rpc_method", 256;
    /// A route of the API: `/api/nfts/{id}`.
    Route = RouteKind, "http_route", 100;
    /// An HTTP method: `GET`.
    HttpMethod = HttpMethodKind, "http_request_method", 16;
    /// A contract's name, from its artifact.
    ContractName = ContractKind, "contract", 512;
    /// A function's name, from its contract's ABI; `constructor` for a deployment.
    FunctionName = FunctionKind, "function", 2048;
    /// A function of the API, named by the API itself: `mint`.
    AppFunction = AppFunctionKind, "app_function", 256;
    /// An event's name, from an ABI: `Transfer`.
    EventName = EventKind, "event", 1024;
    /// Why a transaction or call was refused: a custom error's name, `Error`, `Panic(0x11)`.
    Reason = ReasonKind, "reason", 256;
    /// What a process is to the dapp: `hardhat`, `flask`, `dappscope`.
    Role = RoleKind, "process", 16;
    /// A database's product: `sqlite`.
    DbSystem = DbSystemKind, "db_system_name", 16;
    /// What a query does: `SELECT`.
    DbOperation = DbOperationKind, "db_operation_name", 64;
    /// A database's table: `nfts`.
    DbCollection = DbCollectionKind, "db_collection_name", 256;
}

/// A bounded name. Cheap to copy; equal when the texts are equal.
pub struct Label<K>(&'static str, PhantomData<fn() -> K>);

impl<K> Label<K> {
    /// A name known when the program was written: these are bounded by the source itself.
    pub const fn known(text: &'static str) -> Self {
        Self(text, PhantomData)
    }

    /// The label of what came after the set was full.
    pub const fn other() -> Self {
        Self::known(OTHER)
    }

    /// The label of what nothing names.
    pub const fn unknown() -> Self {
        Self::known(UNKNOWN)
    }

    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

impl<K> Clone for Label<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Label<K> {}
impl<K> PartialEq for Label<K> {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always the same text in the same place, which need not be read.
        std::ptr::eq(self.0, other.0) || self.0 == other.0
    }
}
impl<K> Eq for Label<K> {}
impl<K> Hash for Label<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> fmt::Debug for Label<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}
impl<K> fmt::Display for Label<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl<K> serde::Serialize for Label<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// Makes labels of one kind, at most [`LabelKind::CAPACITY`] of them.
pub struct LabelSet<K> {
    admitted: HashSet<&'static str>,
    overflow: u64,
    kind: PhantomData<fn() -> K>,
}

impl<K: LabelKind> LabelSet<K> {
    pub fn new() -> Self {
        Self { admitted: HashSet::new(), overflow: 0, kind: PhantomData }
    }

    /// A set that already holds `names`, which count towards the capacity.
    pub fn with_known(names: &[&'static str]) -> Self {
        let mut set = Self::new();
        set.admitted.extend(names.iter().take(K::CAPACITY));
        set
    }

    /// The label for `text`: `text` itself while there is room, [`OTHER`] afterwards. An empty text
    /// and one over 128 bytes are [`OTHER`] too.
    pub fn admit(&mut self, text: &str) -> Label<K> {
        if let Some(known) = self.admitted.get(text) {
            return Label::known(known);
        }
        if text == OTHER {
            return Label::other();
        }
        if text == UNKNOWN {
            return Label::unknown();
        }
        if text.is_empty() || text.len() > LONGEST || self.admitted.len() >= K::CAPACITY {
            self.overflow += 1;
            return Label::other();
        }
        // Leaked on purpose: at most CAPACITY texts of at most 128 bytes in the life of the set,
        // and labels become plain copies that never need the set again.
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        self.admitted.insert(text);
        Label::known(text)
    }

    /// The label of a text that was admitted.
    pub fn get(&self, text: &str) -> Option<Label<K>> {
        self.admitted.get(text).map(|known| Label::known(known))
    }

    /// How many times [`OTHER`] was answered for want of room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl<K: LabelKind> Default for LabelSet<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_answers_other_and_counts_it() {
        let mut routes = LabelSet::<kind::RouteKind>::new();
        for i in 0..150 {
            routes.admit(&format!("/page/{i}"));
        }
        assert_eq!(routes.admit("/page/0").as_str(), "/page/0");
        assert_eq!(routes.admit("/page/149"), Route::other());
        assert_eq!(routes.overflow(), 51);
    }

    #[test]
    fn a_text_too_long_for_a_label_is_other() {
        let mut methods = LabelSet::<kind::MethodKind>::new();
        assert_eq!(methods.admit(&"x".repeat(129)), Method::other());
        assert_eq!(methods.admit(""), Method::other());
        assert_eq!(methods.admit("eth_call").as_str(), "eth_call");
    }
}
