//! The socket for local administration, in the data directory: the native protocol for processes of this machine.
//!
//! Invariants: mode 0600 from the start, so only the gateway's user (and root) can connect; the peer's user is checked
//! all the same, for filesystems that ignore modes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use smol::net::unix::{UnixListener, UnixStream};

use crate::listen::accept::Acceptor;
use crate::listen::native::Native;
use crate::listen::places::{Places, Total};
use crate::metrics::METRICS;

/// Name of the socket within the data directory.
pub const SOCKET_NAME: &str = "brooklet.sock";
/// Longest path of a socket, bytes (`sun_path` of Linux, less the closing zero).
const PATH_BYTES_MAX: usize = 107;
/// Most local connections at a time.
const CONNECTIONS_MAX: usize = 16;

/// Binds the socket, in place of one that an earlier run has left: the store's lock says that there is no other
/// gateway on this directory.
///
/// # Errors
/// A text that names the path and what to do.
pub(super) fn bind(data_dir: &Path) -> Result<(PathBuf, Option<UnixListener>), String> {
    let path = data_dir.join(SOCKET_NAME);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        log::warn!("no socket for local administration: {} is longer than {PATH_BYTES_MAX} bytes", path.display());
        return Ok((path, None));
    }
    let failed = |error: io::Error| format!("cannot open the socket {}: {error}", path.display());
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // The directory is the gateway's own; between these two lines the socket has what the umask leaves.
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((path, Some(listener)))
}

/// Warns where others on this machine may enter the data directory: records are in it, and what is kept of passwords.
pub(super) fn warn_if_open(data_dir: &Path) {
    let mode = fs::metadata(data_dir).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        let shown = data_dir.display();
        log::warn!(
            "everyone on this machine may enter the data directory {shown} (mode {mode:03o}): chmod 700 {shown}"
        );
    }
}

/// Serves local clients until shutdown.
pub(super) async fn serve(listener: Option<UnixListener>, native: Native, acceptor: Acceptor) {
    let Some(listener) = listener else { return };
    // Administration is to work when strangers have taken all other places.
    let places = Places::new(CONNECTIONS_MAX, None, Total::default(), &METRICS.connections_native);
    let accepting = Acceptor { places, ..acceptor.clone() };
    accepting
        .run_local(listener, |stream| {
            let (native, acceptor) = (native.clone(), acceptor.clone());
            async move {
                match peer_uid(&stream) {
                    Ok(uid) if uid == 0 || uid == geteuid().as_raw() => {
                        native.serve_local(&acceptor, stream, uid).await;
                    }
                    Ok(uid) => log::warn!("local administration refused to user {uid}"),
                    Err(error) => log::warn!("local administration refused: {error}"),
                }
            }
        })
        .await;
}

fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}
