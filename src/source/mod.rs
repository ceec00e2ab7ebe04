//! Records that the gateway makes itself: telemetry of the machine it runs on.
//!
//! | file | job |
//! |---|---|
//! | [`host`] | readings of this machine: what is read, and how it becomes records |
//! | `host/files` | the texts of /proc and /sys to figures; pure |
//! | `publish` | publishes readings through the broker, as a native device would |

pub mod host;

mod publish;

pub use publish::publish_host;
