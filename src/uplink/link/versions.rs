//! Which version of each API is spoken with one broker: the highest that both sides know.

use std::fmt;
use std::ops::RangeInclusive;

use crate::kafka::api::ApiKey;
use crate::kafka::api_versions::{ApiVersion, FinalizedFeatureKey};

/// The versions this uplink uses. Each lower end has a reason: Produce 7 is the first that carries zstd (Kafka 2.1); Metadata 4
/// is the first that doesn't create topics by asking; Fetch 4 and ListOffsets 2 are the first that know transactions;
/// CreateTopics 4 knows "the cluster's default".
///
/// From Produce 12, TxnOffsetCommit 5 and EndTxn 5 on, transactions are those of the second protocol (KIP-890). AddPartitionsToTxn
/// 4 is for brokers; FindCoordinator 4 asks for several at once; OffsetFetch 7 is the first that waits for transactions, and 8 asks
/// for several groups; Fetch 13 names topics by id.
const SPOKEN: [(ApiKey, RangeInclusive<i16>); 8] = [
    (ApiKey::Produce, 7..=12),
    (ApiKey::Metadata, 4..=12),
    (ApiKey::ApiVersions, 0..=3),
    (ApiKey::CreateTopics, 4..=7),
    (ApiKey::InitProducerId, 0..=4),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::ListOffsets, 2..=7),
    (ApiKey::Fetch, 4..=12),
];
/// What only transactions take.
const SPOKEN_FOR_TRANSACTIONS: [(ApiKey, RangeInclusive<i16>); 6] = [
    (ApiKey::FindCoordinator, 1..=3),
    (ApiKey::AddPartitionsToTxn, 0..=3),
    (ApiKey::AddOffsetsToTxn, 0..=3),
    (ApiKey::TxnOffsetCommit, 0..=5),
    (ApiKey::EndTxn, 0..=5),
    (ApiKey::OffsetFetch, 7..=7),
];
/// What transactions take, with the least version of each: InitProducerId 3 tells an own time-out from a rival (KIP-360).
const TRANSACTIONS: [(ApiKey, i16); 8] = [
    (ApiKey::InitProducerId, 3),
    (ApiKey::FindCoordinator, 1),
    (ApiKey::AddPartitionsToTxn, 0),
    (ApiKey::AddOffsetsToTxn, 0),
    (ApiKey::TxnOffsetCommit, 3),
    (ApiKey::EndTxn, 0),
    (ApiKey::OffsetFetch, 7),
    (ApiKey::Fetch, 4),
];
/// What the second protocol takes besides the cluster's word for it.
const SECOND: [(ApiKey, i16); 3] = [(ApiKey::Produce, 12), (ApiKey::TxnOffsetCommit, 5), (ApiKey::EndTxn, 5)];
/// The feature by which a cluster says that all its brokers know the second protocol, and the level that means it.
const TRANSACTION_VERSION: (&str, i16) = ("transaction.version", 2);

/// What a broker said it speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Versions {
    offered: Vec<(i16, i16, i16)>,
    /// The level of [`TRANSACTION_VERSION`] that the cluster has settled on.
    transaction_version: i16,
}

/// How transactions are made with a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Protocol {
    /// The coordinator is told of every partition beforehand.
    First,
    /// Brokers tell it; each transaction has an epoch of its own (KIP-890).
    Second,
}

