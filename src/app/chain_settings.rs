//! What the chain watcher and the recorder may have the node do, from the settings.

use std::time::Duration;

use crate::chain::WatchSettings;
use crate::config::{Config, StateChanges};
use crate::record::Traces;

pub fn watch_settings(config: &Config) -> WatchSettings {
    let chain = &config.chain;
    WatchSettings {
        replay_gas: chain.replay_max_gas.0,
        trace_gas: chain.trace_max_gas.0,
        struct_log_gas: chain.struct_logs.then_some(chain.struct_logs_max_gas.0),
        ..WatchSettings::new(config.rpc.upstream.authority())
    }
}

pub fn traces(config: &Config) -> Traces {
    match config.chain.state_changes {
        StateChanges::Off => Traces::Off,
        StateChanges::Sampled => {
            Traces::Sampled(Duration::from_millis(config.chain.state_changes_every_ms.0))
        }
        StateChanges::All => Traces::All,
    }
}
