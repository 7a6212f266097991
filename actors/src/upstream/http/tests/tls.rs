//! Whom the client trusts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::*;

async fn serve_tls() -> (u16, Seen) {
    let certificates = CertificateDer::pem_slice_iter(include_bytes!("../testdata/server.pem"))
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../testdata/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, target) = listen().await;
    let seen = Seen::default();
    let shared = seen.clone();
    tokio::task::spawn_local(async move {
        let scripts = Rc::new(RefCell::new(vec![ok("secret")]));
        loop {
            let (stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::task::spawn_local(converse(stream, scripts.clone(), shared.clone()));
            }
        }
    });
    (target.port(), seen)
}

#[test]
fn speaks_tls_to_whom_it_trusts() {
    on_one_thread(async {
        let (port, seen) = serve_tls().await;
        let trusting = HttpClient::new(HttpClientConfig {
            tls: Some(TlsTrust::only(include_bytes!("../testdata/ca.pem")).unwrap()),
            ..HttpClientConfig::default()
        });
        for host in ["127.0.0.1", "localhost"] {
            let target = HttpTarget::parse(&format!("https://{host}:{port}/mcp")).unwrap();
            for _ in 0..2 {
                assert_eq!(post_and_read(&trusting, &target).await.unwrap(), "secret");
            }
        }
        assert_eq!(seen.requests(), [2, 2]);

        let target = HttpTarget::parse(&format!("https://127.0.0.1:{port}/mcp")).unwrap();
        let native = HttpClient::new(HttpClientConfig {
            tls: Some(TlsTrust::native(b"").unwrap()),
            ..HttpClientConfig::default()
        });
        for client in [client(), native] {
            assert_eq!(fails(&client, &target).await, (HttpErrorKind::Tls, false));
        }
        assert!(TlsTrust::only(b"not PEM").is_err());
    });
}
