//! Standard output, progress on standard error, and figures as people read them.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use super::error::CliError;
pub use crate::human::{counted, human_bytes, human_count, human_duration};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_never_overflows() {
        let mut progress = Progress::new("reading", Some(10));
        progress.shows = false;
        progress.advance(25);
        assert!(progress.line().contains("100 %"), "{}", progress.line());
        assert!(Progress::new("reading", Some(0)).line().starts_with("reading 0"));
    }
}
