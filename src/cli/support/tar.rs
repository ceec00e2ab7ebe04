//! A tar archive (POSIX ustar) of a few small texts, compressed: what everybody can open.
//!
//! Invariant: at most [`BUNDLE_BYTES_MAX`]; what is too much is cut off the largest text, and says so.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::recent_log::cut;

/// Bytes of an archive.
pub(super) const BUNDLE_BYTES_MAX: usize = 1_000_000;
const BLOCK_BYTES: usize = 512;
const CUT: &str = "\n… cut off: the bundle would be too large\n";

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// At most 99 bytes.
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// The archive, within its bound; `mtime` is in Unix seconds.
///
/// # Errors
/// The compressor's, which has no reason to fail in memory.
pub(super) fn bundle(mut parts: Vec<Part>, mtime: u64) -> io::Result<Vec<u8>> {
    loop {
        let archive = archive(&parts, mtime)?;
        if archive.len() <= BUNDLE_BYTES_MAX {
            return Ok(archive);
        }
        let Some(largest) = parts.iter_mut().max_by_key(|part| part.text.len()) else { return Ok(archive) };
        let half = cut(&largest.text, largest.text.len() / 2).len();
        largest.text.truncate(half);
        largest.text.push_str(CUT);
    }
}

fn archive(parts: &[Part], mtime: u64) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    for part in parts {
        out.write_all(&header(part, mtime))?;
        out.write_all(part.text.as_bytes())?;
        let rest = part.text.len().next_multiple_of(BLOCK_BYTES) - part.text.len();
        out.write_all([0; BLOCK_BYTES].split_at(rest).0)?;
    }
    out.write_all(&[0; 2 * BLOCK_BYTES])?;
    out.finish()
}

/// The fields of a ustar header, each of its width, up to the checksum; then from there on.
fn header(part: &Part, mtime: u64) -> Vec<u8> {
    let text = |text: &str, width: usize| {
        let mut field = text.as_bytes().to_vec();
        field.resize(width, 0);
        field
    };
    let octal = |number: u64, width: usize| text(&format!("{number:0digits$o}", digits = width - 1), width);
    let before = [
        text(&format!("brooklet-support/{}", part.name), 100),
        octal(0o600, 8),
        octal(0, 8),
        octal(0, 8),
        octal(part.text.len() as u64, 12),
        octal(mtime, 12),
    ];
    let mut behind = text("0", 101);
    behind.extend(b"ustar\x0000");
    behind.resize(BLOCK_BYTES - 148 - 8, 0);
    let before = before.concat();
    // The checksum counts itself as blanks.
    let sum: u64 = before.iter().chain(&behind).map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ');
    [before, format!("{sum:06o}\0 ").into_bytes(), behind].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_itself_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let parts = vec![
            Part { name: "a.txt", text: "x".repeat(512) },
            Part { name: "b.json", text: "{}\n".to_owned() },
            Part { name: "none.txt", text: String::new() },
        ];
        let path = dir.path().join("b.tar.gz");
        std::fs::write(&path, bundle(parts.clone(), 1_793_491_200).unwrap()).unwrap();
        let untar = std::process::Command::new("tar").arg("-xzf").arg(&path).arg("-C").arg(dir.path()).status();
        assert!(untar.unwrap().success());
        for part in parts {
            let text = std::fs::read_to_string(dir.path().join("brooklet-support").join(part.name)).unwrap();
            assert_eq!(text, part.text, "{}", part.name);
        }
    }

    #[test]
    fn what_is_too_large_is_cut_and_says_so() {
        let noise = |bytes| std::iter::repeat_with(fastrand::alphanumeric).take(bytes).collect::<String>();
        let parts =
            vec![Part { name: "big", text: noise(3_000_000) }, Part { name: "small", text: "whole".to_owned() }];
        let bytes = bundle(parts, 0).unwrap();
        assert!(bytes.len() <= BUNDLE_BYTES_MAX);
        let mut raw = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut raw).unwrap();
        assert!(raw.contains(CUT) && raw.contains("whole"));
    }
}
