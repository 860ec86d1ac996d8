//! Files by handle. A guest's ids are places in a table of its call, so that it can name no file of another one.

use crate::bindings::mantle::connector::media::{Error, FileInfo, Host};
use crate::call::{CallState, Kind};
use crate::limits::MEDIA_READ_BYTES_MAX;
use crate::shelf::{ShelfError, ShelfFile};

impl Host for CallState {
    async fn stat(&mut self, file: u32) -> wasmtime::Result<Result<FileInfo, Error>> {
        self.count_host_call()?;
        let lent = self.lent(file).cloned();
        Ok(lent.map(|file| FileInfo {
            bytes: file.bytes,
            content_type: file.content_type,
            name: file.name,
        }))
    }

    async fn read(&mut self, file: u32, offset: u64, length: u32) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        self.count_host_call()?;
        let id = match self.lent(file) {
            Ok(file) if offset <= file.bytes => file.id,
            Ok(_) => return Ok(Err(Error::OutOfRange)),
            Err(error) => return Ok(Err(error)),
        };
        if length > MEDIA_READ_BYTES_MAX {
            return Ok(Err(Error::OutOfRange));
        }
        match self.parts.shelf.read(id, offset, length).await {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(ShelfError::Unknown) => Ok(Err(Error::Unknown)),
            // The interface has no word for a disk that fails; the call ends and is made again later.
            Err(error) => Err(wasmtime::Error::msg(format!("a file could not be read: {error}"))),
        }
    }

    async fn link(&mut self, file: u32) -> wasmtime::Result<Result<String, Error>> {
        self.count_host_call()?;
        let id = self.lent(file).map(|file| file.id);
        Ok(id.map(|id| self.parts.shelf.link(id)))
    }
}

impl CallState {
    fn lent(&self, file: u32) -> Result<&ShelfFile, Error> {
        if self.kind == Kind::Receive {
            return Err(Error::Unknown);
        }
        self.file(file).ok_or(Error::Unknown)
    }
}
