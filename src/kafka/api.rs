//! Which APIs exist, which versions of them the codec speaks, and the table by which a server routes requests.
//!
//! [`ApiKey`] is the codec's side: the versions whose bytes it can read and write. What a server *advertises* is its
//! own [`Routes`]: one table drives both the dispatch and the answer to ApiVersions, so the two cannot disagree.

use core::ops::RangeInclusive;

use crate::kafka::api_versions::ApiVersion;
use crate::kafka::wire::Layout;

macro_rules! apis {
    ($($(#[$meta:meta])* $name:ident = $key:literal, $versions:expr, flexible $flexible:expr;)*) => {
        /// An API the codec speaks. Values are the keys on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey { $($(#[$meta])* $name = $key,)* }

        impl ApiKey {
            /// Every API, by key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            /// The API of this key, if the codec speaks it.
            pub const fn from_code(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The name, as in Kafka's documentation.
            pub const fn name(self) -> &'static str {
                match self { $(ApiKey::$name => stringify!($name),)* }
            }

            /// The versions whose bodies the codec reads and writes, requests and responses alike.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self { $(ApiKey::$name => $versions,)* }
            }

            const fn first_flexible(self) -> i16 {
                match self { $(ApiKey::$name => $flexible,)* }
            }
        }
    };
}

/// Of an API that has no flexible version.
const NEVER: i16 = i16::MAX;

apis! {
    Produce = 0, 3..=12, flexible 9;
    Fetch = 1, 4..=12, flexible 12;
    ListOffsets = 2, 1..=9, flexible 6;
    Metadata = 3, 0..=12, flexible 9;
    OffsetCommit = 8, 2..=9, flexible 8;
    OffsetFetch = 9, 1..=9, flexible 6;
    FindCoordinator = 10, 0..=6, flexible 3;
    JoinGroup = 11, 0..=9, flexible 6;
    Heartbeat = 12, 0..=4, flexible 4;
    LeaveGroup = 13, 0..=5, flexible 4;
    SyncGroup = 14, 0..=5, flexible 4;
    DescribeGroups = 15, 0..=6, flexible 5;
    ListGroups = 16, 0..=5, flexible 3;
    SaslHandshake = 17, 0..=1, flexible NEVER;
    ApiVersions = 18, 0..=4, flexible 3;
    CreateTopics = 19, 2..=7, flexible 5;
    DeleteTopics = 20, 1..=6, flexible 4;
    DeleteRecords = 21, 0..=2, flexible 2;
    InitProducerId = 22, 0..=5, flexible 2;
    OffsetForLeaderEpoch = 23, 2..=4, flexible 4;
    AddPartitionsToTxn = 24, 0..=3, flexible 3;
    AddOffsetsToTxn = 25, 0..=4, flexible 3;
    EndTxn = 26, 0..=5, flexible 3;
    TxnOffsetCommit = 28, 0..=5, flexible 3;
    DescribeAcls = 29, 1..=3, flexible 2;
    CreateAcls = 30, 1..=3, flexible 2;
    DeleteAcls = 31, 1..=3, flexible 2;
    DescribeConfigs = 32, 1..=4, flexible 4;
    AlterConfigs = 33, 0..=2, flexible 2;
    DescribeLogDirs = 35, 1..=4, flexible 2;
    SaslAuthenticate = 36, 0..=2, flexible 2;
    CreatePartitions = 37, 0..=3, flexible 2;
    DeleteGroups = 42, 0..=2, flexible 2;
    IncrementalAlterConfigs = 44, 0..=1, flexible 1;
    OffsetDelete = 47, 0..=0, flexible NEVER;
    DescribeUserScramCredentials = 50, 0..=0, flexible 0;
    AlterUserScramCredentials = 51, 0..=0, flexible 0;
    DescribeCluster = 60, 0..=2, flexible 0;
    DescribeTopicPartitions = 75, 0..=0, flexible 0;
}

impl ApiKey {
    /// The key on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether a version, known to the codec or not, has the flexible layout.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    /// How to read and write this version of a body; `None` if the codec doesn't speak it.
    pub fn layout(self, version: i16) -> Option<Layout> {
        self.versions().contains(&version).then(|| Layout { version, flexible: self.is_flexible(version) })
    }

    /// Version of the header in front of a request: 2 has tagged fields.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header in front of a response: 1 has tagged fields.
    ///
    /// That of ApiVersions is always 0, as a client asks before it can know what the server speaks (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            ApiKey::ApiVersions => 0,
            _ => self.is_flexible(version) as i16,
        }
    }
}

