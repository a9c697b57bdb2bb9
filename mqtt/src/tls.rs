//! TLS to the broker, with the system's certificates or those of a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::pki_types::CertificateDer;
use rumqttc::tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use rumqttc::tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};
use rumqttc::{TlsConfiguration, TlsError as RumqttcTlsError};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file holds no certificate in PEM.
    #[error("{} contains no PEM certificates", path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
        /// The cause, if the file is not PEM at all.
        source: Option<pem::Error>,
    },
    /// A certificate is invalid.
    #[error("a certificate is not usable")]
    Rustls(#[from] rustls::Error),
    /// The system's certificates cannot be loaded.
    #[error("cannot load the system's certificates")]
    System(#[from] RumqttcTlsError),
}

pub(crate) async fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let config = match ca_file {
        Some(path) => Arc::new(trusting(path).await?),
        None => match TlsConfiguration::try_default_rustls()? {
            TlsConfiguration::Rustls(config) => config,
            TlsConfiguration::Simple { .. } => {
                return Err(RumqttcTlsError::UnsupportedBackendConfiguration.into());
            }
        },
    };
    Ok(TlsConnector::from(config))
}

async fn trusting(path: &Path) -> Result<ClientConfig, TlsError> {
    let text = tokio::fs::read(path)
        .await
        .map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    let missing = |source| TlsError::NoCertificates { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(|error| missing(Some(error)))?)?;
    }
    if roots.is_empty() {
        return Err(missing(None));
    }
    // Explicit: a process with two providers linked has no default.
    let provider = Arc::new(crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
