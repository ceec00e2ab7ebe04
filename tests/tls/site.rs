//! A CA made by `brooklet cert`, and clients of rustls that trust it.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

use crate::common::gateway::{brooklet, expect_ok, run};

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// See the module.
pub(crate) struct Site {
    dir: PathBuf,
    _made: Option<TempDir>,
}

impl Site {
    /// A CA, a gateway `gw` and a device `dev`.
    pub(crate) fn new() -> Site {
        let made = tempfile::tempdir().unwrap();
        let site = Site { dir: made.path().to_owned(), _made: Some(made) };
        site.cert_ok(&["ca", "--name", "Site"]);
        site.cert_ok(&["gateway", "gw", "--host", "gw.example"]);
        site.cert_ok(&["device", "dev"]);
        site
    }

    /// What somebody else has made.
    pub(crate) fn at(dir: PathBuf) -> Site {
        Site { dir, _made: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn cert(&self, args: &[&str]) -> Output {
        run(brooklet().arg("cert").args(args).args(["--dir".as_ref(), self.dir.as_os_str()]), b"")
    }

    pub(crate) fn cert_ok(&self, args: &[&str]) -> String {
        expect_ok(&format!("brooklet cert {}", args.join(" ")), &self.cert(args))
    }

    /// Keys of a listener's table.
    pub(crate) fn listener(&self, name: &str) -> String {
        format!("cert = {:?}\nkey = {:?}\n", self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }

    /// A client with the certificate `name`, if any, that trusts this CA.
    pub(crate) fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain(&self.path(&format!("{name}.pem"))), key).unwrap()
            }
        };
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

/// A handshake with whoever listens there as `gw.example`.
pub(crate) fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream> {
    connect_over(TcpStream::connect(addr)?, config)
}

/// As [`connect`], over a socket that is connected.
pub(crate) fn connect_over(socket: TcpStream, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream> {
    socket.set_read_timeout(Some(Duration::from_secs(120)))?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("gw.example").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The certificate that the other side has shown, in DER.
pub(crate) fn shown(stream: &TlsStream) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}
