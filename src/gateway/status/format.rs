//! What a gateway tells of the format of its store.

use serde::{Deserialize, Serialize};

use crate::calendar::MS_PER_DAY;
use crate::store::FormatStatus;

/// What a store's files are written in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FormatFigures {
    /// The format of the newest segment: versions that read it open the store. 0 before the first commit.
    pub written: u32,
    /// The format of segments from the next one on.
    pub next: u32,
    /// The newest that this version could write.
    pub newest: u32,
    /// For how long this version has run in health, ms; counts until it writes the newest by itself.
    pub healthy_ms: u64,
    pub finalize_after_ms: u64,
}

impl From<FormatStatus> for FormatFigures {
    fn from(status: FormatStatus) -> Self {
        let FormatStatus { written, next, newest, healthy_ms, finalize_after_ms } = status;
        Self { written, next, newest, healthy_ms, finalize_after_ms }
    }
}

impl FormatFigures {
    /// In words.
    pub fn text(&self) -> String {
        let Self { written, next, newest, .. } = self;
        let mut text = format!("format {written}");
        if next != written {
            text.push_str(&format!(", {next} from the next segment on"));
        }
        if next < newest {
            let left = self.finalize_after_ms.saturating_sub(self.healthy_ms).div_ceil(MS_PER_DAY.unsigned_abs());
            text.push_str(&format!(
                "; versions that read it open the store. Format {newest} after {left} more days in health, or by `brooklet store \
                 finalize`"
            ));
        } else {
            text.push_str("; versions that do not read it will not open the store");
        }
        text
    }
}
