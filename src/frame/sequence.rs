//! Sequences on the wire: the low 16 bits, from which the other side, knowing about where the number must be, has the
//! whole (as packet numbers in QUIC, RFC 9000 appendix A.3).
//!
//! A client's sequences are dense from 1 in a session epoch, which may last as long as the client: after a year of a record a second a varint would
//! take four bytes twice; a lost frame on a serial link is still noticed, which an implied number would not allow.
//! Invariant: at most [`super::IN_FLIGHT_MAX`] records are unacknowledged on a connection, less than half of 65,536.

/// The number whose low 16 bits are `low` and that is nearest to `near`.
pub fn expand(low: u16, near: u64) -> u64 {
    let ahead = low.wrapping_sub(near as u16);
    if ahead < 0x8000 {
        near.saturating_add(u64::from(ahead))
    } else {
        // Before the first sequence there is nothing: what would lie there is ahead.
        let behind = 0x1_0000 - u64::from(ahead);
        near.checked_sub(behind).unwrap_or_else(|| near.saturating_add(u64::from(ahead)))
    }
}

/// The low 16 bits.
pub const fn truncate(sequence: u64) -> u16 {
    sequence as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_number_is_meant() {
        for near in [1, 5, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x1_0001, 31_536_000, u64::MAX - 0x8000] {
            for distance in [0i64, 1, -1, 100, -100, 0x3fff, -0x3fff, 0x7fff] {
                let Some(sequence) = near.checked_add_signed(distance).filter(|s| *s > 0) else { continue };
                assert_eq!(expand(truncate(sequence), near), sequence, "{sequence} near {near}");
            }
        }
    }
}
