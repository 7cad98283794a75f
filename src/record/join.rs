//! Which request to the API a call belongs to: by the trace that it carries, or because the API's
//! process made it while one request alone was under way. Never by guessing.

use super::passage::Caller;
use super::people::People;
use crate::model::{Aloft, Flights, Join, Role, Stamp, TraceContext};

/// What the API's processes are to the dapp.
pub(super) const API: &str = "flask";

/// Joins calls to requests.
pub(super) struct Joiner {
    flights: Flights,
}

impl Joiner {
    pub(super) const fn new(flights: Flights) -> Self {
        Self { flights }
    }

    /// The context of the request that a call belongs to, and how that was found; `carried` is the
    /// call's own, `started` when its first byte came.
    pub(super) fn join(
        &self,
        carried: Option<TraceContext>,
        caller: &Caller,
        started: Stamp,
        people: &mut People,
    ) -> (Option<TraceContext>, Option<Join>) {
        if carried.is_some() {
            return (carried, Some(Join::Trace));
        }
        let aloft = self.flights.at(started);
        if aloft == Aloft::None {
            return (None, None);
        }
        let is_api = people.role(caller) == Some(Role::known(API));
        match aloft {
            Aloft::One(trace) if is_api => (Some(trace), Some(Join::Alone)),
            // Whoever is not known may be the API.
            _ if is_api || people.is_unmet(caller) => (None, Some(Join::Ambiguous)),
            _ => (None, None),
        }
    }
}
