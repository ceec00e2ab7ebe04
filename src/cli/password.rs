//! Passwords that commands need: from a file, from standard input, or from whoever sits at the terminal; never from the command line,
//! which everybody on the machine can read.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::error::CliError;
use crate::secret::{Secret, first_line, read_file};

/// A password for `who`: the first line of `file`, or what is typed at the terminal, without being shown. A new one (`is_new`) must be typed
/// twice, and may come by standard input if that is no terminal: other commands read something else there.
///
/// # Errors
/// There is none, or the file is open to others.
pub(super) fn read(who: &str, file: Option<&Path>, is_new: bool) -> Result<Secret, CliError> {
    if let Some(path) = file {
        return read_file(path).map_err(CliError::Failed);
    }
    if !io::stdin().is_terminal() {
        let none = || CliError::Failed(format!("no terminal to ask for the password of {who}: give --password-file"));
        return if is_new { line() } else { Err(none()) };
    }
    let password = ask(&format!("Password of {who}: "))?;
    if is_new && ask("The same again: ")? != password {
        return Err(CliError::Failed("the two passwords differ".to_owned()));
    }
    Ok(password)
}

fn line() -> Result<Secret, CliError> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    io::stdin().lock().read_until(b'\n', &mut bytes).map_err(|error| CliError::failed("standard input", error))?;
    first_line(&bytes).ok_or_else(|| CliError::Failed("standard input holds no password in its first line".to_owned()))
}

fn ask(prompt: &str) -> Result<Secret, CliError> {
    let _hidden = Hidden::begin()?;
    let mut out = io::stderr();
    // If standard error is gone, the terminal is there all the same.
    let _ = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
    let typed = line();
    let _ = out.write_all(b"\n");
    typed
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> Result<Self, CliError> {
        let failed = |error: rustix::io::Errno| CliError::failed("the terminal", error);
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
