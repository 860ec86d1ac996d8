//! Words for the service manager, when the host was started by one: `Type=notify`, `WatchdogSec`. And the socket that it
//! hands on: `LISTEN_FDS`.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::Context;
use listenfd::ListenFd;

/// Says that the host is ready, alive or stopping. Without a service manager, or when it does not listen, nothing
/// happens: no message depends on it.
pub(crate) fn notify(word: &str) {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else {
        return;
    };
    let sent = say(&name, word);
    if let Err(error) = sent {
        tracing::debug!(%error, "The service manager was not told {word}");
    }
}

/// The socket that the service manager opened for us and keeps open while we are restarted: callers wait in the kernel's
/// queue meanwhile instead of being refused.
///
/// # Errors
/// What was handed on is no TCP socket that listens, or more than one.
pub(crate) fn socket() -> anyhow::Result<Option<TcpListener>> {
    let mut handed = ListenFd::from_env();
    anyhow::ensure!(
        handed.len() <= 1,
        "The service manager hands on {} sockets, and the host listens on one. Leave one `ListenStream=` in the socket \
         unit.",
        handed.len()
    );
    if handed.len() == 0 {
        return Ok(None);
    }
    let socket = handed.take_tcp_listener(0).context(
        "The service manager hands on a socket that is none for TCP. Write `ListenStream=` with a port in the socket unit.",
    )?;
    if let Some(socket) = &socket {
        // Else one call that is not there yet would hold up all others.
        socket.set_nonblocking(true)?;
    }
    Ok(socket)
}

fn say(name: &str, word: &str) -> std::io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes())?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_is_told_by_path_and_by_abstract_name() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path)?;
        let name = format!("mantle-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)?;
        say(&path.to_string_lossy(), "READY=1")?;
        say(&format!("@{name}"), "STOPPING=1")?;
        for (socket, expected) in [(by_path, "READY=1"), (by_name, "STOPPING=1")] {
            let mut told = [0; 64];
            let length = socket.recv(&mut told)?;
            assert_eq!(&told[..length], expected.as_bytes());
        }
        Ok(())
    }
}
