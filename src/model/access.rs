//! What a call does to the contract it touches.

/// Whether a call reads a contract, estimates a transaction with it, or sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// `eth_call`, and reads of state such as `eth_getBalance`.
    Read,
    /// `eth_estimateGas`.
    Estimate,
    /// The sending of a transaction, not its mining.
    Write,
}

impl Access {
    pub const ALL: [Self; 3] = [Self::Read, Self::Estimate, Self::Write];

    /// What a method that touches a contract does to it.
    pub fn of(method: &str) -> Self {
        match method {
            "eth_estimateGas" => Self::Estimate,
            _ if method.starts_with("eth_send") => Self::Write,
            _ => Self::Read,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Estimate => "estimate",
            Self::Write => "write",
        }
    }
}
