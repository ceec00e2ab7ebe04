//! Which partition upstream a local partition's records go to. Pure.
//!
//! Invariant: while the number of partitions upstream stays, all records of a local partition without key, or with the same
//! key, go to the same one; so their order is kept.

use std::fmt;

use crate::broker::partition_for_key;
use crate::config::Partitioning;

/// Where the records of one local partition go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Route {
    /// All to one partition: batches stay whole.
    One(i32),
    /// By key, as a Kafka producer would, over `partitions`; records without key to `keyless`.
    ByKey { partitions: u32, keyless: i32 },
}

impl Route {
    /// The partition for a record with this key.
    pub(in crate::uplink) fn partition_for(self, key: Option<&[u8]>) -> i32 {
        match (self, key) {
            (Self::One(partition), _) | (Self::ByKey { keyless: partition, .. }, None) => partition,
            (Self::ByKey { partitions, .. }, Some(key)) => partition_for_key(key, partitions) as i32,
        }
    }
}

/// A local partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Local {
    /// Its index in its topic.
    pub(in crate::uplink) index: u32,
    /// Partitions of that topic.
    pub(in crate::uplink) count: u32,
}

/// `partitioning = "same"`, and the topic upstream has fewer partitions than the local one. None of the topic is
/// forwarded then: a part of it would look like all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct TooFewPartitions {
    pub(in crate::uplink) local: u32,
    pub(in crate::uplink) upstream: u32,
}

impl fmt::Display for TooFewPartitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "partitioning = \"same\", but the topic upstream has {} partitions and the one here {}: add partitions \
             upstream, or choose another partitioning",
            self.upstream, self.local
        )
    }
}

/// The route of local partition `local` to a topic with `upstream` partitions (at least 1).
///
/// By gateway: murmur2 of the gateway's id, a zero byte and the local partition (u32 in network order), modulo `upstream`.
///
/// # Errors
/// [`TooFewPartitions`].
pub(in crate::uplink) fn route(
    partitioning: Partitioning,
    gateway: &str,
    local: Local,
    upstream: u32,
) -> Result<Route, TooFewPartitions> {
    let mut seed = gateway.as_bytes().to_vec();
    seed.push(0);
    seed.extend_from_slice(&local.index.to_be_bytes());
    let by_gateway = partition_for_key(&seed, upstream) as i32;
    match partitioning {
        Partitioning::ByGateway => Ok(Route::One(by_gateway)),
        Partitioning::ByKey => Ok(Route::ByKey { partitions: upstream, keyless: by_gateway }),
        Partitioning::Same if local.count.max(local.index + 1) <= upstream => Ok(Route::One(local.index as i32)),
        Partitioning::Same => Err(TooFewPartitions { local: local.count, upstream }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const FIRST: Local = Local { index: 0, count: 1 };

    #[test]
    fn gateways_spread_over_the_partitions_and_stay_where_they_are() {
        let of = |gateway: &str, index, upstream| {
            route(Partitioning::ByGateway, gateway, Local { index, count: 4 }, upstream).unwrap()
        };
        for upstream in [1, 6, 48] {
            let used: BTreeSet<i32> =
                (0..500).map(|g| of(&format!("gw-{g}"), 0, upstream).partition_for(Some(b"any"))).collect();
            assert_eq!(used.len(), upstream as usize);
            assert!(used.iter().all(|p| *p < upstream as i32));
        }
        assert_eq!(of("gw", 3, 48), of("gw", 3, 48));
        // In a durable relation to what lies upstream already: these may never change.
        assert_eq!([of("gw-1", 0, 6), of("gw-1", 1, 6), of("gw-2", 0, 6)].map(|r| r.partition_for(None)), [1, 4, 4]);
    }

    #[test]
    fn keys_go_where_a_kafka_producer_sends_them() {
        let by_key = route(Partitioning::ByKey, "gw", FIRST, 6).unwrap();
        assert_eq!(by_key.partition_for(Some(b"device-7")), partition_for_key(b"device-7", 6) as i32);
        assert_eq!(
            by_key.partition_for(None),
            route(Partitioning::ByGateway, "gw", FIRST, 6).unwrap().partition_for(None)
        );
    }

    #[test]
    fn the_same_number_must_exist() {
        let of = |index, upstream| route(Partitioning::Same, "gw", Local { index, count: 4 }, upstream);
        assert_eq!([of(0, 4), of(3, 4), of(3, 5)], [Ok(Route::One(0)), Ok(Route::One(3)), Ok(Route::One(3))]);
        assert_eq!(of(0, 2), of(3, 2), "those that would fit are refused with the others");
        let text = of(0, 2).unwrap_err().to_string();
        assert!(text.contains("has 2 partitions") && text.contains("here 4"), "{text}");
    }
}
