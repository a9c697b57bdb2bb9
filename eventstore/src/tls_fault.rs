//! Faults of TLS, by the text of the error: the clients of Postgres and NATS wrap errors of rustls in
//! errors of I/O.

/// Why a connection by TLS failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// The server's certificate was issued by a CA that is not trusted.
    UnknownIssuer,
    /// The server's certificate is for another host name.
    OtherName,
    /// The server's certificate is not valid for another reason, such as its age.
    Certificate,
    /// The server demands a certificate of the client, or refuses that which it sent.
    ClientCertificate,
    /// The server does not speak TLS.
    NotOffered,
}

impl TlsFault {
    /// Returns the fault that the text of an error describes.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let has = |part: &str| text.contains(part);
        // A CA of the same name with another key does not match the signature.
        if has("UnknownIssuer") || has("peer certificate: BadSignature") {
            Some(Self::UnknownIssuer)
        } else if has("certificate not valid for name") {
            Some(Self::OtherName)
        } else if has("invalid peer certificate") {
            Some(Self::Certificate)
        } else if ["CertificateRequired", "BadCertificate", "UnknownCA", "CertificateUnknown"]
            .iter()
            .any(|alert| has(&format!("received fatal alert: {alert}")))
        {
            Some(Self::ClientCertificate)
        } else if has("received corrupt message") || has("server does not support TLS") {
            Some(Self::NotOffered)
        } else {
            None
        }
    }
}
