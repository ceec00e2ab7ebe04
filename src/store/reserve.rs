//! `store.preallocate`: the room that the bound leaves is claimed from the filesystem beforehand.
//!
//! The room lies in files of one segment each, `reserve.0001` and so on, made with fallocate. A spare is made out of one
//! of them as it would be out of an evicted segment, so its blocks never pass through other hands. What else may grow is
//! counted as planned, and files of the reserve go before it is needed.
//!
//! Invariants: the reserve and everything planned stay within the bound together; a file of the reserve holds nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::{Disk, OpenMode};
use super::ring::lock;

const PREFIX: &str = "reserve.";
/// A file on its way into the reserve.
const NEW: &str = "reserve.new";

/// The files that hold room.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// Whether room is to be claimed.
    wanted: AtomicBool,
    numbers: Mutex<BTreeSet<u32>>,
    /// Why there is less than there could be.
    failure: Mutex<Option<String>>,
}

fn name(number: u32) -> String {
    format!("{PREFIX}{number:04}")
}

fn number(file: &str) -> Option<u32> {
    let number = file.strip_prefix(PREFIX)?.parse().ok()?;
    (name(number) == file).then_some(number)
}

impl Reserve {
    /// Takes over the files that an earlier opening left; those that are of another size, or not wanted any more, go.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn adopt(&self, disk: &dyn Disk, dir: &Path, file_bytes: u64, wanted: bool) -> io::Result<()> {
        let mut removed = false;
        for entry in disk.list(dir)? {
            let Some(file) = entry.name.to_str().filter(|file| file.starts_with(PREFIX)) else { continue };
            match number(file) {
                Some(number) if wanted && entry.len == file_bytes && entry.allocated >= file_bytes => {
                    lock(&self.numbers).insert(number);
                }
                Some(_) => {
                    disk.remove(&dir.join(file))?;
                    removed = true;
                }
                None if file == NEW => {
                    disk.remove(&dir.join(file))?;
                    removed = true;
                }
                None => {}
            }
        }
        if removed {
            disk.sync_dir(dir)?;
        }
        self.wanted.store(wanted, Ordering::Release);
        Ok(())
    }

    /// How many files there are.
    pub(super) fn files(&self) -> u64 {
        lock(&self.numbers).len() as u64
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Why there is less than there could be; `None` if there isn't.
    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Takes a file out of the reserve: it belongs to the caller.
    pub(super) fn take(&self, dir: &Path) -> Option<PathBuf> {
        Some(dir.join(name(lock(&self.numbers).pop_first()?)))
    }

    /// Claims one more file's worth of room.
    ///
    /// # Errors
    /// Of the disk; where the filesystem knows no claims, nothing more is tried until the store is opened again.
    pub(super) fn grow(&self, disk: &dyn Disk, dir: &Path, file_bytes: u64) -> io::Result<()> {
        let claimed = self.claim(disk, dir, file_bytes);
        if let Err(error) = &claimed {
            let unsupported = error.kind() == io::ErrorKind::Unsupported;
            let why = match unsupported {
                true => "the filesystem can't reserve room (fallocate)".to_owned(),
                false => error.to_string(),
            };
            let mut failure = lock(&self.failure);
            if failure.as_ref() != Some(&why) {
                log::warn!("store.preallocate: {why}; the store goes on without");
            }
            *failure = Some(why);
            if unsupported {
                self.wanted.store(false, Ordering::Release);
            }
            let _left = disk.remove(&dir.join(NEW));
        } else {
            *lock(&self.failure) = None;
        }
        claimed
    }

    fn claim(&self, disk: &dyn Disk, dir: &Path, file_bytes: u64) -> io::Result<()> {
        let new = dir.join(NEW);
        let file = disk.open(&new, OpenMode::CreateNew)?;
        file.allocate(file_bytes)?;
        file.sync_data()?;
        let mut numbers = lock(&self.numbers);
        let number = numbers.last().map_or(1, |last| last + 1);
        disk.rename(&new, &dir.join(name(number)))?;
        numbers.insert(number);
        drop(numbers);
        disk.sync_dir(dir)
    }

    /// Gives one file's worth of room back. Whether there was any.
    ///
    /// # Errors
    /// Of the disk; the file stays in the reserve then.
    pub(super) fn shrink(&self, disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        let mut numbers = lock(&self.numbers);
        let Some(&last) = numbers.last() else { return Ok(false) };
        match disk.remove(&dir.join(name(last))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => numbers.remove(&last),
        };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        assert_eq!((name(7).as_str(), number("reserve.0007")), ("reserve.0007", Some(7)));
        for other in ["reserve.new", "reserve.7", "reserve.+007", "reserve."] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn room_is_claimed_taken_over_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, dir) = (RealDisk::new(), dir.path());
        let reserve = Reserve::default();
        reserve.adopt(&disk, dir, 8_192, true).unwrap();
        for _ in 0..3 {
            if reserve.grow(&disk, dir, 8_192).is_err() {
                assert!(!reserve.is_wanted() && reserve.failure().is_some(), "a filesystem that can't");
                return;
            }
        }
        assert_eq!((reserve.files(), disk.list(dir).unwrap().len()), (3, 3));
        assert_eq!(reserve.take(dir), Some(dir.join("reserve.0001")));
        std::fs::remove_file(dir.join("reserve.0001")).unwrap();
        std::fs::write(dir.join("reserve.new"), "x").unwrap();

        let again = Reserve::default();
        again.adopt(&disk, dir, 8_192, true).unwrap();
        assert_eq!((again.files(), disk.list(dir).unwrap().len()), (2, 2));
        assert!(again.shrink(&disk, dir).unwrap());
        assert_eq!((again.files(), disk.list(dir).unwrap().len()), (1, 1));
        Reserve::default().adopt(&disk, dir, 4_096, true).unwrap();
        assert!(disk.list(dir).unwrap().is_empty(), "what is of another size is none of it");
        assert!(!Reserve::default().shrink(&disk, dir).unwrap());
    }
}
