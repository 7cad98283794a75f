//! The nodes' wordings for why a transaction or call failed: one table, one row a wording.
//!
//! Recorded from Hardhat 2, Hardhat 3 and Anvil (`tests/fixtures/nodes/halts-*.json`); those of Geth
//! from its `core/vm/errors.go`, `core/error.go` and `eth` packages, those of revm (the EVM inside
//! Anvil, Reth and Hardhat) from its `InstructionResult` and `HaltReason`.

use crate::model::Reason;

/// Bytes of a message that are looked at.
const LONGEST: usize = 300;

macro_rules! refusal_kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a node refused, by its error's code and words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RefusalKind {
            $($(#[$doc])* $variant,)*
        }

        impl RefusalKind {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

refusal_kinds! {
    /// The code reverted; the revert data says why.
    Reverted = "reverted",
    /// The code reverted and returned nothing. Hardhat says the same of a stack underflow or overflow
    /// and of an invalid jump.
    NoData = "no_data",
    /// It ran and used up its gas.
    OutOfGas = "out_of_gas",
    /// The contract has no such function and no fallback.
    UnknownFunction = "unknown_function",
    /// A contract was called where none is.
    NoContract = "no_contract",
    /// Ether was sent to a function that takes none.
    NotPayable = "not_payable",
    /// INVALID, or an instruction that does not exist in this hardfork.
    InvalidOpcode = "invalid_opcode",
    StackUnderflow = "stack_underflow",
    StackOverflow = "stack_overflow",
    /// A jump to where no JUMPDEST is.
    InvalidJump = "invalid_jump",
    /// RETURNDATACOPY beyond the end of the data.
    ReturnDataOutOfBounds = "return_data_out_of_bounds",
    /// A write within a static call.
    WriteProtection = "write_protection",
    CallTooDeep = "call_too_deep",
    /// A contract was to be created where there is one.
    AddressCollision = "address_collision",
    /// The code to deploy begins with 0xEF.
    InvalidCode = "invalid_code",
    /// The code to deploy is larger than EIP-170 allows.
    CodeTooLarge = "code_too_large",
    /// A precompiled contract did not take its input.
    PrecompileFailed = "precompile_failed",
    /// The EVM halted for another reason, and took all gas.
    Halted = "halted",
    NonceTooLow = "nonce_too_low",
    NonceTooHigh = "nonce_too_high",
    /// The sender's nonce has reached its maximum.
    NonceOverflow = "nonce_overflow",
    InsufficientFunds = "insufficient_funds",
    /// Less gas than the transaction needs before it runs.
    GasTooLow = "gas_too_low",
    /// More gas than a block or a transaction may use.
    GasTooHigh = "gas_too_high",
    /// Below the base fee, or an impossible combination of fees.
    FeeTooLow = "fee_too_low",
    /// There is one of the same nonce, and this one pays too little to take its place.
    Underpriced = "underpriced",
    AlreadyKnown = "already_known",
    /// Signed for another chain.
    WrongChain = "wrong_chain",
    /// The node holds no key for the sender.
    UnknownAccount = "unknown_account",
    /// The init code is larger than EIP-3860 allows.
    InitcodeTooLarge = "initcode_too_large",
    /// The chain has no such block, or none yet.
    UnknownBlock = "unknown_block",
    /// Not a transaction.
    Malformed = "malformed",
    /// The node does not know the method.
    MethodNotFound = "method_not_found",
    /// None of these.
    Rejected = "rejected",
}

impl RefusalKind {
    pub const fn reason(self) -> Reason {
        Reason::known(self.as_str())
    }

    /// Whether the code ran, so that the transaction may be mined although the call failed.
    pub const fn ran(self) -> bool {
        self.halted()
            || matches!(
                self,
                Self::Reverted
                    | Self::NoData
                    | Self::UnknownFunction
                    | Self::NoContract
                    | Self::NotPayable
            )
    }

    /// Whether it was an exceptional halt, which takes all gas.
    pub const fn halted(self) -> bool {
        matches!(
            self,
            Self::OutOfGas
                | Self::InvalidOpcode
                | Self::StackUnderflow
                | Self::StackOverflow
                | Self::InvalidJump
                | Self::ReturnDataOutOfBounds
                | Self::WriteProtection
                | Self::CallTooDeep
                | Self::AddressCollision
                | Self::InvalidCode
                | Self::CodeTooLarge
                | Self::PrecompileFailed
                | Self::Halted
        )
    }
}

/// The wordings, lower case, in the order in which they are looked for: the first that is in the
/// message decides.
const WORDINGS: &[(&str, RefusalKind)] = {
    use RefusalKind as Kind;
    &[
        // Blocks.
        ("received invalid block tag", Kind::UnknownBlock), // Hardhat
        ("blockoutofrange", Kind::UnknownBlock),            // Anvil, by number
        ("resource not found", Kind::UnknownBlock),         // Anvil, by hash
        ("unknown block", Kind::UnknownBlock),              // Anvil's logs, Besu, Geth
        ("blockhash cannot be found", Kind::UnknownBlock),  // Hardhat's logs
        ("header not found", Kind::UnknownBlock),           // Geth, by number
        ("header for hash not found", Kind::UnknownBlock),  // Geth, by hash
        ("block not found", Kind::UnknownBlock),            // Reth, Erigon
        ("not currently canonical", Kind::UnknownBlock),    // Geth, after a reorganisation
        // The pool.
        ("replacement transaction", Kind::Underpriced), // Geth, Hardhat
        ("underpriced", Kind::Underpriced),             // Geth, Anvil
        ("already known", Kind::AlreadyKnown),          // Geth
        ("known transaction", Kind::AlreadyKnown),      // Hardhat
        ("already imported", Kind::AlreadyKnown),       // Anvil
        ("nonce too low", Kind::NonceTooLow),           // Geth, Anvil
        ("nonce is too low", Kind::NonceTooLow),
        ("nonce too high", Kind::NonceTooHigh), // Geth, Hardhat
        ("nonce is too high", Kind::NonceTooHigh),
        ("nonce gap", Kind::NonceTooHigh),
        ("nonce has max value", Kind::NonceOverflow), // Geth
        ("nonce uint64 overflow", Kind::NonceOverflow), // Geth's EVM
        ("nonceoverflow", Kind::NonceOverflow),       // revm
        ("insufficient funds", Kind::InsufficientFunds), // Geth, Anvil
        ("enough funds", Kind::InsufficientFunds),    // Hardhat
        ("insufficient balance", Kind::InsufficientFunds), // Geth's EVM
        ("outoffunds", Kind::InsufficientFunds),      // revm
        // Gas.
        ("out of gas", Kind::OutOfGas), // Geth, Hardhat, Anvil's estimates
        ("outofgas", Kind::OutOfGas),   // revm
        ("memoryoog", Kind::OutOfGas),  // revm
        ("memorylimitoog", Kind::OutOfGas), // revm
        ("precompileoog", Kind::OutOfGas), // revm
        ("invalidoperandoog", Kind::OutOfGas), // revm
        ("reentrancysentryoog", Kind::OutOfGas), // revm: SSTORE with no more than 2,300 gas
        ("gas uint64 overflow", Kind::OutOfGas), // Geth's EVM
        ("gas required exceeds allowance", Kind::OutOfGas), // Geth's estimates
        ("intrinsic gas too high", Kind::GasTooHigh), // Anvil
        ("gas limit reached", Kind::GasTooHigh), // Geth
        ("exceeds block gas limit", Kind::GasTooHigh),
        ("exceeds transaction gas cap", Kind::GasTooHigh), // Hardhat
        ("gas limit is", Kind::GasTooHigh),                // Hardhat
        ("gas limit too high", Kind::GasTooHigh),          // Geth: EIP-7825
        ("intrinsic gas", Kind::GasTooLow),                // Geth, Anvil
        ("requires at least", Kind::GasTooLow),            // Hardhat
        ("floor data gas", Kind::GasTooLow),               // Geth: EIP-7623
        ("gas floor", Kind::GasTooLow),                    // revm: the same
        ("maxfeepergas", Kind::FeeTooLow),                 // Hardhat
        ("max fee per gas", Kind::FeeTooLow),              // Geth, Anvil
        ("max fee per blob gas", Kind::FeeTooLow),         // Geth
        ("max priority fee", Kind::FeeTooLow),             // Geth
        ("gasprice", Kind::FeeTooLow),                     // Hardhat
        ("base fee", Kind::FeeTooLow),
        // Who signed.
        ("chain id", Kind::WrongChain),                // Anvil, Geth
        ("chainid", Kind::WrongChain),                 // Hardhat
        ("unknown account", Kind::UnknownAccount),     // Hardhat, Geth
        ("no signer available", Kind::UnknownAccount), // Anvil
        // Deployments.
        ("startingef00", Kind::InvalidCode),              // revm
        ("startingwithef", Kind::InvalidCode),            // revm
        ("must not begin with 0xef", Kind::InvalidCode),  // Geth
        ("(return data: 0xef)", Kind::InvalidCode),       // Hardhat 3
        ("invalid bytecode deployed", Kind::InvalidCode), // ethereumjs
        ("invalideofinitcode", Kind::Halted),             // revm, while EOF was to come
        ("initcode", Kind::InitcodeTooLarge),             // Geth, Anvil, Hardhat's calls
        ("init code length", Kind::InitcodeTooLarge),     // Hardhat
        ("code size", Kind::CodeTooLarge),                // Geth: max code size exceeded
        ("code is too large", Kind::CodeTooLarge),        // Hardhat
        ("createcontractsizelimit", Kind::CodeTooLarge),  // revm
        ("address collision", Kind::AddressCollision),    // Geth
        ("create collision", Kind::AddressCollision),     // ethereumjs
        ("createcollision", Kind::AddressCollision),      // revm
        // What Hardhat finds out from the source.
        ("selector was not recognized", Kind::UnknownFunction),
        ("unrecognized-selector", Kind::UnknownFunction),
        ("non-contract account", Kind::NoContract),
        ("non-payable", Kind::NotPayable),
        ("call to precompile", Kind::PrecompileFailed),
        // Other exceptional halts.
        ("invalid opcode", Kind::InvalidOpcode), // Geth, Hardhat
        ("invalidfeopcode", Kind::InvalidOpcode), // revm: INVALID itself
        ("opcodenotfound", Kind::InvalidOpcode), // revm
        ("opcode not found", Kind::InvalidOpcode),
        ("notactivated", Kind::InvalidOpcode), // revm: of a later hardfork
        ("bad instruction", Kind::InvalidOpcode), // OpenEthereum
        ("stack underflow", Kind::StackUnderflow), // Geth, ethereumjs
        ("stackunderflow", Kind::StackUnderflow), // revm
        ("stack limit reached", Kind::StackOverflow), // Geth
        ("stack overflow", Kind::StackOverflow), // ethereumjs
        ("stackoverflow", Kind::StackOverflow), // revm
        ("invalid jump", Kind::InvalidJump),   // Geth, ethereumjs
        ("invalidjump", Kind::InvalidJump),    // revm
        ("bad jump destination", Kind::InvalidJump), // OpenEthereum
        ("return data out of bounds", Kind::ReturnDataOutOfBounds), // Geth
        ("outofoffset", Kind::ReturnDataOutOfBounds), // revm
        ("write protection", Kind::WriteProtection), // Geth
        ("static state change", Kind::WriteProtection), // ethereumjs
        ("statechangeduringstaticcall", Kind::WriteProtection), // revm
        ("callnotallowedinsidestatic", Kind::WriteProtection), // revm
        ("max call depth", Kind::CallTooDeep), // Geth
        ("calltoodeep", Kind::CallTooDeep),    // revm
        ("precompileerror", Kind::PrecompileFailed), // revm
        ("evm error", Kind::Halted),           // Anvil: whatever revm adds
        ("revert", Kind::Reverted),
        ("vm exception", Kind::Reverted), // Hardhat, Ganache
        // Not a transaction.
        ("failed to decode", Kind::Malformed),    // Anvil
        ("invalid transaction", Kind::Malformed), // Hardhat
        ("rlp", Kind::Malformed),                 // Geth
    ]
};

/// What begins a contract's own words, which are no node's: Hardhat quotes them, and Ganache appends
/// them.
const OWN_WORDS: [&str; 2] = [" '", "transaction: revert "];

/// The kind that an error's code and message mean.
pub(super) fn classify(code: i64, message: &str) -> RefusalKind {
    let words = &message[..message.floor_char_boundary(LONGEST)];
    let end = OWN_WORDS.iter().filter_map(|own| words.find(own)).min().unwrap_or(words.len());
    let quoted = words[..end].to_lowercase();
    // "execution reverted: nonce too low" is what a contract says.
    if quoted.contains("execution reverted") {
        return RefusalKind::Reverted;
    }
    // What follows "revert" is Ganache's copy of the contract's text.
    if words[end..].starts_with(OWN_WORDS[1]) {
        return RefusalKind::Reverted;
    }
    let by_words = WORDINGS.iter().find(|(words, _)| quoted.contains(words)).map(|(_, kind)| *kind);
    match (by_words, code) {
        // Of a call that ran. Hardhat 3 gives this code to halts, too.
        (Some(kind), 3) if kind.ran() => kind,
        (_, 3) => RefusalKind::Reverted,
        (Some(kind), _) => kind,
        (None, -32601 | -32004) => RefusalKind::MethodNotFound,
        (None, -32602 | -32700) => RefusalKind::Malformed,
        (None, _) => RefusalKind::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wording_is_reached_and_no_row_hides_another() {
        for (words, kind) in WORDINGS {
            assert_eq!(classify(-32000, words), *kind, "{words}");
            assert_eq!(classify(-32603, &format!("err: {words} (1 <=> 2)")), *kind, "{words}");
            assert_eq!(words.to_lowercase(), *words);
        }
    }

    #[test]
    fn every_halt_of_revm_has_a_row_as_anvil_prints_it() {
        use RefusalKind as Kind;
        for (halt, kind) in [
            ("CallTooDeep", Kind::CallTooDeep),
            ("OutOfFunds", Kind::InsufficientFunds),
            ("CreateInitCodeStartingEF00", Kind::InvalidCode),
            ("InvalidEOFInitCode", Kind::Halted),
            ("InvalidExtDelegateCallTarget", Kind::Halted),
            ("OutOfGas", Kind::OutOfGas),
            ("OutOfGas(MemoryLimit)", Kind::OutOfGas),
            ("OutOfGas(ReentrancySentry)", Kind::OutOfGas),
            ("MemoryOOG", Kind::OutOfGas),
            ("MemoryLimitOOG", Kind::OutOfGas),
            ("PrecompileOOG", Kind::OutOfGas),
            ("InvalidOperandOOG", Kind::OutOfGas),
            ("ReentrancySentryOOG", Kind::OutOfGas),
            ("OpcodeNotFound", Kind::InvalidOpcode),
            ("CallNotAllowedInsideStatic", Kind::WriteProtection),
            ("StateChangeDuringStaticCall", Kind::WriteProtection),
            ("InvalidFEOpcode", Kind::InvalidOpcode),
            ("InvalidJump", Kind::InvalidJump),
            ("NotActivated", Kind::InvalidOpcode),
            ("StackUnderflow", Kind::StackUnderflow),
            ("StackOverflow", Kind::StackOverflow),
            ("OutOfOffset", Kind::ReturnDataOutOfBounds),
            ("CreateCollision", Kind::AddressCollision),
            ("OverflowPayment", Kind::Halted),
            ("PrecompileError", Kind::PrecompileFailed),
            ("PrecompileErrorWithContext(\"x\")", Kind::PrecompileFailed),
            ("NonceOverflow", Kind::NonceOverflow),
            ("CreateContractSizeLimit", Kind::CodeTooLarge),
            ("CreateContractStartingWithEF", Kind::InvalidCode),
            ("CreateInitCodeSizeLimit", Kind::InitcodeTooLarge),
            ("FatalExternalError", Kind::Halted),
        ] {
            assert_eq!(classify(-32603, &format!("EVM error {halt}")), kind, "{halt}");
        }
    }

    #[test]
    fn every_halt_of_geth_has_a_row() {
        use RefusalKind as Kind;
        for (words, kind) in [
            ("out of gas", Kind::OutOfGas),
            ("contract creation code storage out of gas", Kind::OutOfGas),
            ("max call depth exceeded", Kind::CallTooDeep),
            ("insufficient balance for transfer", Kind::InsufficientFunds),
            ("contract address collision", Kind::AddressCollision),
            ("execution reverted", Kind::Reverted),
            ("max initcode size exceeded", Kind::InitcodeTooLarge),
            ("max code size exceeded", Kind::CodeTooLarge),
            ("invalid jump destination", Kind::InvalidJump),
            ("write protection", Kind::WriteProtection),
            ("return data out of bounds", Kind::ReturnDataOutOfBounds),
            ("gas uint64 overflow", Kind::OutOfGas),
            ("invalid code: must not begin with 0xef", Kind::InvalidCode),
            ("nonce uint64 overflow", Kind::NonceOverflow),
            ("stack underflow (0 <=> 1)", Kind::StackUnderflow),
            ("stack limit reached 1024 (1023)", Kind::StackOverflow),
            ("invalid opcode: INVALID", Kind::InvalidOpcode),
            ("invalid opcode: opcode 0xc not defined", Kind::InvalidOpcode),
            ("header not found", Kind::UnknownBlock),
        ] {
            assert_eq!(classify(-32000, words), kind, "{words}");
        }
    }

    #[test]
    fn a_contract_cannot_pass_its_text_for_a_halt() {
        for (code, message) in [
            (3, "execution reverted: invalid opcode"),
            (-32000, "err: execution reverted: stack underflow (supplied gas 5)"),
            (-32000, "VM Exception while processing transaction: revert out of gas"),
            (
                -32603,
                "VM Exception while processing transaction: reverted with reason string 'out of gas'",
            ),
            (3, "nonce too low"),
        ] {
            assert_eq!(classify(code, message), RefusalKind::Reverted, "{message}");
        }
    }
}
