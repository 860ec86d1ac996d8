//! Folders and files that only this host's user may open.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes the folder and its missing parents with mode 0700. One that exists is left as the operator made it.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the file, empty, with mode 0600. One that exists is closed to others: it is the host's own, and they may read
/// messages in it.
pub(crate) fn create_private_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    let open_to_others = file.metadata()?.permissions().mode() & 0o077 != 0;
    if open_to_others {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
