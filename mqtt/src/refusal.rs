//! Kinds of refusal: few words, for metrics and operators.

/// Why a reachable broker and this client do not connect. An operator has to correct it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown account or wrong password.
    Credentials,
    /// The account may not subscribe or publish to a topic.
    Permission,
    /// Another client connected with the same client id.
    TakenOver,
    /// The broker's certificate is not trusted, or the listener has no TLS.
    Tls,
    /// The listener does not speak MQTT, or not the configured version.
    Protocol,
    /// Any other reason.
    Other,
}

impl Refusal {
    /// All variants, in declaration order.
    pub const ALL: [Self; 6] = [
        Self::Credentials,
        Self::Permission,
        Self::TakenOver,
        Self::Tls,
        Self::Protocol,
        Self::Other,
    ];

    /// The value of the metric label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Permission => "permission",
            Self::TakenOver => "taken_over",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Other => "other",
        }
    }
}
