//! The device below a directory: whether it is a flash card, what was written to it, how much of its life is used up.
//!
//! From `stat` to /sys: partitions lead to their disk, device mapper and md to what they lie on; filesystems with a device
//! number of their own (overlay, btrfs) are looked up in /proc/self/mountinfo. What can't be found out is not guessed:
//! there is no device then, and the store treats the place as a disk. The texts of the kernel are parsed by pure
//! functions.
//!
//! Absent: network filesystems and anything else without a block device; UFS (it has its own, larger controllers).

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep device mapper and overlays are followed.
const DEPTH_MAX: usize = 8;

/// What a place is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// eMMC or an SD card: few writes and much wear for each.
    FlashCard,
    /// Anything else.
    Disk,
}

/// The disks below a place: one, or those that a volume lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// In /sys/block.
    disks: Vec<PathBuf>,
}

/// How much of an eMMC's life is used up, as it says itself (JESD84-B51: `DEVICE_LIFE_TIME_EST_TYP_A` and `_B`,
/// `PRE_EOL_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CardLife {
    /// Percent used, rounded up to tens, of the SLC and of the MLC part; 110 is beyond the life that was estimated.
    pub used_percent: [Option<u8>; 2],
    /// Reserve blocks: 1 normal, 2 80 % used, 3 90 % used.
    pub pre_eol: Option<u8>,
}

/// Where the kernel's texts lie: `/`, or elsewhere in tests.
#[derive(Clone, Debug)]
struct Kernel {
    root: PathBuf,
}

impl Device {
    /// The device below a directory; `None` if there is none or it can't be found out.
    pub fn below(dir: &Path) -> Option<Self> {
        Kernel { root: PathBuf::from("/") }.device_of_place(dir, 0)
    }

    /// What it is: a flash card as soon as one of its disks is.
    pub fn medium(&self) -> Medium {
        let card = self.disks.iter().any(|disk| {
            let name = disk.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            is_card(name, read(disk, "device/type").as_deref())
        });
        if card { Medium::FlashCard } else { Medium::Disk }
    }

    /// Bytes written to it since the machine started, by everyone; `None` if the kernel doesn't tell.
    pub fn written_bytes(&self) -> Option<u64> {
        let each = self.disks.iter().map(|disk| sectors_written(&read(disk, "stat")?));
        each.sum::<Option<u64>>().map(|sectors| sectors.saturating_mul(SECTOR_BYTES))
    }

    /// How much of its life is used up; `None` where no eMMC says so.
    pub fn life(&self) -> Option<CardLife> {
        self.disks.iter().find_map(|disk| {
            let (time, eol) = (read(disk, "device/life_time"), read(disk, "device/pre_eol_info"));
            card_life(time.as_deref(), eol.as_deref())
        })
    }

    /// The names of its disks, for people.
    pub fn name(&self) -> String {
        let names = self.disks.iter().filter_map(|disk| disk.file_name()?.to_str());
        names.collect::<Vec<_>>().join("+")
    }
}

impl Kernel {
    fn device_of_place(&self, place: &Path, depth: usize) -> Option<Device> {
        let number = std::fs::metadata(place).ok()?.dev();
        self.device_of_number(number, depth)
    }

    fn device_of_number(&self, number: u64, depth: usize) -> Option<Device> {
        if depth > DEPTH_MAX {
            return None;
        }
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        if let Some(device) = self.device_in_sys(major, minor) {
            return Some(device);
        }
        let mounts = std::fs::read_to_string(self.root.join("proc/self/mountinfo")).ok()?;
        match backing(&mounts, major, minor)? {
            Backing::Place(place) => self.device_of_place(&place, depth + 1),
            Backing::Device(path) => self.device_of_number(std::fs::metadata(path).ok()?.rdev(), depth + 1),
        }
    }

    fn device_in_sys(&self, major: u32, minor: u32) -> Option<Device> {
        let link = self.root.join(format!("sys/dev/block/{major}:{minor}"));
        let mut disks = BTreeSet::new();
        disks_below(&std::fs::canonicalize(link).ok()?, 0, &mut disks);
        (!disks.is_empty()).then(|| Device { disks: disks.into_iter().collect() })
    }
}

