//! Moves records from batches into another one: to merge small batches, split large ones, or filter.

use super::{BatchBuilder, BatchError, BatchView, RecordRef, VerifyLimits, decompress, records};

/// Appends all records of `view`; see [`append_records_where`].
pub fn append_records(
    view: &BatchView<'_>,
    limits: &VerifyLimits,
    builder: &mut BatchBuilder,
) -> Result<u32, BatchError> {
    append_records_where(view, limits, builder, |_| true)
}

/// Appends the records of `view` that `keep` wants, with the timestamps their consumers see, and says how many. Offsets,
/// producer and attributes of the batch don't come along.
///
/// # Errors
/// [`BatchError::Crc`] if the batch is damaged, for the records get a new checksum; [`BatchError::Control`] for transaction
/// markers; whatever is wrong with the records. The builder is as before then.
pub fn append_records_where(
    view: &BatchView<'_>,
    limits: &VerifyLimits,
    builder: &mut BatchBuilder,
    keep: impl FnMut(&RecordRef<'_>) -> bool,
) -> Result<u32, BatchError> {
    append_records_with(view, limits, builder, &[], keep)
}

/// As [`append_records_where`], with these headers added to each record.
///
/// # Errors
/// As [`append_records_where`].
pub fn append_records_with(
    view: &BatchView<'_>,
    limits: &VerifyLimits,
    builder: &mut BatchBuilder,
    headers: &[(&[u8], Option<&[u8]>)],
    mut keep: impl FnMut(&RecordRef<'_>) -> bool,
) -> Result<u32, BatchError> {
    view.check_crc()?;
    if view.attributes().is_control() {
        return Err(BatchError::Control);
    }
    let payload = decompress(view, limits)?;
    let mark = builder.mark();
    let mut appended = 0;
    for record in records(view, &payload) {
        let result = record.and_then(|record| {
            if keep(&record) {
                let headers = record.headers.clone().chain(headers.iter().copied());
                builder.push(record.timestamp, record.key, record.value, headers)?;
                appended += 1;
            }
            Ok(())
        });
        if let Err(error) = result {
            builder.rewind(mark);
            return Err(error);
        }
    }
    Ok(appended)
}
