//! The last lines of the log, in memory: what a support bundle shows of a gateway whose journal is elsewhere, or nowhere.
//!
//! Invariants: at most [`BYTES_MAX`] and one line; what is kept is what was logged, secrets masked as there.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Bytes of lines that are kept.
pub const BYTES_MAX: usize = 64 * 1024;
/// Longer lines are kept cut off.
const LINE_BYTES_MAX: usize = 2 * 1024;

/// Lines, oldest first.
#[derive(Debug)]
struct Lines {
    lines: VecDeque<Box<str>>,
    bytes: usize,
}

static LINES: Mutex<Lines> = Mutex::new(Lines { lines: VecDeque::new(), bytes: 0 });

impl Lines {
    fn push(&mut self, line: &str) {
        let line: Box<str> = cut(line, LINE_BYTES_MAX).into();
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > BYTES_MAX {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.len() + 1;
        }
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes);
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// At most `bytes` from the start of a text, in whole characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    // A character has at most four bytes.
    (0..=bytes).rev().take(4).find_map(|end| text.get(..end)).unwrap_or(text)
}

/// Keeps a line of the log, given without its end.
pub fn keep(line: &str) {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// The lines that are kept, oldest first, each with its end.
#[must_use]
pub fn text() -> String {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_stay_within_their_bound() {
        let mut lines = Lines { lines: VecDeque::new(), bytes: 0 };
        lines.push(&"ä".repeat(LINE_BYTES_MAX));
        assert_eq!(lines.text().len(), LINE_BYTES_MAX + 1);
        (0..20_000).for_each(|number| lines.push(&format!("line {number}")));
        let text = lines.text();
        assert!(text.len() <= BYTES_MAX && text.len() > BYTES_MAX - 100, "{}", text.len());
        assert!(text.ends_with("line 19998\nline 19999\n") && text.starts_with("line 1"), "{}", &text[..20]);
        assert_eq!(text.len(), lines.bytes);
    }
}
