//! Owns the labels that were read back from disk. Texts in a file were bounded when they were
//! written; they are bounded again here, because a file may outlive the program that wrote it.

use std::sync::{Mutex, PoisonError};

use crate::model::{
    AppFunction, ContractName, DbCollection, DbOperation, DbSystem, EventName, FunctionName,
    HttpMethod, Label, LabelKind, LabelSet, Method, Reason, Role, Route,
};

/// One set for each kind of label that a sample holds.
#[derive(Default)]
pub(super) struct Labels {
    methods: Admitted<crate::model::kind::MethodKind>,
    routes: Admitted<crate::model::kind::RouteKind>,
    http_methods: Admitted<crate::model::kind::HttpMethodKind>,
    contracts: Admitted<crate::model::kind::ContractKind>,
    functions: Admitted<crate::model::kind::FunctionKind>,
    reasons: Admitted<crate::model::kind::ReasonKind>,
    events: Admitted<crate::model::kind::EventKind>,
    roles: Admitted<crate::model::kind::RoleKind>,
    app_functions: Admitted<crate::model::kind::AppFunctionKind>,
    db_systems: Admitted<crate::model::kind::DbSystemKind>,
    db_operations: Admitted<crate::model::kind::DbOperationKind>,
    db_collections: Admitted<crate::model::kind::DbCollectionKind>,
}

struct Admitted<K>(Mutex<LabelSet<K>>);

impl<K: LabelKind> Default for Admitted<K> {
    fn default() -> Self {
        Self(Mutex::new(LabelSet::new()))
    }
}

impl<K: LabelKind> Admitted<K> {
    fn admit(&self, text: &str) -> Label<K> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).admit(text)
    }
}

impl Labels {
    pub fn method(&self, text: &str) -> Method {
        self.methods.admit(text)
    }
    pub fn route(&self, text: &str) -> Route {
        self.routes.admit(text)
    }
    pub fn http_method(&self, text: &str) -> HttpMethod {
        self.http_methods.admit(text)
    }
    pub fn contract(&self, text: &str) -> ContractName {
        self.contracts.admit(text)
    }
    pub fn function(&self, text: &str) -> FunctionName {
        self.functions.admit(text)
    }
    pub fn reason(&self, text: &str) -> Reason {
        self.reasons.admit(text)
    }
    pub fn event(&self, text: &str) -> EventName {
        self.events.admit(text)
    }
    pub fn app_function(&self, text: &str) -> AppFunction {
        self.app_functions.admit(text)
    }
    pub fn db_system(&self, text: &str) -> DbSystem {
        self.db_systems.admit(text)
    }
    pub fn db_operation(&self, text: &str) -> DbOperation {
        self.db_operations.admit(text)
    }
    pub fn db_collection(&self, text: &str) -> DbCollection {
        self.db_collections.admit(text)
    }
    pub fn role(&self, text: &str) -> Role {
        self.roles.admit(text)
    }
}
