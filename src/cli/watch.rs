//! A text that is drawn again and again: over the whole terminal, or a line at a time where there is none.
//!
//! Invariants: the terminal is as before at the end, however that comes; no line is longer than the terminal is wide, and no more are
//! drawn than it has.

use std::io::{self, IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::{error::CliError, term};
use crate::executor::start_thread;
use crate::shutdown::Shutdown;

/// The other screen, without a cursor; and back.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";
/// From the top left: the old text is overwritten, so that nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// A terminal that does not say how large it is.
const USUAL: (usize, usize) = (80, 24);

/// The terminal, while it shows nothing else.
pub(super) struct Screen {
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal; `None` where standard output is none. `q` begins `stop`.
    ///
    /// # Errors
    /// The terminal's.
    pub(super) fn begin(stop: &Shutdown) -> Result<Option<Self>, CliError> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        // Without keys there is still Ctrl-C.
        let before = if io::stdin().is_terminal() { tcgetattr(io::stdin()).ok() } else { None };
        let screen = Self { before };
        if let Some(before) = &screen.before {
            let mut keys = before.clone();
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &keys);
            let stop = stop.clone();
            let read = move || {
                let mut typed = io::stdin().lock().bytes().map_while(Result::ok);
                if typed.any(|key| matches!(key, b'q' | b'Q' | 4)) {
                    stop.begin();
                }
            };
            start_thread("brooklet-keys", read).map_err(|error| CliError::failed("cannot read keys", error))?;
        }
        term::print(BEGIN)?;
        Ok(Some(screen))
    }

    /// Draws a text in place of the one before.
    ///
    /// # Errors
    /// Standard output's.
    pub(super) fn draw(&self, text: &str) -> Result<(), CliError> {
        let size = tcgetwinsize(io::stdout()).map_or(USUAL, |size| (size.ws_col.into(), size.ws_row.into()));
        let (columns, rows) = if size.0 == 0 || size.1 == 0 { USUAL } else { size };
        let lines = fit(text, columns, rows).join(&format!("{CLEAR_LINE}\r\n"));
        term::print(&format!("{HOME}{lines}{CLEAR_LINE}{CLEAR_BELOW}"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = term::print(END);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The lines of a text that a terminal has room for; the last says what was left off.
fn fit(text: &str, columns: usize, rows: usize) -> Vec<String> {
    let cut = |line: &str| {
        let mut chars = line.chars();
        let mut out: String = chars.by_ref().take(columns).collect();
        if chars.next().is_some() {
            out.pop();
            out.push('…');
        }
        out
    };
    let mut lines: Vec<String> = text.lines().map(cut).collect();
    if lines.len() > rows {
        let left = lines.len() - rows + 1;
        lines.truncate(rows.saturating_sub(1));
        lines.push(cut(&format!("… {left} more lines")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_any_terminal() {
        assert_eq!(fit("abc\nlonger line\n", 6, 9), ["abc", "longe…"]);
        assert_eq!(fit("a\nb\nc\nd\n", 40, 3), ["a", "b", "… 2 more lines"]);
        assert_eq!(fit("äöü", 3, 1), ["äöü"]);
        for (columns, rows) in [(1, 1), (2, 1), (1, 3)] {
            let lines = fit("abc\ndef\nghi\njkl", columns, rows);
            assert!(lines.len() <= rows && lines.iter().all(|line| line.chars().count() <= columns), "{lines:?}");
        }
    }
}
