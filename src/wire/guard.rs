//! Decides whether a request may pass, by its `Host` and `Origin`. A stand-in for the real rules.

/// The rules for `Host` and `Origin`.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow_any_origin: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
}

impl Guard {
    pub fn new(
        allow_any_origin: bool,
        allowed_hosts: Vec<String>,
        allowed_origins: Vec<String>,
    ) -> Self {
        Self { allow_any_origin, hosts: allowed_hosts, origins: allowed_origins }
    }

    pub fn admit(&self, host: Option<&[u8]>, origin: Option<&[u8]>) -> Result<(), Refusal> {
        if self.allow_any_origin {
            return Ok(());
        }
        let Some(host) = host else {
            return Err(Refusal { status: 400, reason: "host_missing" });
        };
        let local = |text: &[u8]| text.starts_with(b"localhost") || text.starts_with(b"127.0.0.1");
        if !local(host) && !self.hosts.iter().any(|allowed| allowed.as_bytes() == host) {
            return Err(Refusal { status: 403, reason: "host_not_allowed" });
        }
        match origin {
            Some(origin)
                if !origin.starts_with(b"http://localhost")
                    && !origin.starts_with(b"http://127.0.0.1")
                    && !self.origins.iter().any(|allowed| allowed.as_bytes() == origin) =>
            {
                Err(Refusal { status: 403, reason: "origin_not_allowed" })
            }
            _ => Ok(()),
        }
    }

    /// Whether everything is admitted.
    pub fn is_open(&self) -> bool {
        self.allow_any_origin
    }
}

impl Refusal {
    /// What the client is told.
    pub fn message(&self) -> String {
        format!("refused: {}", self.reason)
    }
}
