//! What a data directory and a clock stand on, as the kernel tells it: for the self-test and for support.
//!
//! Invariant: nothing here fails or writes; what can't be read is told as unknown.

use std::path::{Path, PathBuf};

/// A mounted filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) place: PathBuf,
    /// `ext4`, `f2fs`, `tmpfs`, …
    pub(super) kind: String,
    /// Of the mount and of the filesystem, joined by commas.
    pub(super) options: String,
}

impl Mount {
    /// The one that holds a directory; `None` if that can't be told.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::find(&mounts, &std::fs::canonicalize(dir).ok()?)
    }

    /// Looks a path up in mountinfo (proc_pid_mountinfo(5)): the longest place above it, the last of several.
    fn find(mounts: &str, path: &Path) -> Option<Self> {
        let each = mounts.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let place = PathBuf::from(before.split(' ').nth(4)?.replace("\\040", " "));
            let mut after = after.split(' ');
            let (kind, of_kind) = (after.next()?.to_owned(), after.nth(1).unwrap_or_default());
            let options = format!("{},{of_kind}", before.split(' ').nth(5)?);
            path.starts_with(&place).then_some(Self { place, kind, options })
        });
        each.max_by_key(|mount| mount.place.as_os_str().len())
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// In memory: gone with the power.
    pub(super) fn is_volatile(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }

    /// On another machine, where a sync means what that machine makes of it.
    pub(super) fn is_remote(&self) -> bool {
        self.kind.starts_with("nfs") || matches!(self.kind.as_str(), "cifs" | "smb3" | "9p" | "fuse.sshfs" | "ceph")
    }
}

impl std::fmt::Display for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} ({})", self.kind, self.place.display(), self.options)
    }
}

/// The first line of one of the kernel's files; `unknown` where there is none.
pub(super) fn kernel_says(file: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { "unknown".to_owned() } else { line.to_owned() }
}

/// The name of the battery-backed clock, if there is one.
pub(super) fn rtc() -> Option<String> {
    std::fs::read_to_string("/sys/class/rtc/rtc0/name").ok().map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_holds_a_directory() {
        let mounts = "\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw,data=ordered
30 22 0:25 / /var/lib rw,relatime - f2fs /dev/mmcblk0p3 rw
31 22 0:26 / /mnt/a\\040b ro - nfs4 host:/x ro,vers=4.2
32 22 0:27 / /run rw,nosuid - tmpfs tmpfs rw,size=1024k
rubbish\n";
        let of = |path: &str| Mount::find(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/var/lib/brooklet").to_string(), "f2fs on /var/lib (rw,relatime,rw)");
        assert_eq!(of("/var/library").kind, "ext4");
        assert!(of("/mnt/a b/c").is_read_only() && of("/mnt/a b").is_remote());
        assert!(of("/run/x").is_volatile() && !of("/").is_read_only());
        assert_eq!(Mount::find("", Path::new("/")), None);
    }
}
