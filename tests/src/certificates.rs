//! Certificates of a private CA, made by `openssl`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use tokio::process::Command;

/// A CA in a folder of its own.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

/// The files of a certificate and its private key.
#[derive(Debug)]
pub struct Certificate {
    pub file: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub async fn create(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        // Servers that run as another user read it.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        let authority = Self { folder };
        authority
            .openssl("req -x509 -days 2 -subj /CN=Authority -keyout ca.key -out ca.pem", true)
            .await?;
        Ok(authority)
    }

    /// The file with the certificate of the CA.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Issues a certificate to the common name `name`, for the names `subjects`, such as
    /// `IP:127.0.0.1,DNS:localhost`.
    pub async fn issue(&self, name: &str, subjects: &str) -> Result<Certificate> {
        self.openssl(
            &format!(
                "req -subj /CN={name} -addext subjectAltName={subjects} -keyout {name}.key \
                 -out {name}.csr"
            ),
            true,
        )
        .await?;
        self.openssl(
            &format!(
                "x509 -req -days 2 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
                 -copy_extensions copy -out {name}.pem"
            ),
            false,
        )
        .await?;
        let [file, key] = ["pem", "key"].map(|kind| self.folder.join(format!("{name}.{kind}")));
        std::fs::set_permissions(&key, Permissions::from_mode(0o644))?;
        Ok(Certificate { file, key })
    }

    async fn openssl(&self, arguments: &str, key: bool) -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(&self.folder);
        if key {
            command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        }
        let output = command.output().await?;
        ensure!(
            output.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