impl Protocol {
    /// The highest version of an API that belongs to it.
    pub(in crate::uplink) fn version_max(self, api: ApiKey) -> i16 {
        match (self, api) {
            (Self::First, ApiKey::Produce) => 11,
            (Self::First, ApiKey::TxnOffsetCommit | ApiKey::EndTxn) => 4,
            _ => i16::MAX,
        }
    }
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
    pub(in crate::uplink) fn new(offered: &[ApiVersion], features: &[FinalizedFeatureKey<'_>]) -> Self {
        let settled = features.iter().find(|feature| feature.name == TRANSACTION_VERSION.0);
        Self {
            offered: offered.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect(),
            transaction_version: settled.map_or(0, |feature| feature.max_version_level),
        }
    }

    /// How transactions are made.
    ///
    /// # Errors
    /// [`NotSpoken`]: an API that they need, and that the broker does not have.
    pub(in crate::uplink) fn transactions(&self) -> Result<Protocol, NotSpoken> {
        for (api, least) in TRANSACTIONS {
            if self.pick(api)? < least {
                let wanted = least..=Self::ours(api).end().to_owned();
                return Err(NotSpoken { api, wanted, offered: self.offered(api) });
            }
        }
        let knows = SECOND.iter().all(|(api, least)| self.pick(*api).is_ok_and(|version| version >= *least));
        let second = knows && self.transaction_version >= TRANSACTION_VERSION.1;
        Ok(if second { Protocol::Second } else { Protocol::First })
    }

    fn ours(api: ApiKey) -> RangeInclusive<i16> {
        let mut spoken = SPOKEN.iter().chain(&SPOKEN_FOR_TRANSACTIONS);
        spoken.find(|(key, _)| *key == api).map_or_else(|| api.versions(), |(_, range)| range.clone())
    }

    fn offered(&self, api: ApiKey) -> Option<(i16, i16)> {
        self.offered.iter().find(|(key, _, _)| *key == api.code()).map(|(_, min, max)| (*min, *max))
    }

    /// The version to speak.
    ///
    /// # Errors
    /// [`NotSpoken`], if the ranges don't meet.
    pub(in crate::uplink) fn pick(&self, api: ApiKey) -> Result<i16, NotSpoken> {
        self.pick_below(api, i16::MAX)
    }

    /// The version to speak, at most `max`.
    ///
    /// # Errors
    /// As [`Versions::pick`].
    pub(in crate::uplink) fn pick_below(&self, api: ApiKey, max: i16) -> Result<i16, NotSpoken> {
        let ours = Self::ours(api);
        let ours = *ours.start()..=max.min(*ours.end());
        let offered = self.offered(api);
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
        Versions::new(&[ApiVersion { api_key: api.code(), min_version: min, max_version: max }], &[])
    }

    #[test]
    fn the_highest_common_version_is_picked() {
        assert_eq!(offering(ApiKey::Produce, 0, 13).pick(ApiKey::Produce), Ok(12));
        assert_eq!(offering(ApiKey::Produce, 0, 13).pick_below(ApiKey::Produce, 11), Ok(11));
        assert_eq!(offering(ApiKey::Produce, 3, 8).pick(ApiKey::Produce), Ok(8));
        assert_eq!(offering(ApiKey::Produce, 3, 7).pick(ApiKey::Produce), Ok(7));
        assert_eq!(offering(ApiKey::InitProducerId, 0, 5).pick(ApiKey::InitProducerId), Ok(4));
    }

    #[test]
    fn an_old_broker_is_told_by_the_apis_name() {
        let text = offering(ApiKey::Produce, 0, 5).pick(ApiKey::Produce).unwrap_err().to_string();
        assert!(
            text.contains("Produce") && text.contains("needed is 7 to 12") && text.contains("offers 0 to 5"),
            "{text}"
        );
        let text = Versions::default().pick(ApiKey::Metadata).unwrap_err().to_string();
        assert!(text.contains("Metadata") && text.contains("doesn't offer"), "{text}");
        assert!(offering(ApiKey::Produce, 13, 20).pick(ApiKey::Produce).is_err());
    }

    #[test]
    fn all_that_is_used_is_in_the_codec() {
        for (api, range) in SPOKEN.into_iter().chain(SPOKEN_FOR_TRANSACTIONS) {
            assert!(api.versions().contains(range.start()) && api.versions().contains(range.end()), "{}", api.name());
        }
    }
}
