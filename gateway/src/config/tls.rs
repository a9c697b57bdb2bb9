//! Files with certificates and keys. They are read when a process starts, so that a wrong file is an
//! error that names its option.

use std::path::Path;

use anyhow::{Context, ensure};

/// The options of one server: `--{server}-ca-file`, `--{server}-cert-file`, `--{server}-key-file`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsFiles<'a> {
    pub(super) server: &'static str,
    pub(super) ca: Option<&'a Path>,
    pub(super) certificate: Option<&'a Path>,
    pub(super) key: Option<&'a Path>,
}

impl TlsFiles<'_> {
    /// Returns the certificates of the CA, in PEM.
    pub(super) fn ca(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.ca.map(|file| self.read("ca", file, "CERTIFICATE")).transpose()
    }

    /// Returns the certificate of the client with its chain, and its private key, in PEM.
    pub(super) fn client(&self) -> anyhow::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let Self { server, certificate, key, .. } = self;
        ensure!(
            certificate.is_some() == key.is_some(),
            "--{server}-cert-file and --{server}-key-file must be set together"
        );
        let Some((certificate, key)) = certificate.zip(*key) else { return Ok(None) };
        let certificate = self.read("cert", certificate, "CERTIFICATE")?;
        Ok(Some((certificate, self.read("key", key, "PRIVATE KEY")?)))
    }

    fn read(&self, what: &str, file: &Path, tag: &str) -> anyhow::Result<Vec<u8>> {
        let (option, shown) = (format!("--{}-{what}-file", self.server), file.display());
        let text = std::fs::read(file).with_context(|| format!("{option}: cannot read {shown}"))?;
        let parts = pem::parse_many(&text).with_context(|| format!("{option}: {shown}"))?;
        let found = parts.iter().any(|part| part.tag().ends_with(tag));
        ensure!(found, "{option}: {shown} contains no {tag} in PEM");
        Ok(text)
    }
}
