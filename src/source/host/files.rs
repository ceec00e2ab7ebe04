//! The texts of /proc and /sys to figures: proc(5), the kernel's admin-guide/iostats and sysfs-class-thermal.
//!
//! Pure, and never fails: a line that isn't as documented is passed over, a group without its main figure is `None`.

use super::{Figure, HostReading};

/// Longest name of a disk, interface or sensor that is taken, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Unit of the sector counts in `/proc/diskstats`, whatever the disk's own sectors are, bytes.
const SECTOR_BYTES: u64 = 512;

/// Time that one processor, or all together, has spent, in ticks since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    total: u64,
}

/// `/proc/stat`: all processors together, then each. Empty if there is no such line.
pub(super) fn cpu_times(stat: &str) -> Vec<CpuTimes> {
    stat.lines().take_while(|line| line.starts_with("cpu")).filter_map(cpu_line).collect()
}

/// `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`; the guests are in user and nice already.
fn cpu_line(line: &str) -> Option<CpuTimes> {
    let mut words = line.split_ascii_whitespace();
    words.next()?;
    let mut time = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (user, nice, system, idle) = (time()?, time()?, time()?, time()?);
    // Old kernels end earlier.
    let (iowait, irq, softirq, steal) =
        (time().unwrap_or(0), time().unwrap_or(0), time().unwrap_or(0), time().unwrap_or(0));
    let (user, system) = (user.saturating_add(nice), system.saturating_add(irq).saturating_add(softirq));
    let total = [user, system, idle, iowait, steal].into_iter().fold(0, u64::saturating_add);
    Some(CpuTimes { user, system, idle, iowait, total })
}

/// Shares of the time between two readings.
pub(super) fn cpu(before: &[CpuTimes], now: &[CpuTimes]) -> Option<HostReading> {
    let (before_all, now_all) = (before.first()?, now.first()?);
    let share = |part: fn(&CpuTimes) -> u64| share(before_all, now_all, part);
    let busy_of = |(before, now)| Some(100.0 - share_idle(before, now)?);
    let cores = before.iter().zip(now).skip(1).map(|pair| busy_of(pair).unwrap_or(0.0)).collect();
    Some(HostReading::new(
        "cpu",
        vec![
            ("busy_pct", Figure::Measure(busy_of((before_all, now_all))?)),
            ("user_pct", Figure::Measure(share(|times| times.user)?)),
            ("system_pct", Figure::Measure(share(|times| times.system)?)),
            ("iowait_pct", Figure::Measure(share(|times| times.iowait)?)),
            ("cores_busy_pct", Figure::Measures(cores)),
        ],
    ))
}

fn share_idle(before: &CpuTimes, now: &CpuTimes) -> Option<f64> {
    share(before, now, |times| times.idle.saturating_add(times.iowait))
}

/// Percent of the time between; `None` if there was none. Counters of idle time may step back a little.
fn share(before: &CpuTimes, now: &CpuTimes, part: fn(&CpuTimes) -> u64) -> Option<f64> {
    let total = now.total.checked_sub(before.total).filter(|ticks| *ticks > 0)?;
    let spent = part(now).saturating_sub(part(before)).min(total);
    Some(spent as f64 * 100.0 / total as f64)
}

/// `/proc/meminfo`.
pub(super) fn memory(meminfo: &str) -> Option<HostReading> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    };
    let total = bytes("MemTotal").filter(|total| *total > 0)?;
    // Kernels before 3.14 don't say what is available.
    let available = bytes("MemAvailable").or_else(|| bytes("MemFree"))?.min(total);
    let mut figures = vec![
        ("total_bytes", Figure::Count(total)),
        ("available_bytes", Figure::Count(available)),
        ("used_pct", Figure::Measure((total - available) as f64 * 100.0 / total as f64)),
    ];
    if let (Some(total), Some(free)) = (bytes("SwapTotal").filter(|total| *total > 0), bytes("SwapFree")) {
        figures.push(("swap_used_bytes", Figure::Count(total.saturating_sub(free))));
    }
    if let Some(dirty) = bytes("Dirty") {
        figures.push(("dirty_bytes", Figure::Count(dirty)));
    }
    Some(HostReading::new("memory", figures))
}

/// `/proc/loadavg`: `0.50 0.25 0.10 2/218 7011`.
pub(super) fn load(loadavg: &str) -> Option<HostReading> {
    let mut words = loadavg.split_ascii_whitespace();
    let mut average = || words.next().and_then(decimal);
    let mut figures = vec![
        ("load_1min", Figure::Measure(average()?)),
        ("load_5min", Figure::Measure(average()?)),
        ("load_15min", Figure::Measure(average()?)),
    ];
    if let Some((running, all)) = words.next().and_then(|word| word.split_once('/'))
        && let (Ok(running), Ok(all)) = (running.parse(), all.parse())
    {
        figures.push(("threads_running", Figure::Count(running)));
        figures.push(("threads", Figure::Count(all)));
    }
    Some(HostReading::new("load", figures))
}

