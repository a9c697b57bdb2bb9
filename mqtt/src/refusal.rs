//! Why a broker that is there is of no use to us: few words, for metrics and for who looks at them.

/// What has to be put right, by somebody, before there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not know us, or not by this password.
    Credentials,
    /// It knows us, but will not have us listen or publish there.
    Permission,
    /// Somebody else connects with our client id.
    TakenOver,
    /// We do not trust its certificate, or it has none.
    Tls,
    /// It does not speak MQTT, or not the version we were told to.
    Protocol,
    Other,
}

impl Refusal {
    /// All of them, in their own order.
    pub const ALL: [Self; 6] = [
        Self::Credentials,
        Self::Permission,
        Self::TakenOver,
        Self::Tls,
        Self::Protocol,
        Self::Other,
    ];

    /// As metrics name it.
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
