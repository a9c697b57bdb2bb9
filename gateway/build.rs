//! Prepares the web pages that the executable holds, those of the console (`console/dist`, committed) and
//! of Swagger UI: compresses each file with gzip, and writes a list of them that `http/assets.rs` includes.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;
use zip::result::ZipError;

/// The built console.
const CONSOLE: &str = "../console/dist";
/// The page around Swagger UI.
const SWAGGER_PAGE: &str = "swagger";
/// What that page uses of the distribution of Swagger UI.
const SWAGGER_FILES: [&str; 4] =
    ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-16x16.png", "favicon-32x32.png"];

type File = (String, Vec<u8>);

fn main() -> Result<(), Box<dyn Error>> {
    for watched in ["build.rs", CONSOLE, SWAGGER_PAGE] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let console = files(Path::new(CONSOLE))?;
    if !console.iter().any(|(path, _)| path == "index.html") {
        return Err(
            format!("{CONSOLE}/index.html is missing; run `npm run build` in console").into()
        );
    }
    let mut swagger = files(Path::new(SWAGGER_PAGE))?;
    swagger.extend(swagger_files()?);
    let directory = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    let directory = PathBuf::from(directory);
    let mut source = String::new();
    for (name, files) in [("CONSOLE", console), ("SWAGGER", swagger)] {
        embed(name, files, &directory, &mut source)?;
    }
    fs::write(directory.join("assets.rs"), source)?;
    Ok(())
}

/// All files below `root` with their paths relative to it.
fn files(root: &Path) -> Result<Vec<File>, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in
            fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(root)?.to_str().ok_or("a file name is not UTF-8")?;
            files.push((name.to_owned(), fs::read(&path)?));
        }
    }
    Ok(files)
}

fn swagger_files() -> Result<Vec<File>, Box<dyn Error>> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let names = archive.file_names().map(|name| Ok::<_, ZipError>(name?.into_owned()));
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    let mut files = Vec::new();
    for wanted in SWAGGER_FILES {
        let ending = format!("/dist/{wanted}");
        let name = names.iter().find(|name| name.ends_with(&ending));
        let name = name.ok_or_else(|| format!("Swagger UI has no {wanted}"))?;
        let mut content = Vec::new();
        archive.by_name(name)?.read_to_end(&mut content)?;
        files.push((wanted.to_owned(), content));
    }
    Ok(files)
}

/// Writes the compressed files into `directory`, and the list `name` of them into `source`, ordered by
/// path.
fn embed(
    name: &str,
    mut files: Vec<File>,
    directory: &Path,
    source: &mut String,
) -> Result<(), Box<dyn Error>> {
    files.sort();
    writeln!(source, "pub(super) static {name}: &[Asset] = &[")?;
    for (number, (path, content)) in files.iter().enumerate() {
        let compressed = directory.join(format!("{name}-{number}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content)?;
        fs::write(&compressed, encoder.finish()?)?;
        let digest = Sha256::digest(content);
        let tag = digest[..8].iter().fold(String::new(), |tag, byte| format!("{tag}{byte:02x}"));
        let (media_type, gzip) = (media_type(path)?, compressed.display().to_string());
        writeln!(
            source,
            "    Asset {{ path: {path:?}, media_type: {media_type:?}, tag: \"W/\\\"{tag}\\\"\", \
             gzip: include_bytes!({gzip:?}) }},"
        )?;
    }
    writeln!(source, "];")?;
    Ok(())
}

fn media_type(path: &str) -> Result<&'static str, Box<dyn Error>> {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    Ok(match extension.unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/vnd.microsoft.icon",
        "txt" => "text/plain; charset=utf-8",
        "woff2" => "font/woff2",
        _ => return Err(format!("{path}: add its media type to gateway/build.rs").into()),
    })
}
