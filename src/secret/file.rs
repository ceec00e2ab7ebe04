//! Secrets in files: one line, which nobody else may read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Secret;

/// Largest file, bytes: a token of OAuth is the longest that is in one.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// What stands in the first line of a file, without its end.
///
/// # Errors
/// A text that names the file, what is wrong and what to do, and nothing of what is in it: it can't be read, others may read or change it,
/// it is empty or too large.
pub fn read_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    // A group that reads is how systems share a secret with a service.
    if mode & 0o027 != 0 {
        return Err(format!(
            "{shown}: everyone on this machine may get at this secret (mode {mode:03o}): chmod 600 {shown}"
        ));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown}: larger than {FILE_BYTES_MAX} bytes"));
    }
    first_line(&bytes).ok_or_else(|| format!("{shown}: its first line is empty; it must hold the secret"))
}

/// The first line, without its end; `None` if there is nothing in it.
#[must_use]
pub fn first_line(bytes: &[u8]) -> Option<Secret> {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    (!line.is_empty()).then(|| Secret::new(line))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_secret_is_read_if_nobody_else_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let put = |bytes: &[u8], mode| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read_file(&path).map(|secret| secret.expose().to_vec())
        };
        assert_eq!(put(b"hunter2\nand more", 0o600), Ok(b"hunter2".to_vec()));
        assert_eq!(put(b"hunter2\r\n", 0o640), Ok(b"hunter2".to_vec()));
        assert_eq!(put(b" with space ", 0o400), Ok(b" with space ".to_vec()));
        for mode in [0o644, 0o620, 0o602, 0o604] {
            let why = put(b"hunter2", mode).unwrap_err();
            assert!(why.contains("chmod 600") && !why.contains("hunter2"), "{why}");
        }
        assert!(put(b"\nhunter2", 0o600).unwrap_err().contains("empty"));
        assert!(put(&[b'x'; 20_000], 0o600).unwrap_err().contains("larger"));
        assert!(read_file(&dir.path().join("none")).is_err());
    }
}
