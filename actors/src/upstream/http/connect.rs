//! From a target to a connection: resolve once, check the address, connect to that address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::error::{HttpError, HttpErrorKind};
use super::names::{NameError, Names};
use super::stream::Stream;
use super::target::Origin;

/// Probes of an otherwise silent connection: the first after 30 s, gone after three missed ones, 10 s apart. Finds
/// peers that vanished below a stream that may be silent for hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The certificate authorities a client trusts; shared by the clients of all threads.
#[derive(Clone, Debug)]
pub struct TlsTrust(Arc<ClientConfig>);

/// Certificates that cannot be used.
#[derive(Debug, Error)]
#[error("unusable certificate authorities: {reason}")]
pub struct TrustError {
    reason: String,
}

// === impl TlsTrust ===

impl TlsTrust {
    /// Trusts what the operating system trusts and, in addition, the certificates in `extra_pem` (may be empty).
    /// Reads files; call it once, at start.
    pub fn native(extra_pem: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "certificate authority of the system not usable");
        }
        roots.add_parsable_certificates(native.certs);
        if !extra_pem.is_empty() {
            add(&mut roots, extra_pem)?;
        }
        Self::new(roots)
    }

    /// Trusts only the certificates in `pem`.
    pub fn only(pem: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        add(&mut roots, pem)?;
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TrustError> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots
            .add(certificate.map_err(unusable)?)
            .map_err(unusable)?;
    }
    if roots.len() == before {
        return Err(unusable("no certificate in the PEM text"));
    }
    Ok(())
}

fn unusable(reason: impl ToString) -> TrustError {
    TrustError {
        reason: reason.to_string(),
    }
}

// === connecting ===

/// Connects within `limit`, the name lookup and the TLS handshake included. Nothing is written to the upstream but
/// the handshake.
pub(super) async fn connect(
    origin: &Origin,
    trust: Option<&TlsTrust>,
    names: &Names,
    limit: Duration,
) -> Result<Stream, HttpError> {
    let deadline = Instant::now() + limit;
    let attempt = async {
        let addresses = resolve(origin, names).await?;
        let stream = first_to_connect(&addresses, deadline).await?;
        prepare(&stream);
        match &origin.server_name {
            None => Ok(Stream::Plain(stream)),
            Some(server_name) => {
                let trust =
                    trust.ok_or_else(|| failed(HttpErrorKind::Tls, "no trust configured"))?;
                TlsConnector::from(Arc::clone(&trust.0))
                    .connect(server_name.clone(), stream)
                    .await
                    .map(|stream| Stream::Encrypted(Box::new(stream)))
                    .map_err(|error| failed(HttpErrorKind::Tls, error))
            }
        }
    };
    match timeout_at(deadline, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(HttpError::new(HttpErrorKind::Timeout, false)),
    }
}

/// The addresses of the host that its URL may lead to.
async fn resolve(origin: &Origin, names: &Names) -> Result<Vec<SocketAddr>, HttpError> {
    let found = match origin.host.parse::<IpAddr>() {
        Ok(address) => Arc::from([address]),
        Err(_) => names
            .addresses(&origin.host)
            .await
            .map_err(|error| match error {
                NameError::Slow => failed(HttpErrorKind::Timeout, error),
                NameError::Failed(_) | NameError::Busy => failed(HttpErrorKind::Connect, error),
            })?,
    };
    let allowed = found
        .iter()
        .filter(|address| origin.reach.allows(**address))
        .map(|address| SocketAddr::new(*address, origin.port));
    let allowed: Vec<SocketAddr> = allowed.collect();
    if allowed.is_empty() {
        let found = found.first().copied();
        return Err(failed(
            HttpErrorKind::Refused,
            format!(
                "{} is at {}, and may lead only to {}; if it is meant to, say so with `addresses`",
                origin.host,
                found.map_or_else(String::new, |address| address.to_string()),
                origin.reach
            ),
        ));
    }
    Ok(allowed)
}

/// Tries one address after the other; each gets an equal share of the time that is left.
async fn first_to_connect(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, HttpError> {
    let mut outcome = HttpError::new(HttpErrorKind::Connect, false);
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(left / shares, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => outcome = failed(HttpErrorKind::Connect, error),
            Err(_) => outcome = HttpError::new(HttpErrorKind::Timeout, false),
        }
    }
    Err(outcome)
}

/// Sets what makes a connection quick and its death noticed. A socket that cannot do it still works.
fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = stream.set_nodelay(true);
    let probed = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES));
    if let Err(error) = probed {
        tracing::debug!(%error, "no keep-alive probes on a connection");
    }
}

fn failed(
    kind: HttpErrorKind,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HttpError {
    HttpError::because(kind, false, source)
}
