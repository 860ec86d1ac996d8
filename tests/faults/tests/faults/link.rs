//! The network between a host and PostgreSQL, which can be cut, led elsewhere, and lose notifications.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// Nothing in either direction; connections stay as they are, as with a cable that is pulled.
    Cut,
    /// Everything but notifications.
    Deaf,
}

/// A notification among the server's messages: a letter, the length of the rest, the rest.
const NOTIFICATION: u8 = b'A';
const READ_BYTES: usize = 16 << 10;

/// One road to a server's socket.
pub struct Link {
    pub port: u16,
    target: Arc<Mutex<PathBuf>>,
    passage: watch::Sender<Passage>,
}

impl Link {
    pub async fn to(socket: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let target = Arc::new(Mutex::new(socket));
        let (passage, now) = watch::channel(Passage::Open);
        let to = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((host, _)) = listener.accept().await {
                let (to, now) = (to.lock().unwrap().clone(), now.clone());
                // An error here is one side hanging up.
                tokio::spawn(async move { carry(host, to, now).await });
            }
        });
        Ok(Self { port, target, passage })
    }

    pub fn is(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }

    /// New connections go to this server.
    pub fn leads_to(&self, socket: PathBuf) {
        *self.target.lock().unwrap() = socket;
    }
}

async fn carry(host: TcpStream, to: PathBuf, passage: watch::Receiver<Passage>) -> Result<()> {
    let server = UnixStream::connect(to).await?;
    let (from_host, to_host) = host.into_split();
    let (from_server, to_server) = server.into_split();
    let asks = pass(from_host, to_server, passage.clone());
    let tells = pass_messages(from_server, to_host, passage);
    // Either end ends both.
    tokio::select! {
        ended = asks => ended,
        ended = tells => ended,
    }
}

async fn not_cut(passage: &mut watch::Receiver<Passage>) -> Result<Passage> {
    Ok(*passage.wait_for(|passage| *passage != Passage::Cut).await?)
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passage: watch::Receiver<Passage>,
) -> Result<()> {
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let read = from.read(&mut bytes).await?;
        not_cut(&mut passage).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..read]).await?;
    }
}

/// Message by message, as the protocol parts them.
async fn pass_messages(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passage: watch::Receiver<Passage>,
) -> Result<()> {
    let mut waiting = Vec::new();
    loop {
        let read = from.read_buf(&mut waiting).await?;
        let now = not_cut(&mut passage).await?;
        if read == 0 {
            return Ok(());
        }
        let mut out = Vec::new();
        while let Some(length) = message(&waiting) {
            let message: Vec<u8> = waiting.drain(..length).collect();
            if now != Passage::Deaf || message[0] != NOTIFICATION {
                out.extend(message);
            }
        }
        to.write_all(&out).await?;
    }
}

/// The length of the first whole message.
fn message(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..5)?;
    let whole = 1 + u32::from_be_bytes(length.try_into().ok()?) as usize;
    (bytes.len() >= whole).then_some(whole)
}
