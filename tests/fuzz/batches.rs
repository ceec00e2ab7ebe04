//! Record batches that nobody would build, and everything that reads one.

use brooklet::record::{
    BatchBuilder, BatchView, Compression, HEADER_BYTES, NO_HEADERS, Producer, VerifyLimits, append_records, decompress,
    header, recompress, records, verify,
};

/// Reads a batch in every way; none may panic, whatever `batch` is.
pub(crate) fn read_all_ways(batch: &[u8], limits: &VerifyLimits) {
    let Ok((view, _)) = BatchView::parse(batch) else { return };
    let verdict = verify(&view, limits);
    let payload = decompress(&view, limits).unwrap_or(view.payload().into());
    let mut whole = 0;
    for record in records(&view, &payload) {
        let Ok(record) = record else { break };
        assert!(record.headers.clone().count() == record.headers.len());
        whole += 1;
    }
    if let Ok(facts) = verdict {
        assert_eq!(facts.record_count, whole, "what is verified is all there");
        assert!(facts.min_timestamp <= facts.max_timestamp);
        let again = recompress(&view, Compression::None, limits).unwrap();
        if let Some(plain) = again {
            let (plain, _) = BatchView::parse(&plain).unwrap();
            assert_eq!(plain.record_count(), facts.record_count);
            assert_eq!(plain.payload(), &payload[..], "another codec, the same records");
        }
    }
    let _ = append_records(&view, limits, &mut BatchBuilder::new());
    let mut copy = batch.to_vec();
    let _ = header::shift_timestamps(&mut copy, 1);
    let _ = header::correct_stamps(&mut copy, i64::MAX);
    let _ = header::rewrite_for_forward(&mut copy, Producer::NONE, true);
    header::set_log_append_time(&mut copy, 1);
}

/// A batch whose length and CRC fit, with this payload.
pub(crate) fn forged(compression: Compression, payload: &[u8]) -> Vec<u8> {
    let mut batch = small(Compression::None);
    batch.truncate(HEADER_BYTES);
    batch.extend_from_slice(payload);
    batch[22] = compression as u8;
    reseal(&mut batch);
    batch
}

/// Makes length and CRC fit what is there.
pub(crate) fn reseal(batch: &mut [u8]) {
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Eight records that every codec makes smaller.
pub(crate) fn small(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for index in 0..8 {
        let headers = [(&b"unit"[..], Some(&b"celsius"[..])), (&b"unit"[..], None)];
        builder.push(1_000 + index, Some(b"boiler-boiler"), Some(b"21.521.521.521.5"), headers.into_iter()).unwrap();
    }
    let batch = builder.finish(compression);
    assert_eq!(BatchView::parse(&batch).unwrap().0.attributes().compression(), Ok(compression));
    batch
}

/// Sixty records of JSON.
pub(crate) fn medium(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for index in 0..60_i64 {
        let value = format!("{{\"celsius\":{}.{},\"seq\":{index}}}", 20 + index % 7, index * index % 10);
        builder.push(index * 10, Some(b"boiler"), Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    builder.finish(compression)
}
