//! TLS of HTTP clients, by rustls with `ring`, as the clients of Postgres, NATS and MQTT have it.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};

use super::Error;

/// The certificates of the system, or of the file that `SSL_CERT_FILE` names. A system without any can
/// still reach servers without TLS.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// Returns the builder of a client of HTTP that trusts the certificates of `ca`, in PEM; without it, those of
/// the system. Every client is built with it: reqwest is compiled without a TLS provider of its own, and panics
/// without one.
///
/// Fails with [`Error::Certificates`] if `ca` holds no certificate or an invalid one.
pub fn http(ca: Option<&[u8]>) -> Result<reqwest::ClientBuilder, Error> {
    #[expect(clippy::disallowed_methods, reason = "this is where a client gets its TLS")]
    let builder = reqwest::Client::builder();
    Ok(builder.tls_backend_preconfigured(tls(ca)?))
}

/// Returns the TLS of [`http`].
pub fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let roots = match ca {
        Some(ca) => Arc::new(roots(ca)?),
        None => Arc::clone(&SYSTEM),
    };
    let provider = Arc::new(crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Error::Certificates(Some(error.into())))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn roots(ca: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|error| Error::Certificates(Some(error.into())))?;
        roots.add(certificate).map_err(|error| Error::Certificates(Some(error.into())))?;
    }
    if roots.is_empty() { Err(Error::Certificates(None)) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_one_or_more_certificates_in_pem() {
        let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        for ca in ["", "a text", "-----BEGIN CERTIFICATE-----", broken] {
            assert!(matches!(http(Some(ca.as_bytes())), Err(Error::Certificates(_))), "{ca}");
        }
    }
}
