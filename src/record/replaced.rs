//! Why a chain went back: a call that puts an earlier chain in its place had just passed, or none.

use std::time::Duration;

use crate::model::{Event, Method, Stamp};

/// How long after such a call what happens to the chain is its doing. The watcher looks at once, but
/// a node that mines has to answer first.
const DOING: Duration = Duration::from_secs(10);

/// [`Event::WentBack`]'s cause after a call that begins the chain anew.
pub(super) const RESET: &str = Event::SETBACKS[1];
const REVERT: &str = Event::SETBACKS[0];
const REORGANISATION: &str = Event::SETBACKS[2];

/// The last call that replaced the chain.
#[derive(Default)]
pub(super) struct Replaced {
    last: Option<(Stamp, &'static str)>,
}

impl Replaced {
    /// A call of `method` that replaces the chain was answered.
    pub(super) fn by(&mut self, method: Method, at: Stamp) {
        let cause = if method.as_str().ends_with("_revert") { REVERT } else { RESET };
        self.last = Some((at, cause));
    }

    /// Whether a call that passed did it.
    pub(super) fn is_known(&self) -> bool {
        self.cause() != REORGANISATION
    }

    /// Why the chain went back just now.
    pub(super) fn cause(&self) -> &'static str {
        match self.last {
            Some((at, cause)) if Stamp::now().since(at) < DOING => cause,
            _ => REORGANISATION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_call_that_passed_a_moment_ago() {
        let mut replaced = Replaced::default();
        assert_eq!(replaced.cause(), "reorganisation");
        replaced.by(Method::known("evm_revert"), Stamp::now());
        assert_eq!(replaced.cause(), "evm_revert");
        replaced.by(Method::known("hardhat_reset"), Stamp::now());
        assert_eq!(replaced.cause(), RESET);
        replaced.by(Method::known("anvil_revert"), Stamp::now());
        assert_eq!(replaced.cause(), "evm_revert");
    }
}
