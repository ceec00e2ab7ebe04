//! Topic names and filters (MQTT 5.0, section 4.7): what they may be, and which filter matches which name.

/// The share's name and the filter of `$share/NAME/FILTER` (section 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared<'a> {
    pub name: &'a str,
    pub filter: &'a str,
}

/// Whether something may be published to this name: it isn't empty, and has no wildcards. That it has no U+0000, the codec
/// has seen to.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#'])
}

/// Whether this is a filter: wildcards stand alone in their level, `#` at the end. What follows `$share/` is looked at by
/// [`shared`].
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut good = !filter.is_empty();
    while let Some(level) = levels.next() {
        good &= match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            level => !level.contains(['+', '#']),
        };
    }
    good
}

/// Takes a shared subscription apart: `None` if the filter isn't one, an error if it begins as one and then isn't.
pub fn shared(filter: &str) -> Option<Result<Shared<'_>, ()>> {
    let rest = filter.strip_prefix("$share/")?;
    let parts = rest.split_once('/').filter(|(name, filter)| is_name(name) && is_filter(filter));
    Some(parts.map(|(name, filter)| Shared { name, filter }).ok_or(()))
}

/// Whether `filter` matches `name`. A wildcard in the first level doesn't match a name that begins with `$` (section 4.7.2).
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filters, mut names) = (filter.split('/'), name.split('/'));
    loop {
        match (filters.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_the_standards_examples() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/b", "a/B", false),
            ("a", "a/b", false),
            ("a/b", "a", false),
        ];
        for (filter, name, expected) in cases {
            assert_eq!(matches(filter, name), expected, "{filter} and {name}");
        }
    }

    #[test]
    fn names_and_filters_are_told_from_what_is_none() {
        for good in ["a", "/", "a//b", "#", "a/#", "+", "+/b/#", "$SYS/+"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a#", "a/#/b", "a+", "+a/b", "##"] {
            assert!(!is_filter(bad), "{bad}");
        }
        assert!(is_name("a/b") && !is_name("") && !is_name("a/+") && !is_name("#"));
    }

    #[test]
    fn shares_are_taken_apart() {
        assert_eq!(shared("a/b"), None);
        assert_eq!(shared("$share/s/a/+"), Some(Ok(Shared { name: "s", filter: "a/+" })));
        for bad in ["$share/s", "$share//a", "$share/s/", "$share/+/a", "$share/s/a#"] {
            assert_eq!(shared(bad), Some(Err(())), "{bad}");
        }
    }
}
