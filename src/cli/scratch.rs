//! A directory for a while: new, private, and gone with the value.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::CliError;

/// A new directory; it is removed with all in it when the value is dropped.
#[derive(Debug)]
pub(super) struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// A directory in `parent` that nobody else may read. Its name begins with `prefix`.
    ///
    /// # Errors
    /// [`CliError::Failed`] when it can't be made.
    pub(super) fn new(parent: &Path, prefix: &str) -> Result<ScratchDir, CliError> {
        let path = parent.join(format!("{prefix}-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| CliError::failed(path.display(), error))?;
        Ok(ScratchDir { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {error}", self.path.display());
        }
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        self.remove();
    }
}