/// `/proc/uptime`: seconds since the start, seconds idle.
pub(super) fn uptime(uptime: &str) -> Option<HostReading> {
    let seconds = decimal(uptime.split_ascii_whitespace().next()?)?;
    Some(HostReading::new("uptime", vec![("seconds", Figure::Measure(seconds))]))
}

/// A decimal of the kernel's: no sign, no exponent, no infinity.
fn decimal(word: &str) -> Option<f64> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    word.parse().ok().filter(|value: &f64| plain && value.is_finite())
}

/// `/proc/diskstats`: `8 0 sda reads merged sectors ms writes merged sectors ms in-progress io-ms …`, by name. Disks in
/// memory, loops and such that have done nothing are left out.
pub(super) fn disks(diskstats: &str) -> Vec<(String, HostReading)> {
    diskstats.lines().filter_map(disk).collect()
}

fn disk(line: &str) -> Option<(String, HostReading)> {
    let mut words = line.split_ascii_whitespace().skip(2);
    let name = words.next().filter(|name| is_name(name))?;
    if ["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind)) {
        return None;
    }
    let counters: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let &[reads, _, sectors_read, _, writes, _, sectors_written, _, _, io_ms, ..] = counters.as_slice() else {
        return None;
    };
    if reads == 0 && writes == 0 {
        return None;
    }
    let figures = vec![
        ("reads", Figure::Count(reads)),
        ("read_bytes", Figure::Count(sectors_read.saturating_mul(SECTOR_BYTES))),
        ("writes", Figure::Count(writes)),
        ("written_bytes", Figure::Count(sectors_written.saturating_mul(SECTOR_BYTES))),
        ("io_ms", Figure::Count(io_ms)),
    ];
    Some((name.to_owned(), HostReading::new(format!("disk.{name}"), figures)))
}

/// `/proc/net/dev`: two lines of headings, then an interface a line. Interfaces without any traffic are left out.
pub(super) fn network(dev: &str) -> Vec<HostReading> {
    dev.lines().filter_map(interface).collect()
}

fn interface(line: &str) -> Option<HostReading> {
    // The last colon: an alias (`eth0:1`) has one in its name.
    let (name, counters) = line.rsplit_once(':')?;
    let name = Some(name.trim()).filter(|name| is_name(name))?;
    let counters: Vec<u64> = counters.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
    let &[received, packets_in, errors_in, dropped_in, _, _, _, _, sent, packets_out, errors_out, dropped_out, ..] =
        counters.as_slice()
    else {
        return None;
    };
    if received == 0 && sent == 0 {
        return None;
    }
    let figures = vec![
        ("received_bytes", Figure::Count(received)),
        ("received_packets", Figure::Count(packets_in)),
        ("received_errors", Figure::Count(errors_in.saturating_add(dropped_in))),
        ("sent_bytes", Figure::Count(sent)),
        ("sent_packets", Figure::Count(packets_out)),
        ("sent_errors", Figure::Count(errors_out.saturating_add(dropped_out))),
    ];
    Some(HostReading::new(format!("network.{name}"), figures))
}

/// `type` and `temp` (thousandths of a degree) of a thermal zone.
pub(super) fn temperature(kind: &str, temp: &str) -> Option<HostReading> {
    let name = Some(kind.trim()).filter(|name| is_name(name))?;
    let thousandths: i32 = temp.trim().parse().ok()?;
    let celsius = Figure::Measure(f64::from(thousandths) / 1_000.0);
    Some(HostReading::new(format!("temperature.{name}"), vec![("celsius", celsius)]))
}

