//! The file of the CA that signs the certificate of a server.

use std::path::Path;

use anyhow::Context;

use super::outcome::Failure;

/// A file with the certificates of a CA, and what names it in an error.
#[derive(Debug, Clone, Copy)]
pub(super) enum CaFile<'a> {
    Option(&'a Path),
    Context(&'a str, &'a Path),
}

/// Reads the certificates of `file`, which must be valid.
pub(super) fn read_ca(file: Option<CaFile<'_>>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let (source, path) = match file {
        CaFile::Option(path) => ("--ca-file (TRIBUTARY_CA_FILE)".to_owned(), path),
        CaFile::Context(name, path) => (format!("the CA of the context `{name}`"), path),
    };
    let shown = path.display();
    let ca = std::fs::read(path).with_context(|| format!("{source}: cannot read {shown}"))?;
    client::tls(Some(&ca)).with_context(|| format!("{source}: {shown}"))?;
    Ok(Some(ca))
}
