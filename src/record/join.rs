//! Which request to the API a call belongs to: by the trace that it carries, or because the API's
//! process made it while one request alone was under way. Never by guessing.

use super::passage::Caller;
use super::peer_processes::PeerProcesses;
use crate::model::{Aloft, Flights, Join, Role, Stamp, TraceContext};

/// What the API's processes are to the dapp.
pub(super) const API: &str = "flask";

/// The calls that a call is looked at together with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Those of its client.
    Client,
    /// Those of its request to the API.
    Request,
    /// None: the API made it for one of several requests.
    Nobodys,
}

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
        peers: &mut PeerProcesses,
    ) -> (Option<TraceContext>, Option<Join>) {
        if carried.is_some() {
            return (carried, Some(Join::Trace));
        }
        let aloft = self.flights.at(started);
        if aloft == Aloft::None {
            return (None, None);
        }
        let is_api = peers.role(caller) == Some(Role::known(API));
        match aloft {
            Aloft::One(trace) if is_api => (Some(trace), Some(Join::Alone)),
            // A process that is not known may be the API's.
            _ if is_api || peers.is_unidentified(caller) => (None, Some(Join::Ambiguous)),
            _ => (None, None),
        }
    }

    /// Which calls a call that was joined like this goes with.
    pub(super) fn group(
        &self,
        trace: Option<TraceContext>,
        joined_by: Option<Join>,
        (caller, started): (&Caller, Stamp),
        peers: &mut PeerProcesses,
    ) -> Group {
        let of_request = match (joined_by, trace) {
            (Some(Join::Alone), _) => true,
            // A page may trace its own calls, which belong to no request.
            (Some(Join::Trace), Some(trace)) => self.flights.may_know(trace.trace_id, started),
            (Some(Join::Ambiguous), _) if peers.role(caller) == Some(Role::known(API)) => {
                return Group::Nobodys;
            }
            _ => false,
        };
        if of_request { Group::Request } else { Group::Client }
    }
}