/// A name that can be part of a record's key: short, and nothing that disturbs a terminal.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(reading: &HostReading, name: &str) -> Figure {
        reading.figures.iter().find(|(known, _)| *known == name).map(|(_, figure)| figure.clone()).unwrap()
    }

    #[test]
    fn processor_shares_are_of_the_time_between() {
        let before =
            cpu_times("cpu  100 10 50 800 40 0 0 0 0 0\ncpu0 50 5 25 400 20 0 0 0\ncpu1 50 5 25 400 20\nintr 1\n");
        assert_eq!(before.len(), 3);
        let now = cpu_times("cpu  130 10 60 840 60 0 0 0 0 0\ncpu0 80 5 35 400 20 0 0 0\ncpu1 50 5 25 440 40\n");
        let reading = cpu(&before, &now).unwrap();
        assert_eq!(figure(&reading, "busy_pct"), Figure::Measure(40.0));
        assert_eq!(figure(&reading, "user_pct"), Figure::Measure(30.0));
        assert_eq!(figure(&reading, "iowait_pct"), Figure::Measure(20.0));
        assert_eq!(figure(&reading, "cores_busy_pct"), Figure::Measures(vec![100.0, 0.0]));
        assert_eq!(cpu(&now, &now), None, "no time has passed");
        assert_eq!(cpu(&now, &before), None, "time went backwards");
        assert_eq!(cpu(&[], &now), None);
    }

    #[test]
    fn hostile_processor_times_do_no_harm() {
        let huge = format!("cpu {0} {0} {0} {0} {0} {0} {0} {0}\n", u64::MAX);
        let times = cpu_times(&huge);
        assert_eq!(times[0].total, u64::MAX);
        let reading = cpu(&cpu_times("cpu 0 0 0 0\n"), &times).unwrap();
        assert_eq!(figure(&reading, "busy_pct"), Figure::Measure(0.0));
        for text in ["", "cpu", "cpu 1 2 3", "cpu a b c d", "cpu -1 2 3 4", "cpu 99999999999999999999 1 1 1"] {
            assert_eq!(cpu_times(text), [], "{text}");
        }
    }

    #[test]
    fn memory_is_in_bytes() {
        let reading =
            memory("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 750 kB\nSwapTotal: 8 kB\nSwapFree: 6 kB\n");
        let reading = reading.unwrap();
        assert_eq!(figure(&reading, "available_bytes"), Figure::Count(768_000));
        assert_eq!(figure(&reading, "used_pct"), Figure::Measure(25.0));
        assert_eq!(figure(&reading, "swap_used_bytes"), Figure::Count(2_048));
        let more_than_all = memory("MemTotal: 10 kB\nMemAvailable: 20 kB\n").unwrap();
        assert_eq!(figure(&more_than_all, "used_pct"), Figure::Measure(0.0));
        for text in ["", "MemTotal: 0 kB\nMemAvailable: 0 kB", "MemTotal: 10 kB", "MemTotal: x kB\nMemFree: 1 kB"] {
            assert_eq!(memory(text), None, "{text}");
        }
    }

    #[test]
    fn load_and_uptime() {
        let reading = load("4.79 2.96 2.73 4/218 7011\n").unwrap();
        assert_eq!(figure(&reading, "load_1min"), Figure::Measure(4.79));
        assert_eq!(figure(&reading, "threads"), Figure::Count(218));
        assert_eq!(load("0.1 0.2 0.3\n").unwrap().figures.len(), 3);
        assert_eq!(figure(&uptime("3025.25 3017.60\n").unwrap(), "seconds"), Figure::Measure(3025.25));
        for text in ["", "1 2", "nan nan nan", "inf 1 1", "1e3 1 1", "-1 1 1"] {
            assert_eq!(load(text), None, "{text}");
        }
        assert_eq!(uptime("inf"), None);
    }

    #[test]
    fn disks_that_work() {
        let text = "   7       0 loop0 5 0 9 0 0 0 0 0 0 0 0\n\
                    254       0 vda 365676 31643 15711354 205380 178834 111908 47585776 124407 0 34888 345850 30648\n\
                    8 0 sdb 0 0 0 0 0 0 0 0 0 0 0\n8 0 sdc 1 2\n8 0\n";
        let disks = disks(text);
        assert_eq!(disks.len(), 1);
        assert_eq!(disks[0].0, "vda");
        assert_eq!(disks[0].1.metric, "disk.vda");
        assert_eq!(figure(&disks[0].1, "written_bytes"), Figure::Count(47_585_776 * 512));
        assert_eq!(figure(&disks[0].1, "io_ms"), Figure::Count(34_888));
    }

    #[test]
    fn interfaces_with_traffic() {
        let text = "Inter-|   Receive        |  Transmit\n face |bytes packets errs|bytes\n\
                    lo: 451829511  206973    0    0    0     0          0         0 451829511  206973    0    0    0     0 0 0\n\
                    ifb0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0 0 0\n\
                    eth0:373311118   16240    1    2    0     0          0         0  1655029   11850    0    3    0     0 0 0\n\
                    bad: 1 2 3\n: 1 1 1 1 1 1 1 1 1 1 1 1\n";
        let readings = network(text);
        assert_eq!(readings.iter().map(|r| r.metric.as_str()).collect::<Vec<_>>(), ["network.lo", "network.eth0"]);
        assert_eq!(figure(&readings[1], "received_errors"), Figure::Count(3));
        assert_eq!(figure(&readings[1], "sent_bytes"), Figure::Count(1_655_029));
    }

    #[test]
    fn temperatures_with_a_name() {
        assert_eq!(figure(&temperature("cpu-thermal\n", "-5250\n").unwrap(), "celsius"), Figure::Measure(-5.25));
        for (kind, temp) in [("", "1"), ("x", ""), ("x", "hot"), ("a b", "1"), ("\u{1b}[2J", "1")] {
            assert_eq!(temperature(kind, temp), None, "{kind:?} {temp:?}");
        }
        assert_eq!(temperature(&"x".repeat(65), "1"), None);
    }
}
