//! A caller that speaks TLS, and a service that says what it was sent.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

/// Longest wait for bytes.
const SILENCE: Duration = Duration::from_secs(20);

/// Whom a caller believes.
pub(super) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The certificate in that file, and no other.
    pub(super) fn only(path: &Path) -> Self {
        let pem = fs::read(path).expect("the file is there");
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(&pem).expect("it is a certificate");
        roots.add(certificate).expect("it is a certificate");
        Self::of(builder().with_root_certificates(roots).with_no_client_auth())
    }

    /// Whatever is shown: who made it is looked at by the test.
    pub(super) fn anything() -> Self {
        let config = builder().dangerous().with_custom_certificate_verifier(Arc::new(Anything(
            Arc::new(ring::default_provider()),
        )));
        Self::of(config.with_no_client_auth())
    }

    /// Each connection is to see a certificate: sessions that go on show none.
    fn of(mut config: ClientConfig) -> Self {
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().expect("the provider knows them")
}

/// A connection that is kept.
pub(super) struct Caller(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Caller {
    /// Connects, handshake included, and asks for that name.
    pub(super) fn connect(to: SocketAddr, name: &str, trust: &Trust) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&to, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&trust.0), name);
        let mut session = session.map_err(io::Error::other)?;
        session.complete_io(&mut stream)?;
        Ok(Self(BufReader::new(StreamOwned::new(session, stream))))
    }

    /// The certificate that was shown.
    pub(super) fn shown(&self) -> Vec<u8> {
        let shown = self.0.get_ref().conn.peer_certificates();
        shown.and_then(|chain| chain.first()).map(|it| it.to_vec()).unwrap_or_default()
    }

    /// Status and body of an answer.
    #[track_caller]
    pub(super) fn get(&mut self, path: &str) -> (u16, String) {
        let stream = self.0.get_mut();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it is open");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it answers");
        let status = line.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("it answers");
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("it answers");
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// A service without TLS whose answer is the head of the request.
pub(super) struct Echo(SocketAddr);

impl Echo {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        Self(address)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

fn answer(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
