//! TLS of HTTP clients, by rustls with `ring`, as the clients of Postgres, NATS and MQTT have it.

use std::sync::{Arc, LazyLock};

use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};

use super::Error;

/// The certificates of the system, or of the file that `SSL_CERT_FILE` names.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// Returns the builder of a client of HTTP that trusts the certificates of `ca`, in PEM; without it, those of
/// the system. It follows no redirect, which could lead a body with a password to another server. Every client
/// is built with it: reqwest is compiled without a TLS provider of its own, and panics without one.
///
/// Fails with [`Error::Certificates`] if `ca` holds no certificate or an invalid one.
pub fn http(ca: Option<&[u8]>) -> Result<reqwest::ClientBuilder, Error> {
    Ok(builder(tls(ca)?))
}

/// Returns the builder of [`http`] for servers without TLS: it reads no certificates, and trusts none.
pub fn plain_http() -> Result<reqwest::ClientBuilder, Error> {
    Ok(builder(config(Arc::new(RootCertStore::empty()))?))
}

fn builder(tls: ClientConfig) -> reqwest::ClientBuilder {
    #[expect(clippy::disallowed_methods, reason = "this is where a client gets its TLS")]
    let builder = reqwest::Client::builder();
    builder.tls_backend_preconfigured(tls).redirect(Policy::none())
}

/// Returns the TLS of [`http`].
pub fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, Error> {
    config(match ca {
        Some(ca) => Arc::new(roots(ca)?),
        None => Arc::clone(&SYSTEM),
    })
}

fn config(roots: Arc<RootCertStore>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(Error::certificates)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn roots(ca: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.map_err(Error::certificates)?).map_err(Error::certificates)?;
    }
    if roots.is_empty() { Err(Error::Certificates(None)) } else { Ok(roots) }
}

/// Fails if the system has no certificate by which a server could be verified, with the cause.
pub(crate) fn require_system_certificates() -> Result<(), Error> {
    if !SYSTEM.is_empty() {
        return Ok(());
    }
    let error = rustls_native_certs::load_native_certs().errors.into_iter().next();
    Err(Error::Certificates(error.map(Into::into)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509`; its key was not kept.
    const CERTIFICATE: &str = include_str!("test_ca.pem");

    #[test]
    fn a_ca_is_one_or_more_certificates_in_pem() {
        for count in [1, 2] {
            assert_eq!(roots(CERTIFICATE.repeat(count).as_bytes()).unwrap().len(), count);
        }
        assert!(http(Some(CERTIFICATE.as_bytes())).is_ok());
        let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let second_broken = format!("{CERTIFICATE}{broken}");
        for ca in ["", "a text", "-----BEGIN CERTIFICATE-----", broken, &second_broken] {
            assert!(matches!(http(Some(ca.as_bytes())), Err(Error::Certificates(_))), "{ca}");
        }
    }
}
