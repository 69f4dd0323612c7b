//! TLS as Node sets it up from the same options: which servers are trusted, and who we say we are.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::verifier::Verifier;
use super::{Address, Secret, SettingsError};

/// The TLS options, as JavaScript gives them: nothing is checked yet.
#[derive(Debug, Clone, Default)]
pub struct TlsOverrides {
    /// PEM texts of the certificates to trust **instead of** the public ones. Empty: the public ones.
    pub ca: Option<Vec<String>>,
    /// PEM text of our certificate and its chain; needs `key`.
    pub cert: Option<String>,
    /// PEM text of our certificate's key, not encrypted; needs `cert`.
    pub key: Option<Secret>,
    /// The name that the server's certificate must bear. Default: the host. Empty: the host, and no SNI is sent.
    pub servername: Option<String>,
    /// False: any certificate will do, so whoever is in between can read and write everything. Default: true, unless
    /// the process runs with `NODE_TLS_REJECT_UNAUTHORIZED=0`.
    pub reject_unauthorized: Option<bool>,
}

/// How to do TLS with the server. Kept over reconnects: sessions are resumed.
#[derive(Clone)]
pub struct TlsSettings {
    pub(crate) config: Arc<ClientConfig>,
    /// `None`: the host that is connected to.
    server_name: Option<ServerName<'static>>,
    trusts_any: bool,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration holds our key.
        f.debug_struct("TlsSettings")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// What Node reads of the environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// `NODE_EXTRA_CA_CERTS`: a PEM file of certificates that are trusted beside the public ones.
    pub(super) extra_ca: Option<PathBuf>,
    /// `NODE_TLS_REJECT_UNAUTHORIZED` is `0`.
    pub(super) accept_any: bool,
}

impl Environment {
    fn read() -> Self {
        Self {
            extra_ca: std::env::var_os("NODE_EXTRA_CA_CERTS").map(PathBuf::from),
            accept_any: std::env::var_os("NODE_TLS_REJECT_UNAUTHORIZED").is_some_and(|value| value == "0"),
        }
    }
}

impl TlsSettings {
    pub(super) fn resolve(options: &TlsOverrides, address: &Address) -> Result<Self, SettingsError> {
        Self::resolve_in(&Environment::read(), options, address)
    }

    pub(super) fn resolve_in(
        environment: &Environment,
        options: &TlsOverrides,
        address: &Address,
    ) -> Result<Self, SettingsError> {
        let Address::Tcp { host, .. } = address else {
            return Err(invalid("", "TLS over a unix socket is not supported"));
        };
        let server_name = match options.servername.as_deref() {
            None | Some("") => None,
            Some(name) => Some(parse_name(name, "servername")?),
        };
        if server_name.is_none() {
            parse_name(host, "servername")?;
        }
        let provider = Arc::new(ring::default_provider());
        let trusts_any = !options.reject_unauthorized.unwrap_or(!environment.accept_any);
        let verifier = if trusts_any {
            Verifier::accepting_anything(&provider)
        } else {
            verifier(options.ca.as_deref().unwrap_or_default(), environment, &provider)?
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match own_certificate(options)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| invalid(".key", format!("does not go with tls.cert: {error}")))?,
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = options.servername.as_deref() != Some("");
        Ok(Self {
            config: Arc::new(config),
            server_name,
            trusts_any,
        })
    }

    /// Whether any certificate will do, whoever shows it.
    pub(super) fn trusts_any(&self) -> bool {
        self.trusts_any
    }

    /// The name that the certificate of the server at `host` must bear.
    ///
    /// # Errors
    ///
    /// The host can be no certificate's name.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, SettingsError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => parse_name(host, "servername"),
        }
    }
}

/// Trusts what Node would: `ca` alone if there is any, else the public roots and the extra ones of the environment.
fn verifier(
    ca: &[String],
    environment: &Environment,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, SettingsError> {
    let mut roots = RootCertStore::empty();
    let mut given = Vec::new();
    if ca.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        // Node has warned of a file that it cannot read, and goes on without it.
        let extra = environment
            .extra_ca
            .as_ref()
            .and_then(|path| std::fs::read(path).ok())
            .unwrap_or_default();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&extra).flatten());
    }
    for pem in ca {
        for certificate in certificates(pem, ".ca")? {
            roots
                .add(certificate.clone())
                .map_err(|error| invalid(".ca", error))?;
            given.push(certificate);
        }
    }
    Verifier::trusting(roots, given, provider).map_err(|error| invalid(".ca", error))
}

/// Our certificate's chain and its key.
type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own_certificate(options: &TlsOverrides) -> Result<Option<OwnCertificate>, SettingsError> {
    let (cert, key) = match (&options.cert, &options.key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(invalid(".key", "is needed where tls.cert is given")),
        (None, Some(_)) => return Err(invalid(".cert", "is needed where tls.key is given")),
        (Some(cert), Some(key)) => (cert, key.expose()),
    };
    if key.contains("ENCRYPTED") {
        return Err(invalid(
            ".key",
            "is encrypted, which is not supported: decrypt it with `openssl pkey`",
        ));
    }
    // The parser's own message may quote the key.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        invalid(
            ".key",
            "holds no private key in PEM form (its text, not the path of a file)",
        )
    })?;
    Ok(Some((certificates(cert, ".cert")?, key)))
}

fn certificates(pem: &str, option: &str) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(invalid(
            option,
            "holds no certificate in PEM form (its text, not the path of a file)",
        )),
    }
}

fn parse_name(name: &str, option: &str) -> Result<ServerName<'static>, SettingsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        invalid(
            &format!(".{option}"),
            format!("a certificate cannot bear the name {name:?}"),
        )
    })
}

fn invalid(option: &str, problem: impl ToString) -> SettingsError {
    SettingsError::new(format!("redisOptions.tls{option}"), problem.to_string())
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
