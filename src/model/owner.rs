//! The process at the other end of a connection.

use super::label::Role;

/// Whose end of a connection an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// With the process id: `node (4711)`.
    pub name: Box<str>,
    /// What the process, or the nearest one that started it, is to the dapp.
    pub role: Option<Role>,
}

/// Among which processes an owner is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Those found lately: that takes a moment, and finding none means nothing.
    Known,
    /// All of this machine, those found lately first: who is not found then is not there.
    All,
}
