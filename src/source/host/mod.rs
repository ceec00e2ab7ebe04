//! Readings of this machine from /proc and /sys: processor, memory, load, disks, network, temperatures, uptime.
//!
//! One reading is one group of figures under a name (`cpu`, `disk.vda`, `network.eth0`), small enough for a record.
//! What a kernel or a board lacks is left out: no reading is made up.
//!
//! Invariants: a file is read up to [`FILE_BYTES_MAX`]; at most [`DEVICES_MAX`] disks, interfaces and sensors each.

mod files;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::json::{self, JsonObject};
use files::CpuTimes;

/// Most bytes read of one file: `/proc/stat` has a line a processor and one long line of interrupts.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most disks, interfaces and sensors, each.
const DEVICES_MAX: usize = 32;

/// One group of figures, read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReading {
    /// What was read: `cpu`, `memory`, `load`, `uptime`, `disk.NAME`, `network.NAME`, `temperature.NAME`.
    pub metric: String,
    /// Its figures by name; the unit is in the name.
    pub figures: Vec<(&'static str, Figure)>,
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A count, or a counter since the machine started.
    Count(u64),
    /// A measured value, rounded to hundredths.
    Measure(f64),
    /// One measured value a processor, rounded to tenths.
    Measures(Vec<f64>),
}

impl HostReading {
    fn new(metric: impl Into<String>, figures: Vec<(&'static str, Figure)>) -> HostReading {
        HostReading { metric: metric.into(), figures }
    }

    /// Adds the metric's name and the figures to a JSON object.
    pub fn write_to(&self, object: &mut JsonObject) {
        object.text("metric", &self.metric);
        for (name, figure) in &self.figures {
            match figure {
                Figure::Count(count) => object.number(name, *count),
                Figure::Measure(value) => object.fraction(name, rounded(*value, 100.0)),
                Figure::Measures(values) => {
                    let values = values.iter().map(|value| rounded(*value, 10.0).to_string());
                    object.raw(name, &json::array(values))
                }
            };
        }
    }

    /// The reading as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = JsonObject::new();
        self.write_to(&mut object);
        object.finish()
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Reads this machine. Keeps the last processor times, since a share of busy time is of the time between two readings.
#[derive(Debug)]
pub struct HostReader {
    root: PathBuf,
    last_cpu: Vec<CpuTimes>,
}

impl Default for HostReader {
    fn default() -> HostReader {
        HostReader::new()
    }
}

impl HostReader {
    /// Reads /proc and /sys from now on.
    #[must_use]
    pub fn new() -> HostReader {
        HostReader::under("/")
    }

    /// Reads `proc` and `sys` under another directory.
    #[must_use]
    pub fn under(root: impl Into<PathBuf>) -> HostReader {
        let mut reader = HostReader { root: root.into(), last_cpu: Vec::new() };
        reader.last_cpu = files::cpu_times(&reader.text("proc/stat"));
        reader
    }

    /// All readings of this moment, in a fixed order. Blocks for as long as the kernel needs, which is little.
    pub fn read(&mut self) -> Vec<HostReading> {
        let mut readings: Vec<HostReading> = self.read_cpu().into_iter().collect();
        readings.extend(files::memory(&self.text("proc/meminfo")));
        readings.extend(files::load(&self.text("proc/loadavg")));
        readings.extend(files::uptime(&self.text("proc/uptime")));
        readings.extend(self.read_disks());
        readings.extend(files::network(&self.text("proc/net/dev")).into_iter().take(DEVICES_MAX));
        readings.extend(self.read_temperatures());
        readings
    }

    /// `None` when no time has passed since the last reading.
    fn read_cpu(&mut self) -> Option<HostReading> {
        let now = files::cpu_times(&self.text("proc/stat"));
        let reading = files::cpu(&self.last_cpu, &now)?;
        self.last_cpu = now;
        Some(reading)
    }

    /// Whole disks only: partitions would count everything twice.
    fn read_disks(&self) -> Vec<HostReading> {
        let disks = files::disks(&self.text("proc/diskstats"));
        let whole = self.root.join("sys/block");
        // A name comes from the kernel; that it stays within the directory is asked for all the same.
        let is_whole = |name: &str| !name.contains('/') && (!whole.exists() || whole.join(name).exists());
        disks.into_iter().filter(|(name, _)| is_whole(name)).map(|(_, reading)| reading).take(DEVICES_MAX).collect()
    }

    fn read_temperatures(&self) -> Vec<HostReading> {
        let class = self.root.join("sys/class/thermal");
        let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
        let named = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("thermal_zone");
        let mut zones: Vec<PathBuf> =
            entries.flatten().filter(named).map(|entry| entry.path()).take(DEVICES_MAX).collect();
        zones.sort();
        let read = |zone: &PathBuf| files::temperature(&text_of(&zone.join("type")), &text_of(&zone.join("temp")));
        zones.iter().filter_map(read).collect()
    }

    fn text(&self, path: &str) -> String {
        text_of(&self.root.join(path))
    }
}

/// The beginning of a file; what can't be read is as good as empty.
fn text_of(path: &Path) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is still whole lines and one cut line, which doesn't parse.
    let _ = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn metrics(readings: &[HostReading]) -> Vec<&str> {
        readings.iter().map(|reading| reading.metric.as_str()).collect()
    }

    #[test]
    fn a_whole_machine_is_read_group_by_group() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "proc/stat", b"cpu  10 0 10 100 0 0 0 0 0 0\ncpu0 10 0 10 100 0 0 0 0 0 0\n");
        let mut reader = HostReader::under(root);
        write(root, "proc/stat", b"cpu  40 0 10 170 0 0 0 0 0 0\ncpu0 40 0 10 170 0 0 0 0 0 0\n");
        write(root, "proc/meminfo", b"MemTotal: 1000 kB\nMemAvailable: 250 kB\n");
        write(root, "proc/loadavg", b"0.50 0.25 0.10 2/218 7011\n");
        write(root, "proc/uptime", b"3025.25 3017.60\n");
        write(root, "proc/diskstats", b" 8 0 sda 1 0 2 0 3 0 4 0 0 5 0\n 8 1 sda1 1 0 2 0 3 0 4 0 0 5 0\n");
        write(root, "sys/block/sda/size", b"1\n");
        write(root, "proc/net/dev", b"h\nh\n eth0: 100 2 0 0 0 0 0 0 50 1 0 0 0 0 0 0\n");
        write(root, "sys/class/thermal/thermal_zone0/type", b"cpu-thermal\n");
        write(root, "sys/class/thermal/thermal_zone0/temp", b"48250\n");

