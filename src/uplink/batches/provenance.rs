//! The headers by which the centre sees where a record comes from. Pure. Names and forms: [`crate::record::provenance`].
//!
//! Batches that are built here (native publishes gathered by the store, what the uplink merges) get them; a Kafka client's
//! batch stays as it came, unless `provenance = "always"`.
//!
//! The client's id costs the store nothing where it is the record's key, which is the default; where it isn't, it was put
//! into the record as a header when that was stored.
//!
//! Invariant: a record that bears a gateway's header already keeps what it has: the first gateway is where it comes from.

use std::fmt::Write;

use crate::config::{Labels, ProvenanceMode};
use crate::limits::CLIENT_ID_BYTES_MAX;
use crate::record::RecordRef;
use crate::record::provenance::{DEVICE, GATEWAY, LABEL_PREFIX, ORIGIN, TIME};
use crate::store::PartitionId;

/// A header of a record.
pub(in crate::uplink) type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// What is the same for all records of an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Provenance {
    mode: ProvenanceMode,
    gateway: String,
    /// In hexadecimal.
    incarnation: String,
    /// Headers of labels.
    labels: Vec<(Vec<u8>, String)>,
}

/// Who built the batch that a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Source {
    /// A Kafka client.
    Client,
    /// The gateway, out of native publishes.
    Native,
    /// The gateway, out of what it tells itself.
    Internal,
}

impl Provenance {
    pub(in crate::uplink) fn new(mode: ProvenanceMode, gateway: &str, incarnation: [u8; 16], labels: &Labels) -> Self {
        let hexadecimal = incarnation.iter().fold(String::new(), |mut text, byte| {
            // Writing into a text has nothing that can fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let header = |(name, value): (&str, &str)| ([LABEL_PREFIX, name.as_bytes()].concat(), value.to_owned());
        let labels = labels.iter().map(header);
        Self { mode, gateway: gateway.to_owned(), incarnation: hexadecimal, labels: labels.collect() }
    }

    /// Bytes that a record grows by, at most: a native one, and a Kafka client's in a batch that would go alone.
    pub(in crate::uplink) fn around(&self) -> [usize; 2] {
        // Two lengths, and partition and offset as they are written.
        const AROUND_HEADER: usize = 10;
        const PLACE: usize = 32;
        let header = |name: &[u8], value: usize| AROUND_HEADER + name.len() + value;
        let labels = self.labels.iter().map(|(name, value)| header(name, value.len()));
        let all = header(GATEWAY, self.gateway.len())
            + header(ORIGIN, self.incarnation.len() + PLACE)
            + labels.sum::<usize>();
        let estimated = header(TIME, AROUND_HEADER);
        match self.mode {
            ProvenanceMode::Never => [estimated, 0],
            ProvenanceMode::Built => [all + header(DEVICE, CLIENT_ID_BYTES_MAX) + estimated, 0],
            ProvenanceMode::Always => [all + header(DEVICE, CLIENT_ID_BYTES_MAX) + estimated, all],
        }
    }

    /// Whether a batch can't stay as it is, because its records are to get headers.
    pub(in crate::uplink) fn rebuilds(&self, source: Source) -> bool {
        match self.mode {
            ProvenanceMode::Never => false,
            ProvenanceMode::Always => true,
            ProvenanceMode::Built => source != Source::Client,
        }
    }

    /// Text of [`ORIGIN`], into `out`.
    pub(in crate::uplink) fn origin(&self, partition: PartitionId, offset: i64, out: &mut String) {
        out.clear();
        let _ = write!(out, "{}/{}/{offset}", self.incarnation, partition.0);
    }

    /// Puts the headers of a record that goes into a batch here behind those that it has. `origin` is the text of
    /// [`Provenance::origin`].
    pub(in crate::uplink) fn tell<'a>(
        &'a self,
        source: Source,
        record: &RecordRef<'a>,
        origin: &'a str,
        headers: &mut Vec<Header<'a>>,
    ) {
        let has = |headers: &[Header<'_>], name: &[u8]| headers.iter().any(|(known, _)| *known == name);
        if self.mode == ProvenanceMode::Never || has(headers, GATEWAY) {
            return;
        }
        headers.push((GATEWAY, Some(self.gateway.as_bytes())));
        if source == Source::Native && record.key.is_some() && !has(headers, DEVICE) {
            headers.push((DEVICE, record.key));
        }
        headers.push((ORIGIN, Some(origin.as_bytes())));
        headers.extend(self.labels.iter().map(|(name, value)| (name.as_slice(), Some(value.as_bytes()))));
    }
}

#[cfg(test)]
pub(in crate::uplink) mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchView, Compression, VerifyLimits, decompress, records};

    pub(in crate::uplink) fn provenance(mode: ProvenanceMode) -> Provenance {
        Provenance::new(mode, "gw", [0xab; 16], &Labels::of([("site", "berlin")]))
    }

    fn headers_of(mode: ProvenanceMode, source: Source, key: Option<&[u8]>, own: &[Header<'_>]) -> Vec<String> {
        let mut builder = BatchBuilder::new();
        builder.push(1, key, Some(b"v"), own.iter().copied()).unwrap();
        let batch = builder.finish(Compression::None);
        let (view, _) = BatchView::parse(&batch).unwrap();
        let payload = decompress(&view, &VerifyLimits::default()).unwrap();
        let record = records(&view, &payload).next().unwrap().unwrap();
        let (of, mut origin) = (provenance(mode), String::new());
        of.origin(PartitionId(7), 12, &mut origin);
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        let mut headers = record.headers.clone().collect();
        of.tell(source, &record, &origin, &mut headers);
        headers.into_iter().map(|(name, value)| format!("{}={}", text(name), text(value.unwrap()))).collect()
    }

    #[test]
    fn records_say_where_they_come_from_once() {
        use ProvenanceMode::{Always, Built, Never};
        let origin = format!("brooklet.origin={}/7/12", "ab".repeat(16));
        let label = "brooklet.label.site=berlin";
        let native = headers_of(Built, Source::Native, Some(b"dev-1"), &[(b"x", Some(b"1"))]);
        assert_eq!(native, ["x=1", "brooklet.gateway=gw", "brooklet.device=dev-1", &origin, label]);
        let own_key = headers_of(Built, Source::Native, Some(b"k"), &[(DEVICE, Some(b"dev-1"))]);
        assert_eq!(own_key, ["brooklet.device=dev-1", "brooklet.gateway=gw", &origin, label]);
        let client = ["brooklet.gateway=gw", &origin, label];
        assert_eq!(headers_of(Built, Source::Client, Some(b"k"), &[]), client, "merged");
        assert_eq!(headers_of(Always, Source::Internal, Some(b"gw"), &[]), client);
        assert!(headers_of(Never, Source::Native, Some(b"k"), &[]).is_empty());
        let passed = headers_of(Always, Source::Native, Some(b"k"), &[(GATEWAY, Some(b"below"))]);
        assert_eq!(passed, ["brooklet.gateway=below"]);
    }

    #[test]
    fn what_clients_built_stays_unless_asked_for() {
        use ProvenanceMode::{Always, Built, Never};
        let rebuilds = |mode| [Source::Client, Source::Native].map(|source| provenance(mode).rebuilds(source));
        assert_eq!([Built, Always, Never].map(rebuilds), [[false, true], [true, true], [false, false]]);
    }
}
