//! What the person sees: phases in words, and the figures of this moment.
//!
//! On a terminal the figures are one line that is drawn anew; elsewhere a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::devices::Totals;
use crate::cli::error::CliError;
use crate::cli::term::{human_count, output_error, print};

/// How often the figures are drawn where that is a line of its own each time.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// The figures of this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) totals: Totals,
    /// Records that wait on the gateway; `None` while it can't be asked.
    pub(super) waiting: Option<u64>,
    /// Records at the centre.
    pub(super) centre: u64,
    pub(super) link_cut: bool,
    pub(super) gateway_up: bool,
}

#[derive(Debug)]
pub(super) struct View {
    begun: Instant,
    terminal: bool,
    drawn: bool,
    last_plain: Option<Instant>,
}

impl View {
    pub(super) fn new() -> View {
        View { begun: Instant::now(), terminal: std::io::stdout().is_terminal(), drawn: false, last_plain: None }
    }

    /// A line that stays, with the time.
    ///
    /// # Errors
    /// As [`print`].
    pub(super) fn say(&mut self, text: &str) -> Result<(), CliError> {
        self.lines(&format!("{:5.1} s  {text}\n", self.begun.elapsed().as_secs_f64()))
    }

    /// Lines that stay, as they are.
    ///
    /// # Errors
    /// As [`print`].
    pub(super) fn lines(&mut self, text: &str) -> Result<(), CliError> {
        let clear = if std::mem::take(&mut self.drawn) { "\r\x1b[K" } else { "" };
        print(&format!("{clear}{text}"))
    }

    /// The figures.
    ///
    /// # Errors
    /// As [`print`].
    pub(super) fn figures(&mut self, figures: &Figures) -> Result<(), CliError> {
        let line = line(figures);
        if self.terminal {
            self.drawn = true;
            let mut out = std::io::stdout().lock();
            // Without wrapping (DECAWM): a line that is cut off can be drawn over, a wrapped one can't.
            let seconds = self.begun.elapsed().as_secs_f64();
            let drawn = write!(out, "\r\x1b[K\x1b[?7l{seconds:5.1} s  {line}\x1b[?7h");
            return drawn.and_then(|()| out.flush()).map_err(output_error);
        }
        if self.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last_plain = Some(Instant::now());
            self.say(&format!("  {line}"))?;
        }
        Ok(())
    }
}

fn line(figures: &Figures) -> String {
    let link = if figures.link_cut { "link CUT" } else { "link up" };
    let gateway = if figures.gateway_up { "gateway up" } else { "gateway KILLED" };
    let waiting = figures.waiting.map_or_else(|| "?".to_owned(), human_count);
    let at_devices = figures.totals.made.saturating_sub(figures.totals.acknowledged);
    format!(
        "{gateway}, {link} | {} acknowledged | waiting: {} at devices, {waiting} on the gateway | {} at the centre",
        human_count(figures.totals.acknowledged),
        human_count(at_devices),
        human_count(figures.centre),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_where_records_are() {
        let totals = Totals { made: 1_240, acknowledged: 1_234, refused: 0 };
        let figures = Figures { totals, waiting: None, centre: 900, link_cut: true, gateway_up: false };
        assert_eq!(
            line(&figures),
            "gateway KILLED, link CUT | 1,234 acknowledged | waiting: 6 at devices, ? on the gateway | 900 at the centre"
        );
    }
}
