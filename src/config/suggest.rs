//! "Did you mean …?": the nearest of the known words, by edit distance.

/// The candidate nearest to `word`, if it is near enough to be a likely slip: at most a third of its letters differ.
/// Letter case does not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No key or flag is longer; and the work per candidate stays bounded whatever a file holds.
    const WORD_CHARS_MAX: usize = 96;
    let word: Vec<char> = word.chars().take(WORD_CHARS_MAX).flat_map(char::to_lowercase).collect();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| distance * 3 <= candidate.chars().count().max(word.len()))
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=candidate.len()).collect();
    for (i, &a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left = i + 1;
        for (j, &b) in candidate.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&previous, j) + usize::from(a != b)).min(at(&previous, j + 1) + 1).min(left + 1);
            let swapped = i > 0 && j > 0 && word.get(i - 1) == Some(&b) && candidate.get(j - 1) == Some(&a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left = best;
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous.last().copied().unwrap_or(word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_likely_word_only() {
        let keys = ["store.max_bytes", "store.segment_bytes", "listen.kafka.addr", "log.level"];
        assert_eq!(nearest("store.max_byte", keys), Some("store.max_bytes"));
        assert_eq!(nearest("store.maxbytes", keys), Some("store.max_bytes"));
        assert_eq!(nearest("Log.Leevl", keys), Some("log.level"));
        assert_eq!(nearest("lsiten.kafka.addr", keys), Some("listen.kafka.addr"));
        assert_eq!(nearest("something.else", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn counts_edits() {
        let of = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ab", "ba"), 1);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("abc", ""), 3);
    }
}