/// Adds the disks that a block device of /sys lies on.
fn disks_below(block: &Path, depth: usize, disks: &mut BTreeSet<PathBuf>) {
    if depth > DEPTH_MAX {
        return;
    }
    let slaves = std::fs::read_dir(block.join("slaves")).into_iter().flatten().flatten();
    let mut found = false;
    for slave in slaves.filter_map(|entry| std::fs::canonicalize(entry.path()).ok()) {
        found = true;
        disks_below(&slave, depth + 1, disks);
    }
    if found {
        return;
    }
    // A partition lies in the directory of its disk.
    match block.parent().filter(|_| block.join("partition").exists()) {
        Some(disk) => disks_below(disk, depth + 1, disks),
        None => drop(disks.insert(block.to_path_buf())),
    }
}

fn read(disk: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(disk.join(file)).ok()
}

/// The unit of /sys/block/*/stat, whatever the device's own sector.
const SECTOR_BYTES: u64 = 512;

fn is_card(name: &str, kind: Option<&str>) -> bool {
    name.starts_with("mmcblk") || matches!(kind.map(str::trim), Some("MMC" | "SD"))
}

/// Sectors written: the seventh figure of /sys/block/*/stat (Documentation/block/stat.rst).
fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_ascii_whitespace().nth(6)?.parse().ok()
}

/// Of `life_time` (`0x01 0x02`: tenths used, 0 unknown) and `pre_eol_info` (`0x01`; 0 unknown).
fn card_life(life_time: Option<&str>, pre_eol: Option<&str>) -> Option<CardLife> {
    let hex = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).ok().filter(|value| *value != 0);
    let mut parts = life_time.unwrap_or_default().split_ascii_whitespace().map(hex);
    let tenths = |part: Option<Option<u8>>| part.flatten().map(|tenths| tenths.min(11) * 10);
    let used_percent = [tenths(parts.next()), tenths(parts.next())];
    let pre_eol = pre_eol.and_then(|text| hex(text.trim())).filter(|level| *level <= 3);
    let life = CardLife { used_percent, pre_eol };
    (life != CardLife::default()).then_some(life)
}

/// What a filesystem with a device number of its own lies on.
#[derive(Debug, PartialEq, Eq)]
enum Backing {
    Place(PathBuf),
    Device(PathBuf),
}

/// Looks a device number up in mountinfo (proc_pid_mountinfo(5)).
fn backing(mounts: &str, major: u32, minor: u32) -> Option<Backing> {
    let number = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if before.split(' ').nth(2)? != number {
            return None;
        }
        let mut after = after.split(' ');
        let (kind, source, options) = (after.next()?, after.next()?, after.next().unwrap_or_default());
        if kind == "overlay" {
            let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
            return Some(Backing::Place(PathBuf::from(unescaped(upper))));
        }
        source.starts_with("/dev/").then(|| Backing::Device(PathBuf::from(unescaped(source))))
    })
}

