//! The metric of when certificates in configured files expire. Each scrape reads the files again, so
//! that a replaced file counts.

use std::path::{Path, PathBuf};

use x509_cert::Certificate;

use crate::config::Config;

/// Exports the expiry of every file with certificates that `config` names.
pub(crate) fn export(config: &Config) {
    let files = files(config);
    crate::metrics::collect(move || {
        let name = "tributary_certificate_expiry_timestamp_seconds";
        for (file, path) in &files {
            if let Some(expiry) = first_expiry(path) {
                metrics::gauge!(name, "file" => *file).set(expiry);
            }
        }
    });
}

/// Returns the files with certificates, each with its label: its option without `--` and `-file`.
fn files(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let Config { database, bus, mqtt, .. } = config;
    let files = [
        ("database_ca", &database.database_ca_file),
        ("database_cert", &database.database_cert_file),
        ("nats_ca", &bus.nats_ca_file),
        ("nats_cert", &bus.nats_cert_file),
        ("mqtt_ca", &mqtt.broker.mqtt_ca_file),
    ];
    files.into_iter().filter_map(|(name, path)| Some((name, path.clone()?))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_every_server_are_exported() {
        let key = Path::new("key.pem");
        let urls = ["postgres://a@b/c", "nats://a", "mqtt://a"];
        let mut config = Config::private(urls[0], urls[1], urls[2], key).unwrap();
        assert_eq!(files(&config), []);
        config.database.database_ca_file = Some("a.pem".into());
        config.database.database_cert_file = Some("b.pem".into());
        config.bus.nats_ca_file = Some("c.pem".into());
        config.bus.nats_cert_file = Some("d.pem".into());
        config.mqtt.broker.mqtt_ca_file = Some("e.pem".into());
        let names: Vec<_> = files(&config).into_iter().map(|(name, _)| name).collect();
        let expected = ["database_ca", "database_cert", "nats_ca", "nats_cert", "mqtt_ca"];
        assert_eq!(names, expected);
    }
}
