//! The address and the folders that a host begins with: what is the matter when it cannot have them, by key and fix.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Result, anyhow};

/// Ports below this one are the administrator's on most systems.
const PORT_FREE_MIN: u16 = 1024;

/// Why nobody can listen there, and what to do.
pub(crate) fn not_listening(listen: SocketAddr, error: &Error) -> String {
    let fix = match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "Port {} is in use: stop the program that has it (perhaps another host), or write another port",
                listen.port()
            )
        }
        ErrorKind::AddrNotAvailable => format!(
            "{} is no address of this machine: write one that it has, or 127.0.0.1 behind a proxy, or 0.0.0.0 for all",
            listen.ip()
        ),
        ErrorKind::PermissionDenied if listen.port() < PORT_FREE_MIN => format!(
            "Port {} is the administrator's: write one from {PORT_FREE_MIN} on, and put a proxy in front",
            listen.port()
        ),
        _ => "Write another address".to_owned(),
    };
    format!("`server.listen`: {listen} cannot be listened at ({error}). {fix}.")
}

/// Makes the folder, open to the host's user alone, and sees that it can be written to. One that exists is left as the
/// operator made it.
pub(crate) fn prepare_folder(key: &str, folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let refused = |error: Error| {
        let fix = match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "It, or what it should lie in, is a file",
            ErrorKind::PermissionDenied => "The user of the host may not write there: give it the right",
            ErrorKind::ReadOnlyFilesystem => "The file system is mounted read-only",
            ErrorKind::StorageFull => "The disk is full: make room",
            _ => "It cannot be used",
        };
        let place = folder.display();
        anyhow!("`{key}`: the folder {place} cannot be written to ({error}). {fix}, or name another folder.")
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(refused)?;
    let probe = folder.join(format!(".writable-{}", std::process::id()));
    std::fs::File::create(&probe).map_err(refused)?;
    std::fs::remove_file(&probe).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_6_why_an_address_cannot_be_had_is_told_apart() {
        let check = |kind: ErrorKind, listen: &str, words: &str| {
            let told = not_listening(listen.parse().unwrap(), &kind.into());
            assert!(told.starts_with("`server.listen`: ") && told.contains(words), "{told}");
        };
        check(ErrorKind::AddrInUse, "127.0.0.1:80", "Port 80 is in use");
        check(
            ErrorKind::AddrNotAvailable,
            "8.8.8.8:80",
            "8.8.8.8 is no address of this machine",
        );
        check(
            ErrorKind::PermissionDenied,
            "0.0.0.0:80",
            "Port 80 is the administrator's",
        );
        check(ErrorKind::PermissionDenied, "0.0.0.0:8080", "Write another address");
    }

    #[test]
    fn f_6_a_folder_that_cannot_be_used_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for place in [file.clone(), file.join("below")] {
            let told = prepare_folder("server.data_dir", &place).unwrap_err().to_string();
            assert!(
                told.starts_with("`server.data_dir`: ")
                    && told.contains(&place.display().to_string())
                    && told.contains("is a file, or name another folder"),
                "{told}"
            );
        }
        prepare_folder("server.data_dir", &folder.path().join("a/b")).unwrap();
        assert!(folder.path().join("a/b").is_dir());
        // Nothing is left of the trial.
        assert_eq!(std::fs::read_dir(folder.path().join("a/b")).unwrap().count(), 0);
    }
}
