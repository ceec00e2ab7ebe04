//! Which version of each API is spoken with one broker: the highest that both sides know.

use std::fmt;
use std::ops::RangeInclusive;

use crate::kafka::api::ApiKey;
use crate::kafka::api_versions::ApiVersion;

/// The versions this uplink uses. Each lower end has a reason: Produce 7 is the first that carries zstd (Kafka 2.1); Metadata 4
/// is the first that doesn't create topics by asking; Fetch 4 and ListOffsets 2 are the first that know transactions; CreateTopics 4 knows "the cluster's default".
///
/// Produce stays below 12: from there on it takes part in transactions of the second protocol (KIP-890).
const SPOKEN: [(ApiKey, RangeInclusive<i16>); 8] = [
    (ApiKey::Produce, 7..=11),
    (ApiKey::Metadata, 4..=12),
    (ApiKey::ApiVersions, 0..=3),
    (ApiKey::CreateTopics, 4..=7),
    (ApiKey::InitProducerId, 0..=4),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::ListOffsets, 2..=7),
    (ApiKey::Fetch, 4..=12),
];

/// What a broker said it speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Versions {
    offered: Vec<(i16, i16, i16)>,
}

/// A broker that is too old (or too new) for an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct NotSpoken {
    api: ApiKey,
    wanted: RangeInclusive<i16>,
    /// `None`: it doesn't have the API at all.
    offered: Option<(i16, i16)>,
}

impl Versions {
    pub(in crate::uplink) fn new(offered: &[ApiVersion]) -> Self {
        Self { offered: offered.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect() }
    }

    /// The version to speak.
    ///
    /// # Errors
    /// [`NotSpoken`], if the ranges don't meet.
    pub(in crate::uplink) fn pick(&self, api: ApiKey) -> Result<i16, NotSpoken> {
        let ours =
            SPOKEN.iter().find(|(key, _)| *key == api).map_or_else(|| api.versions(), |(_, range)| range.clone());
        let offered = self.offered.iter().find(|(key, _, _)| *key == api.code()).map(|(_, min, max)| (*min, *max));
        let best = offered.and_then(|(min, max)| {
            let version = max.min(*ours.end());
            (version >= min && version >= *ours.start()).then_some(version)
        });
        best.ok_or(NotSpoken { api, wanted: ours, offered })
    }

    /// The versions that are spoken, for people: `Produce 11, Metadata 12, …`; with what is missing.
    pub(in crate::uplink) fn summary(&self) -> String {
        let parts = SPOKEN.iter().map(|(api, _)| match self.pick(*api) {
            Ok(version) => format!("{} {version}", api.name()),
            Err(_) => format!("{} none", api.name()),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for NotSpoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.wanted.start(), self.wanted.end());
        write!(f, "the broker has no usable version of {}: needed is {low} to {high}, ", self.api.name())?;
        match self.offered {
            None => write!(f, "it doesn't offer the API")?,
            Some((min, max)) => write!(f, "it offers {min} to {max}")?,
        }
        f.write_str("; Apache Kafka 2.1 and later and Redpanda are supported")
    }
}

impl std::error::Error for NotSpoken {}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(api: ApiKey, min: i16, max: i16) -> Versions {
        Versions::new(&[ApiVersion { api_key: api.code(), min_version: min, max_version: max }])
    }

    #[test]
    fn the_highest_common_version_is_picked() {
        assert_eq!(offering(ApiKey::Produce, 0, 13).pick(ApiKey::Produce), Ok(11));
        assert_eq!(offering(ApiKey::Produce, 3, 8).pick(ApiKey::Produce), Ok(8));
        assert_eq!(offering(ApiKey::Produce, 3, 7).pick(ApiKey::Produce), Ok(7));
        assert_eq!(offering(ApiKey::InitProducerId, 0, 5).pick(ApiKey::InitProducerId), Ok(4));
    }

    #[test]
    fn an_old_broker_is_told_by_the_apis_name() {
        let text = offering(ApiKey::Produce, 0, 5).pick(ApiKey::Produce).unwrap_err().to_string();
        assert!(
            text.contains("Produce") && text.contains("needed is 7 to 11") && text.contains("offers 0 to 5"),
            "{text}"
        );
        let text = Versions::default().pick(ApiKey::Metadata).unwrap_err().to_string();
        assert!(text.contains("Metadata") && text.contains("doesn't offer"), "{text}");
        assert!(offering(ApiKey::Produce, 12, 20).pick(ApiKey::Produce).is_err());
    }

    #[test]
    fn all_that_is_used_is_in_the_codec() {
        for (api, range) in SPOKEN {
            assert!(api.versions().contains(range.start()) && api.versions().contains(range.end()), "{}", api.name());
        }
    }
}
