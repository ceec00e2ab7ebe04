//! What `scripts/torture.sh` was told, by environment variables.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

pub struct Options {
    /// How long devices publish.
    pub time: Duration,
    /// The order of what goes wrong, and the readings.
    pub seed: u64,
    /// Where readings are from; made without.
    pub data: Option<PathBuf>,
    /// `delivery` of the uplink.
    pub delivery: String,
    pub devices: usize,
    /// How often each cell is to occur; 0: as often as it may.
    pub least: u32,
    /// Where logs are left.
    pub work: PathBuf,
}

impl Options {
    pub fn from_env() -> Options {
        let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
        Options {
            time: Duration::from_secs(number("SECONDS").unwrap_or(60)),
            seed,
            data: given("DATA").map(PathBuf::from),
            delivery: given("DELIVERY").unwrap_or_else(|| "exactly-once".to_owned()),
            devices: number("DEVICES").unwrap_or(24) as usize,
            least: number("LEAST").unwrap_or(0) as u32,
            work: given("WORK").map_or_else(env::temp_dir, PathBuf::from),
        }
    }
}

fn given(name: &str) -> Option<String> {
    env::var(format!("BROOKLET_TORTURE_{name}")).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    given(name).map(|value| value.parse().unwrap_or_else(|_| panic!("BROOKLET_TORTURE_{name}: {value}")))
}