/// One API of a server: which versions it serves, and by what.
#[derive(Debug, Clone)]
pub struct Route<H> {
    key: ApiKey,
    served: RangeInclusive<i16>,
    advertised_min: i16,
    handler: H,
}

impl<H> Route<H> {
    /// Serves `versions` of an API. In a `const` table, versions the codec doesn't speak don't compile.
    pub const fn new(key: ApiKey, versions: RangeInclusive<i16>, handler: H) -> Route<H> {
        let spoken = key.versions();
        assert!(
            *spoken.start() <= *versions.start() && *versions.end() <= *spoken.end(),
            "a route serves versions that the codec doesn't speak"
        );
        let advertised_min = *versions.start();
        Route { key, served: versions, advertised_min, handler }
    }

    /// Advertises older versions than are served; requests in them are still refused.
    ///
    /// Made for Produce: librdkafka before 2.11.1 looks for exactly version 0 and drops compression silently without it
    /// (KAFKA-18659).
    pub const fn advertised_from(mut self, min: i16) -> Route<H> {
        self.advertised_min = min;
        self
    }

    pub fn key(&self) -> ApiKey {
        self.key
    }

    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The versions that are served.
    pub fn versions(&self) -> RangeInclusive<i16> {
        self.served.clone()
    }
}

/// Why a request has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrouted {
    /// No such API here. Kafka closes the connection: without the schema the response has no known form.
    Key(i16),
    /// The API has no such version here. Answer ApiVersions with [`crate::kafka::api_versions::unsupported_version`],
    /// close on all others.
    Version(ApiKey, i16),
}

/// All APIs of a server.
#[derive(Debug, Clone)]
pub struct Routes<H: 'static> {
    routes: &'static [Route<H>],
}

impl<H> Routes<H> {
    pub const fn new(routes: &'static [Route<H>]) -> Routes<H> {
        Routes { routes }
    }

    /// The route that serves this version of this API.
    ///
    /// # Errors
    /// [`Unrouted`], by what the caller answers.
    pub fn find(&self, key: i16, version: i16) -> Result<&'static Route<H>, Unrouted> {
        let route = self.routes.iter().find(|route| route.key.code() == key).ok_or(Unrouted::Key(key))?;
        if route.served.contains(&version) { Ok(route) } else { Err(Unrouted::Version(route.key, version)) }
    }

    /// What to advertise, in order of the keys.
    pub fn api_versions(&self) -> Vec<ApiVersion> {
        let mut apis: Vec<ApiVersion> = self
            .routes
            .iter()
            .map(|route| ApiVersion {
                api_key: route.key.code(),
                min_version: route.advertised_min,
                max_version: *route.served.end(),
            })
            .collect();
        apis.sort_by_key(|api| api.api_key);
        apis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: Routes<&str> = Routes::new(&[
        Route::new(ApiKey::ApiVersions, 0..=4, "versions"),
        Route::new(ApiKey::Produce, 3..=12, "produce").advertised_from(0),
    ]);

    #[test]
    fn one_table_dispatches_and_advertises() {
        assert_eq!(*ROUTES.find(0, 7).unwrap().handler(), "produce");
        assert_eq!(ROUTES.find(0, 2).unwrap_err(), Unrouted::Version(ApiKey::Produce, 2));
        assert_eq!(ROUTES.find(18, 5).unwrap_err(), Unrouted::Version(ApiKey::ApiVersions, 5));
        assert_eq!(ROUTES.find(1, 4).unwrap_err(), Unrouted::Key(1));
        let advertised: Vec<_> =
            ROUTES.api_versions().iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!(advertised, [(0, 0, 12), (18, 0, 4)]);
    }

    #[test]
    fn keys_are_in_order_and_find_themselves() {
        assert!(ApiKey::ALL.is_sorted());
        assert!(ApiKey::ALL.iter().all(|api| ApiKey::from_code(api.code()) == Some(*api)));
        assert_eq!(ApiKey::from_code(71), None);
    }

    #[test]
    fn headers_follow_flexibility_save_that_of_api_versions() {
        assert_eq!((ApiKey::Produce.request_header_version(8), ApiKey::Produce.response_header_version(8)), (1, 0));
        assert_eq!((ApiKey::Produce.request_header_version(9), ApiKey::Produce.response_header_version(9)), (2, 1));
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    }
}
