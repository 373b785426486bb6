//! Certificates for tests, made by OpenSSL's program: an authority, and what it issued.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// An authority that only one test knows.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// A certificate with its private key, as files in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How long a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// For a day from now on.
    Good,
    /// It ended yesterday.
    Expired,
}

fn openssl(arguments: &[&str], paths: &[(&str, &Path)]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments);
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    let output = command.output().context("`openssl` did not start; hint: apt-get install openssl")?;
    ensure!(output.status.success(), "`openssl {}`: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    Ok(())
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When OpenSSL's program is missing or refuses.
    pub fn new() -> Result<Self> {
        let authority = Self { folder: tempfile::tempdir()? };
        let arguments = [&["req", "-x509", "-days", "1", "-subj", "/CN=authority of a test"], KEY.as_slice()].concat();
        openssl(&arguments, &[("-out", &authority.certificate()), ("-keyout", &authority.folder.path().join("ca.key"))])?;
        Ok(authority)
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for 127.0.0.1, good for servers and clients.
    ///
    /// # Errors
    /// When OpenSSL's program refuses.
    pub fn issue(&self, name: &str, validity: Validity) -> Result<Issued> {
        let at = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        let issued = Issued { certificate: at("pem"), key: at("key") };
        let subject = format!("/CN={name}");
        let arguments = [&["req", "-new", "-subj", &subject], KEY.as_slice()].concat();
        openssl(&arguments, &[("-out", &at("csr")), ("-keyout", &issued.key)])?;
        std::fs::write(at("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
        let days = if validity == Validity::Good { "1" } else { "-1" };
        let (own, key) = (self.certificate(), self.folder.path().join("ca.key"));
        let paths: [(&str, &Path); 5] =
            [("-in", &at("csr")), ("-CA", &own), ("-CAkey", &key), ("-out", &issued.certificate), ("-extfile", &at("ext"))];
        openssl(&["x509", "-req", "-CAcreateserial", "-days", days], &paths)?;
        Ok(issued)
    }
}
