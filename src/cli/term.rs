//! Standard output, progress on standard error, and figures as people read them.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use super::error::CliError;

/// Writes to standard output and flushes.
///
/// # Errors
/// [`CliError::OutputClosed`] where the reader has gone (`brooklet … | head`), else a failure.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output_error)
}

/// What a failed write to standard output means.
#[must_use]
pub fn output_error(error: io::Error) -> CliError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        CliError::OutputClosed
    } else {
        CliError::failed("standard output", error)
    }
}

/// A line for people on standard error, where it disturbs no script.
pub fn note(text: &str) {
    // If standard error is gone, there is nobody to note it.
    let _ = writeln!(io::stderr(), "{text}");
}

/// A progress bar on standard error; silent where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: Option<u64>,
    done: u64,
    begun: Instant,
    drawn: Option<Instant>,
    shows: bool,
}

impl Progress {
    /// Least time between two drawings: often enough to look alive, seldom enough to cost nothing.
    const REDRAW: Duration = Duration::from_millis(100);

    /// `total` in the unit of [`Progress::advance`]; `None` where it is not known.
    #[must_use]
    pub fn new(what: &str, total: Option<u64>) -> Progress {
        let shows = io::stderr().is_terminal();
        Progress { what: what.to_owned(), total, done: 0, begun: Instant::now(), drawn: None, shows }
    }

    /// More is done.
    pub fn advance(&mut self, by: u64) {
        self.done = self.done.saturating_add(by);
        if self.shows && self.drawn.is_none_or(|drawn| drawn.elapsed() >= Progress::REDRAW) {
            self.drawn = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self) -> String {
        const BAR_CELLS: u64 = 30;
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = human_count((self.done as f64 / seconds) as u64);
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let share = u128::from(self.done.min(total)) * 100 / u128::from(total);
                let full = (share as u64 * BAR_CELLS / 100) as usize;
                let empty = BAR_CELLS as usize - full;
                format!("{} [{}{}] {share:>3} % {rate}/s", self.what, "#".repeat(full), "·".repeat(empty))
            }
            None => format!("{} {} {rate}/s", self.what, human_count(self.done)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A size for people, rounded: `1.4 MiB`. For an exact one see [`crate::config::format_size`].
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, factor)| bytes >= *factor) {
        Some((unit, factor)) => format!("{:.1} {unit}", bytes as f64 / *factor as f64),
        None => format!("{bytes} B"),
    }
}

/// A count with its thousands apart: `45,620`.
#[must_use]
pub fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration for people, its two largest units: `3 d 4 h`, `2 min 5 s`, `1.25 s`, `40 ms`.
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() == 0 => format!("{} µs", duration.as_micros()),
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.2} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_read_them() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1_536), "1.5 KiB");
        assert_eq!(human_bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(human_count(0), "0");
        assert_eq!(human_count(999), "999");
        assert_eq!(human_count(45_620), "45,620");
        assert_eq!(human_count(u64::MAX), "18,446,744,073,709,551,615");
        for (ms, text) in [
            (0, "0 µs"),
            (40, "40 ms"),
            (1_250, "1.25 s"),
            (125_000, "2 min 5 s"),
            (7_260_000, "2 h 1 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(human_duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn a_bar_never_overflows() {
        let mut progress = Progress::new("reading", Some(10));
        progress.shows = false;
        progress.advance(25);
        assert!(progress.line().contains("100 %"), "{}", progress.line());
        assert!(Progress::new("reading", Some(0)).line().starts_with("reading 0"));
    }
}
