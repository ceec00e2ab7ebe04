//! What a gateway says of itself when it has started: what a person needs to know who has just done so.

use super::term::human_bytes;
use crate::{
    config::{Config, Loaded},
    gateway::{Addresses, End, Gateway},
    store::disk::{Disk, RealDisk},
};

/// Says it in the log.
pub(super) fn say(gateway: &Gateway, loaded: &Loaded) {
    log::info!("Brooklet {}, gateway {}", env!("CARGO_PKG_VERSION"), gateway.id());
    let start = gateway.this_start();
    match start.before {
        End::None | End::Clean => {}
        End::Power => log::warn!("the last run was ended by the power, or with the kernel"),
        end if start.words.is_empty() => log::warn!("the last run did not end in order: {}", end.name()),
        end => log::warn!("the last run did not end in order: {}; {}", end.name(), start.words),
    }
    match loaded.files.as_slice() {
        [] => log::info!("configuration: defaults, as no file was found"),
        files => files.iter().for_each(|file| log::info!("configuration: {}", file.display())),
    }
    say_data(gateway, &loaded.config);
    let mut listeners = gateway.addresses().to_vec();
    // If its port is taken, that is no reason not to start: a warning has said so.
    listeners.retain(|(name, at)| *name != "HTTP" || at.any().is_some() || !loaded.config.listen.http.enabled);
    for line in listeners.into_iter().flat_map(|(name, at)| reached(name, at)) {
        log::info!("{line}");
    }
    say_links(&loaded.config);
}

fn say_data(gateway: &Gateway, config: &Config) {
    let epochs = gateway.broker().store().epochs();
    let is_new = epochs.first().is_none_or(|first| first.epoch == gateway.broker().store().epoch());
    let store = gateway.broker().store().status();
    let dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    if is_new {
        log::info!("data: {}, a new store", dir.display());
        // Without the filesystem's size the bound stands alone.
        let space = RealDisk::new().space(&config.data_dir).ok().filter(|space| space.total > 0);
        let share = space.map_or_else(String::new, |space| {
            format!(", {:.1} % of the filesystem", store.max_bytes as f64 * 100.0 / space.total as f64)
        });
        log::info!("the store takes at most {}{share} (store.max_bytes)", human_bytes(store.max_bytes));
        if space.is_some_and(|space| space.total < store.max_bytes) {
            log::warn!("store.max_bytes is more than the filesystem has: records are refused when that is full");
        }
    } else {
        let (used, most) = (human_bytes(store.disk_bytes), human_bytes(store.max_bytes));
        log::info!("data: {}, {used} of at most {most}", dir.display());
        let read = human_bytes(store.opening.bytes_read);
        log::info!("the store was open after {} ms, {read} read", store.opening.ms);
    }
    if store.damaged_segments > 0 {
        log::error!("{} segments of the store are damaged; `brooklet fsck` says more", store.damaged_segments);
    }
}

/// Who connects where, by a listener's name; or how it is turned on.
fn reached(name: &str, addresses: Addresses) -> Vec<String> {
    let line = |address, by_tls: bool| {
        let tls = if by_tls { " by TLS" } else { "" };
        match name {
            "native" => format!("devices connect to {address}{tls} (native protocol)"),
            "HTTP" => format!("how it is: http{}://{address}/ (page, metrics)", if by_tls { "s" } else { "" }),
            "WebSocket" => format!("MQTT clients connect to {address}{tls} by WebSocket"),
            _ => format!("{name} clients connect to {address}{tls}"),
        }
    };
    let Addresses { plain, tls } = addresses;
    let lines: Vec<String> =
        [plain.map(|at| line(at, false)), tls.map(|at| line(at, true))].into_iter().flatten().collect();
    match name {
        _ if !lines.is_empty() => lines,
        "WebSocket" => Vec::new(),
        "HTTP" => vec!["no page and no metrics (listen.http.enabled)".to_owned()],
        _ => vec![format!("no {name} listener (listen.{}.enabled)", name.to_ascii_lowercase())],
    }
}

fn say_links(config: &Config) {
    for (name, uplink) in config.uplinks.iter().filter(|(_, uplink)| uplink.enabled) {
        let to: Vec<String> = uplink.bootstrap.iter().map(ToString::to_string).collect();
        log::info!("uplink {name} forwards to {}", to.join(", "));
    }
    for (name, downlink) in config.downlinks.iter().filter(|(_, downlink)| downlink.enabled) {
        let from: Vec<String> = downlink.bootstrap.iter().map(ToString::to_string).collect();
        log::info!("downlink {name} brings records from {}", from.join(", "));
    }
    if !config.uplinks.values().any(|uplink| uplink.enabled) {
        log::info!("no uplink: records stay here ([uplink.NAME] forwards them to a Kafka cluster)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_told_by_how_it_is_reached() {
        let at = |port| Some(([127, 0, 0, 1], port).into());
        let of = |name, plain, tls| reached(name, Addresses { plain, tls }).join("; ");
        assert_eq!(of("native", at(1), None), "devices connect to 127.0.0.1:1 (native protocol)");
        assert_eq!(of("MQTT", None, at(2)), "MQTT clients connect to 127.0.0.1:2 by TLS");
        assert_eq!(
            of("Kafka", at(1), at(2)),
            "Kafka clients connect to 127.0.0.1:1; Kafka clients connect to 127.0.0.1:2 by TLS"
        );
        assert_eq!(of("HTTP", None, at(2)), "how it is: https://127.0.0.1:2/ (page, metrics)");
        assert_eq!(of("HTTP", None, None), "no page and no metrics (listen.http.enabled)");
        assert_eq!(of("Kafka", None, None), "no Kafka listener (listen.kafka.enabled)");
        assert_eq!(of("WebSocket", None, None), "");
    }
}
