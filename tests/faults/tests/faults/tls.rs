//! A TLS road to a stand-in, with certificates that are good or not and an HTTP/2 that misbehaves.
//!
//! The host trusts the authority of the test alone (`SSL_CERT_FILE`), which `openssl` makes on the spot.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How connections are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A good certificate and the stand-in behind it.
    Honest,
    Expired,
    SelfSigned,
    /// For another host.
    WrongName,
    /// Nothing newer than TLS 1.0.
    Old,
    /// HTTP/2: a call comes in and the server goes away without having looked at it.
    GoAway,
    /// HTTP/2: resets of streams without end.
    Resets,
    /// HTTP/2: an answer of empty pieces without end.
    Empties,
}

pub struct TlsRoad {
    pub origin: String,
    /// What the host must be started with.
    pub authority: PathBuf,
    manner: watch::Sender<Manner>,
    met: watch::Receiver<u64>,
    _folder: TempDir,
}

impl TlsRoad {
    pub async fn before(target: SocketAddr) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mantle-tls-").tempdir()?;
        let made = certificates(folder.path())?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("https://localhost:{}", listener.local_addr()?.port());
        let (manner, now) = watch::channel(Manner::Honest);
        let (count, met) = watch::channel(0);
        let configs = Arc::new(made);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut now, configs, count) = (now.clone(), Arc::clone(&configs), count.clone());
                tokio::spawn(async move {
                    let manner = *now.borrow_and_update();
                    if manner != Manner::Honest {
                        count.send_modify(|met| *met += 1);
                    }
                    tokio::select! {
                        // Kept connections would outlive the change.
                        _ = now.changed() => {}
                        // An error here is the host hanging up, which is what it should do.
                        _ = serve(stream, target, manner, &configs) => {}
                    }
                });
            }
        });
        Ok(Self {
            origin,
            authority: folder.path().join("ca.pem"),
            manner,
            met,
            _folder: folder,
        })
    }

    /// From the next connection on; open ones are dropped.
    pub fn turns(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Waits for one more connection that is not met honestly.
    pub async fn met_again(&mut self) -> Result<()> {
        let before = *self.met.borrow_and_update();
        tokio::time::timeout(crate::process::PATIENCE, self.met.wait_for(|met| *met > before))
            .await
            .context("nobody came")??;
        Ok(())
    }
}

struct Configs {
    good: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    self_signed: Arc<ServerConfig>,
    wrong_name: Arc<ServerConfig>,
}

async fn serve(mut stream: TcpStream, target: SocketAddr, manner: Manner, configs: &Configs) -> Result<()> {
    let config = match manner {
        Manner::Old => {
            /// An alert of TLS 1.0: fatal, protocol_version.
            const ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 70];
            stream.read_u8().await?;
            return Ok(stream.write_all(&ALERT).await?);
        }
        Manner::Honest => &configs.good,
        Manner::Expired => &configs.expired,
        Manner::SelfSigned => &configs.self_signed,
        Manner::WrongName => &configs.wrong_name,
        Manner::GoAway | Manner::Resets | Manner::Empties => &configs.http2,
    };
    let mut tls = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
    if config.alpn_protocols.is_empty() {
        let mut stand = TcpStream::connect(target).await?;
        copy_bidirectional(&mut tls, &mut stand).await?;
        return Ok(());
    }
    misbehave(tls, manner).await
}

/// HTTP/2 by hand (RFC 9113): the preface, one call's head, and then what no server should do.
async fn misbehave(mut tls: TlsStream<TcpStream>, manner: Manner) -> Result<()> {
    const PREFACE_BYTES: usize = 24;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_HEADERS: u8 = 4;
    /// `:status: 200` in the static table.
    const STATUS_200: [u8; 1] = [0x88];
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    tls.read_exact(&mut [0; PREFACE_BYTES]).await?;
    tls.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let call = loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        tls.read_exact(&mut vec![0; length]).await?;
        if head[3] == HEADERS {
            break u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        }
    };
    match manner {
        Manner::GoAway => {
            // Last stream looked at: none. Error: none.
            tls.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await?;
            tls.flush().await?;
            // The end of the connection is the host's to make.
            while tls.read_u8().await.is_ok() {}
        }
        Manner::Resets => {
            for stream in (1..).step_by(2) {
                tls.write_all(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
                    .await?;
            }
        }
        _ => {
            tls.write_all(&frame(HEADERS, END_HEADERS, call, &STATUS_200)).await?;
            let flood = frame(DATA, 0, call, &[]).repeat(1000);
            loop {
                tls.write_all(&flood).await?;
            }
        }
    }
    Ok(())
}

fn certificates(folder: &Path) -> Result<Configs> {
    let request = |name: &str, host: &str, extra: &[&str]| {
        // Like no authority's that the machine trusts besides.
        let subject = format!("/CN={name}.mantle-faults.test");
        let alternative = format!("subjectAltName=DNS:{host}");
        let key = format!("{name}.key");
        let mut arguments = vec!["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        arguments.extend(["-keyout", &key, "-subj", &subject, "-addext", &alternative]);
        arguments.extend(extra);
        openssl(folder, &arguments)
    };
    let by_authority = ["-CA", "ca.pem", "-CAkey", "ca.key"];
    request("ca", "ca.test", &["-x509", "-days", "30", "-out", "ca.pem"])?;
    for (name, host, days, by) in [
        ("good", "localhost", "30", &by_authority[..]),
        ("expired", "localhost", "-1", &by_authority),
        ("other", "elsewhere.test", "30", &by_authority),
        ("self", "localhost", "30", &["-signkey", "self.key"]),
    ] {
        let (asked, file) = (format!("{name}.csr"), format!("{name}.pem"));
        request(name, host, &["-out", &asked])?;
        let arguments = [
            "x509",
            "-req",
            "-copy_extensions",
            "copy",
            "-in",
            &asked,
            "-out",
            &file,
            "-days",
            days,
        ];
        openssl(folder, &[&arguments[..], by].concat())?;
    }
    let load = |name: &str, protocols: &[&[u8]]| -> Result<Arc<ServerConfig>> {
        let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem")))?];
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    };
    Ok(Configs {
        good: load("good", &[])?,
        http2: load("good", &[b"h2"])?,
        expired: load("expired", &[])?,
        self_signed: load("self", &[])?,
        wrong_name: load("other", &[])?,
    })
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let made = Command::new("openssl").current_dir(folder).args(arguments).output();
    let made = made.context("running openssl, which `ca-certificates` brings along: install it")?;
    ensure!(
        made.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}
