//! One artifact, prepared: its functions and errors by selector, its code, its storage.

use std::collections::HashMap;
use std::sync::Arc;

use alloy::json_abi::{Error as AbiError, Function, JsonAbi};

use super::Selector;
use crate::decode::artifact::Artifact;
use crate::decode::bytecode::Bytecode;
use crate::decode::layout::Layout;
use crate::model::ContractName;

/// What a function goes by.
pub(super) struct FunctionNames {
    /// The name, or for one of several functions of the name the signature.
    pub label: Box<str>,
    pub signature: Box<str>,
}

pub(super) struct Known {
    pub contract: String,
    pub source: String,
    /// The name as a label, once it was needed: contracts that are never met use up no label.
    pub label: Option<ContractName>,
    pub creation: Bytecode,
    pub deployed: Bytecode,
    pub functions: HashMap<Selector, FunctionNames>,
    pub errors: HashMap<Selector, AbiError>,
    pub has_fallback: bool,
    pub layout: Option<Arc<Layout>>,
}

impl Known {
    /// Whether it can be at an address: an interface or abstract contract cannot.
    pub(super) fn has_code(&self) -> bool {
        !self.deployed.is_empty()
    }
}

impl From<Artifact> for Known {
    fn from(artifact: Artifact) -> Self {
        let Artifact { contract, source, abi, creation, deployed, layout, built_from: _ } =
            artifact;
        Self {
            functions: function_names(&abi),
            errors: abi.errors().map(|e| (e.selector().0, e.clone())).collect(),
            has_fallback: abi.fallback.is_some(),
            label: None,
            contract,
            source,
            creation,
            deployed,
            layout,
        }
    }
}

fn function_names(abi: &JsonAbi) -> HashMap<Selector, FunctionNames> {
    let named = |functions: &Vec<Function>| {
        let alone = functions.len() == 1;
        let names = |function: &Function| {
            let signature = function.signature().into_boxed_str();
            let label = if alone { function.name.as_str().into() } else { signature.clone() };
            (function.selector().0, FunctionNames { label, signature })
        };
        functions.iter().map(names).collect::<Vec<_>>()
    };
    abi.functions.values().flat_map(named).collect()
}
