//! What tells one board from another: the serial number of its SoC, and the card id (CID) of its eMMC.
//!
//! Invariants: only what is soldered on counts. Never a host name or a MAC address, which are copied and changed; never an SD card's CID, as
//! cards move from board to board. A text that many boards share (all zeroes, "unknown") counts as none. Reading never fails: what can't be
//! read isn't there.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Shortest and longest serial that is believed to be one.
const SERIAL_CHARS: std::ops::RangeInclusive<usize> = 6..=64;

/// This board, as far as it tells. On a PC or in a virtual machine there is nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Serial number of the SoC: /proc/device-tree/serial-number, else /sys/devices/soc0/serial_number.
    pub soc: Option<String>,
    /// CID of the first eMMC: /sys/block/mmcblk*/device/cid.
    pub emmc: Option<String>,
}

impl Hardware {
    /// The machine that this runs on.
    #[must_use]
    pub fn here() -> Self {
        Self::below(Path::new("/"))
    }

    /// The same, with /proc and /sys below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let soc = ["proc/device-tree/serial-number", "sys/devices/soc0/serial_number"];
        let soc = soc.iter().find_map(|path| serial(&std::fs::read(root.join(path)).ok()?));
        Self { soc, emmc: emmc(&root.join("sys/block")) }
    }

    /// The id that a gateway on this board gets, if it tells enough.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let of = |kind: &str, serial: &Option<String>| serial.as_ref().map(|serial| format!("{kind}-{serial}"));
        of("soc", &self.soc).or_else(|| of("emmc", &self.emmc))
    }

    /// Whether this is surely not the board `other`. The SoC decides where both have one, else the eMMC: what one of the two does not tell
    /// proves nothing.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> bool {
        let both = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).map(|(a, b)| a != b);
        both(&self.soc, &other.soc).or_else(|| both(&self.emmc, &other.emmc)).unwrap_or(false)
    }

    /// With what only `other` tells.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let or = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
        Self { soc: or(&self.soc, &other.soc), emmc: or(&self.emmc, &other.emmc) }
    }
}

impl std::fmt::Display for Hardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.soc, &self.emmc) {
            (Some(soc), _) => write!(f, "the board with SoC {soc}"),
            (None, Some(emmc)) => write!(f, "the board with eMMC {emmc}"),
            (None, None) => f.write_str("a machine without a serial number"),
        }
    }
}

/// Lower case, as it may stand in a name; `None` if it tells nothing.
fn serial(raw: &[u8]) -> Option<String> {
    // The device tree ends its texts with a zero.
    let text = String::from_utf8_lossy(raw);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_ascii_lowercase();
    let first = text.chars().next()?;
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && SERIAL_CHARS.contains(&text.len());
    let tells = text.chars().any(|c| c != first) && text.chars().any(|c| c.is_ascii_digit());
    (fits && tells).then_some(text)
}

/// Of the first disk by name that is an MMC (not SD) and not removable. Its boot partitions have no `cid` of their own.
fn emmc(blocks: &Path) -> Option<String> {
    let mut disks: Vec<_> = std::fs::read_dir(blocks).ok()?.flatten().map(|entry| entry.path()).collect();
    disks.sort_unstable();
    disks.iter().find_map(|disk| {
        let read = |file| std::fs::read_to_string(disk.join(file)).ok();
        let is_card = disk.file_name()?.to_str()?.starts_with("mmcblk") && read("device/type")?.trim() == "MMC";
        let stays = read("removable").is_none_or(|text| text.trim() == "0");
        serial(read("device/cid")?.as_bytes()).filter(|_| is_card && stays)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tree with these files.
    pub(in crate::gateway) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    const CID: &str = "150100424a544434520f3b1c2d4e5f00";

    #[test]
    fn the_soc_comes_before_the_emmc_and_a_pc_tells_nothing() {
        let board = tree(&[
            ("proc/device-tree/serial-number", "10000000A3B4C5D6\0"),
            ("sys/devices/soc0/serial_number", "other99"),
            ("sys/block/mmcblk0/device/type", "MMC\n"),
            ("sys/block/mmcblk0/device/cid", CID),
        ]);
        let hardware = Hardware::below(board.path());
        assert_eq!(hardware.id().as_deref(), Some("soc-10000000a3b4c5d6"));
        assert_eq!(hardware.emmc.as_deref(), Some(CID));
        let soc0 = tree(&[("sys/devices/soc0/serial_number", "17A2B3C4\n")]);
        assert_eq!(Hardware::below(soc0.path()).id().as_deref(), Some("soc-17a2b3c4"));
        assert_eq!(Hardware::below(tree(&[]).path()), Hardware::default());
        assert_eq!(Hardware::default().id(), None);
    }

    #[test]
    fn an_sd_card_is_no_identity_and_neither_is_what_all_boards_share() {
        let board = tree(&[
            ("proc/device-tree/serial-number", "0000000000000000\0"),
            ("sys/block/mmcblk0/device/type", "SD\n"),
            ("sys/block/mmcblk0/device/cid", "035344534331364780deadbeef012345"),
            ("sys/block/mmcblk1/device/type", "MMC\n"),
            ("sys/block/mmcblk1/device/cid", "035344534331364780deadbeef012346"),
            ("sys/block/mmcblk1/removable", "1\n"),
            ("sys/block/mmcblk2/device/type", "MMC\n"),
            ("sys/block/mmcblk2/device/cid", CID),
            ("sys/block/mmcblk2/removable", "0\n"),
            ("sys/block/sda/device/type", "0\n"),
        ]);
        assert_eq!(Hardware::below(board.path()).id(), Some(format!("emmc-{CID}")));
        for text in ["", "unknown", "ffffffffffff", "12345", "to be filled", "a/../b123"] {
            assert_eq!(serial(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_what_both_tell_is_compared() {
        let of = |soc: &str, emmc: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Hardware { soc: some(soc), emmc: some(emmc) }
        };
        assert!(of("a", "").differs_from(&of("b", "")) && of("", "x").differs_from(&of("", "y")));
        assert!(!of("a", "x").differs_from(&of("a", "y")), "its eMMC was replaced");
        assert!(of("a", "x").differs_from(&of("b", "x")));
        assert!(!of("a", "").differs_from(&of("", "x")) && !of("", "").differs_from(&of("b", "y")));
        assert_eq!(of("a", "").or(&of("b", "x")), of("a", "x"));
    }
}
