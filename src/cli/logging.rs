//! The log: lines on standard error, `TIME LEVEL ROOM: text`. Under systemd the journal adds the time itself.

use std::io::Write;

use log::LevelFilter;

use super::when;
use crate::recent_log;

/// Sets the log up for this process. A second call changes nothing but the level, which the `log` crate itself holds, so that a reload can change it.
pub fn set_up(level: LevelFilter) {
    // Set by systemd where standard error goes to the journal, which stamps every line.
    let stamped = std::env::var_os("JOURNAL_STREAM").is_some();
    let outcome = env_logger::Builder::new()
        // What is above the level does not come here.
        .filter_level(LevelFilter::Trace)
        .format(move |out, record| {
            let room = record.target().strip_prefix("brooklet::").unwrap_or(record.target());
            let time = if stamped { String::new() } else { format!("{} ", when::format_time(when::now_ms())) };
            recent_log::keep(&format!(
                "{} {:<5} {room}: {}",
                when::format_time(when::now_ms()),
                record.level(),
                record.args()
            ));
            writeln!(out, "{time}{:<5} {room}: {}", record.level(), record.args())
        })
        .try_init();
    log::set_max_level(level);
    if outcome.is_err() {
        log::debug!("the log is set up already");
    }
}
