//! What the recorder asks, sorted by what has to be done for it.

use alloy::primitives::{Address, B256};

use super::traces::TraceRequest;
use crate::model::ChainQuestion;

/// Questions that came together.
#[derive(Debug, Default)]
pub struct Questions {
    /// Whether one is to look if the chain is still the same.
    pub looks: bool,
    /// Addresses whose code is wanted.
    pub codes: Vec<Address>,
    /// Submitted transactions.
    pub sights: Vec<B256>,
    /// Mined transactions.
    pub traces: Vec<TraceRequest>,
}

impl FromIterator<ChainQuestion> for Questions {
    fn from_iter<I: IntoIterator<Item = ChainQuestion>>(asked: I) -> Self {
        let mut questions = Self::default();
        for question in asked {
            match question {
                ChainQuestion::Look => questions.looks = true,
                ChainQuestion::Code(address) => questions.codes.push(address),
                ChainQuestion::Sight(hash) => questions.sights.push(hash),
                ChainQuestion::Trace { hash, block, gas } => {
                    questions.traces.push(TraceRequest { hash, block, gas });
                }
            }
        }
        questions
    }
}
