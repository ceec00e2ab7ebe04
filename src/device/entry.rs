//! A record as it lies in the storage: varint topic, one byte (bits 0–1 the acknowledgement level, bit 2: the timestamp is
//! an uptime), and the record as in a record list of base 0.

use super::{Reading, Stamp};
use crate::frame::{
    AckLevel, Base, Record, Records, RecordsWriter,
    wire::{NoRoom, Reader, Writer},
};

const UPTIME: u8 = 4;

/// A stored record, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) topic: u16,
    pub(super) level: AckLevel,
    /// Whether the record's timestamp is ms since the device started.
    pub(super) uptime: bool,
    pub(super) record: Record<'a>,
}

/// Writes a reading into `buffer`, and gives its length.
pub(super) fn write(reading: &Reading<'_>, buffer: &mut [u8]) -> Result<usize, NoRoom> {
    let (timestamp, uptime) = match reading.stamp {
        Stamp::Gateway => (None, 0),
        Stamp::Wall(ms) => (Some(ms), 0),
        Stamp::Uptime(ms) => (Some(ms as i64), UPTIME),
    };
    let mut writer = Writer::new(buffer);
    writer.varint(u64::from(reading.topic))?;
    writer.byte(reading.level as u8 | uptime)?;
    let head = writer.len();
    let mut records = RecordsWriter::for_publish(writer.room(), 0);
    let (key, value, headers) = (reading.key, reading.value, reading.headers);
    records.push(&Record { offset: 0, timestamp, key, value, headers })?;
    Ok(head + records.len())
}

/// Reads what [`write`] wrote; `None` if the storage gave something else.
pub(super) fn read(bytes: &[u8]) -> Option<Entry<'_>> {
    let mut reader = Reader::new(bytes);
    let topic = u16::try_from(reader.varint().ok()?).ok()?;
    let flags = reader.byte().ok()?;
    let records = Records::parse(reader.rest()).ok()?;
    let mut records = records.iter(Base::default());
    let (record, None) = (records.next()?, records.next()) else { return None };
    Some(Entry { topic, level: AckLevel::from_u8(flags & !UPTIME)?, uptime: flags & UPTIME != 0, record })
}