        let readings = reader.read();
        let expected =
            ["cpu", "memory", "load", "uptime", "disk.sda", "network.eth0", "temperature.cpu-thermal"].to_vec();
        assert_eq!(metrics(&readings), expected);
        assert_eq!(
            readings[0].to_json(),
            r#"{"metric":"cpu","busy_pct":30,"user_pct":30,"system_pct":0,"iowait_pct":0,"cores_busy_pct":[30]}"#
        );
        assert_eq!(readings[6].to_json(), r#"{"metric":"temperature.cpu-thermal","celsius":48.25}"#);
        assert_eq!(metrics(&reader.read()), expected[1..].to_vec(), "no time has passed for the processor");
    }

    #[test]
    fn what_is_missing_or_garbage_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        assert!(HostReader::under(root.path()).read().is_empty());
        for file in ["proc/stat", "proc/meminfo", "proc/loadavg", "proc/uptime", "proc/diskstats", "proc/net/dev"] {
            write(root.path(), file, &[0xff; 5_000]);
        }
        write(root.path(), "sys/class/thermal/thermal_zone0/temp", b"hot\n");
        assert!(HostReader::under(root.path()).read().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory_and_load() {
        let readings = HostReader::new().read();
        let metrics = metrics(&readings);
        assert!(metrics.contains(&"memory") && metrics.contains(&"load") && metrics.contains(&"uptime"), "{metrics:?}");
        assert!(readings.iter().all(|reading| reading.to_json().len() < 4_096));
    }
}