/// mountinfo writes blanks as `\040`.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree as the kernel's, with an eMMC (two partitions), a disk, and a volume over a partition of each.
    fn kernel() -> (tempfile::TempDir, Kernel) {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let emmc = root.join("sys/devices/platform/mmc0/block/mmcblk0");
        let sda = root.join("sys/devices/pci0/block/sda");
        let dm = root.join("sys/devices/virtual/block/dm-0");
        for path in ["mmcblk0p1", "mmcblk0p2", "device", "slaves"] {
            std::fs::create_dir_all(emmc.join(path)).unwrap();
        }
        std::fs::create_dir_all(sda.join("sda1")).unwrap();
        std::fs::create_dir_all(dm.join("slaves")).unwrap();
        std::fs::create_dir_all(root.join("sys/dev/block")).unwrap();
        for partition in [emmc.join("mmcblk0p1"), emmc.join("mmcblk0p2"), sda.join("sda1")] {
            std::fs::write(partition.join("partition"), "1\n").unwrap();
        }
        std::fs::write(emmc.join("device/type"), "MMC\n").unwrap();
        std::fs::write(emmc.join("device/life_time"), "0x01 0x02\n").unwrap();
        std::fs::write(emmc.join("device/pre_eol_info"), "0x01\n").unwrap();
        std::fs::write(emmc.join("stat"), "  1216 394 72442 556 3210 1000 90210 8 0 9 10 0 0 0 0 3 4\n").unwrap();
        std::fs::write(sda.join("stat"), "1 2 3 4 5 6 100 8 9 10 11\n").unwrap();
        symlink(emmc.join("mmcblk0p2"), dm.join("slaves/mmcblk0p2")).unwrap();
        symlink(sda.join("sda1"), dm.join("slaves/sda1")).unwrap();
        for (number, target) in
            [("179:2", emmc.join("mmcblk0p2")), ("179:0", emmc), ("8:1", sda.join("sda1")), ("253:0", dm)]
        {
            symlink(target, root.join("sys/dev/block").join(number)).unwrap();
        }
        (dir, Kernel { root })
    }

    #[test]
    fn partitions_and_volumes_lead_to_their_disks() {
        let (_dir, kernel) = kernel();
        let card = kernel.device_in_sys(179, 2).unwrap();
        assert_eq!((card.name().as_str(), card.medium()), ("mmcblk0", Medium::FlashCard));
        assert_eq!(kernel.device_in_sys(179, 0), Some(card.clone()));
        assert_eq!(card.written_bytes(), Some(90_210 * 512));
        assert_eq!(card.life(), Some(CardLife { used_percent: [Some(10), Some(20)], pre_eol: Some(1) }));

        let disk = kernel.device_in_sys(8, 1).unwrap();
        assert_eq!((disk.name().as_str(), disk.medium(), disk.life()), ("sda", Medium::Disk, None));
        let volume = kernel.device_in_sys(253, 0).unwrap();
        assert_eq!((volume.name().as_str(), volume.medium()), ("sda+mmcblk0", Medium::FlashCard));
        assert_eq!(volume.written_bytes(), Some(90_310 * 512));
        assert_eq!(kernel.device_in_sys(1, 1), None);
    }

    #[test]
    fn filesystems_with_numbers_of_their_own_are_looked_up() {
        let mounts = "\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
35 22 0:31 / /data rw - btrfs /dev/mmcblk0p3 rw,ssd,subvol=/\n\
40 22 0:44 / /var/lib rw,relatime - overlay overlay rw,lowerdir=/a:/b,upperdir=/mnt/up\\040per,workdir=/mnt/w\n\
41 22 0:45 / /tmp rw - tmpfs tmpfs rw\n\
rubbish\n";
        assert_eq!(backing(mounts, 0, 31), Some(Backing::Device("/dev/mmcblk0p3".into())));
        assert_eq!(backing(mounts, 0, 44), Some(Backing::Place("/mnt/up per".into())));
        assert_eq!(backing(mounts, 0, 45), None);
        assert_eq!(backing(mounts, 0, 99), None);
    }

    #[test]
    fn what_cards_say_of_their_life_is_read() {
        let life = |time, eol| card_life(time, eol).map(|life| (life.used_percent, life.pre_eol));
        assert_eq!(life(Some("0x0b 0x00\n"), Some("0x03\n")), Some(([Some(110), None], Some(3))));
        assert_eq!(life(Some("0x00 0x00"), Some("0x00")), None);
        assert_eq!(life(Some("junk"), None), None);
        assert_eq!(life(None, None), None);
        assert_eq!(sectors_written(""), None);
        assert!(is_card("sdz", Some("SD\n")) && is_card("mmcblk1", None) && !is_card("sda", Some("0\n")));
        // Whatever this machine is: asking doesn't fail.
        if let Some(device) = Device::below(Path::new("/tmp")) {
            assert!(!device.name().is_empty());
        }
    }
}
