//! The metric of when certificates in configured files expire. Each scrape reads the files again, so
//! that a replaced file counts.

use std::path::{Path, PathBuf};

use x509_cert::Certificate;

use crate::config::Config;

/// Exports the expiry of every file with certificates that `config` names.
pub(crate) fn export(config: &Config) {
    let files = [("mqtt_ca", config.mqtt.broker.mqtt_ca_file.clone())];
    let files: Vec<(&'static str, PathBuf)> =
        files.into_iter().filter_map(|(name, path)| Some((name, path?))).collect();
    crate::metrics::collect(move || {
        let name = "tributary_certificate_expiry_timestamp_seconds";
        for (file, path) in &files {
            if let Some(expiry) = first_expiry(path) {
                metrics::gauge!(name, "file" => *file).set(expiry);
            }
        }
    });
}

/// The Unix time at which the first certificate of the file expires; none if the file cannot be read,
/// which whatever connects with it reports.
fn first_expiry(path: &Path) -> Option<f64> {
    let pem = std::fs::read(path).ok()?;
    let certificates = Certificate::load_pem_chain(&pem).ok()?;
    let expiry = |certificate: &Certificate| {
        certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs_f64()
    };
    certificates.iter().map(expiry).reduce(f64::min)
}
