use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    #[default]
    AtRest,
    Busy,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Inner {
    state: State,
    pair: (String, i64),
    byte: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Outer {
    name: String,
    natural: u64,
    integer: i64,
    fraction: f64,
    flag: bool,
    maybe: Option<u32>,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    map: BTreeMap<String, u64>,
    #[serde(default)]
    inner: Inner,
}

/// Fractions that the other reads exactly.
fn fraction() -> impl Strategy<Value = f64> {
    any::<i32>().prop_map(|eighths| f64::from(eighths) / 8.0)
}

prop_compose! {
    fn inner()(busy in any::<bool>(), text in any::<String>(), number in any::<i64>(), byte in any::<u8>()) -> Inner {
        Inner { state: if busy { State::Busy } else { State::AtRest }, pair: (text, number), byte }
    }
}

prop_compose! {
    fn outer()(
        (name, natural, integer, fraction, flag) in (any::<String>(), any::<u64>(), any::<i64>(), fraction(), any::<bool>()),
        maybe in any::<Option<u32>>(),
        list in prop::collection::vec(inner(), 0..4),
        map in prop::collection::btree_map(any::<String>(), any::<u64>(), 0..4),
        inner in inner(),
    ) -> Outer {
        Outer { name, natural, integer, fraction, flag, maybe, list, map, inner }
    }
}

/// Texts that are nearly JSON.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"",
        "\\",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud83d",
        "0",
        "1",
        "-",
        ".",
        "e",
        "E+",
        "12",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\u{1}",
        "é",
        "\"\\n\"",
        "\"\\x\"",
        "[1,2]",
        "{\"a\":1}",
        "1.5e3",
        "1e999",
        "01",
        "-0.5",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_here_and_elsewhere(value in outer()) {
        let text = to_string(&value);
        prop_assert_eq!(&from_str::<Outer>(&text).unwrap(), &value);
        prop_assert_eq!(&serde_json::from_str::<Outer>(&text).unwrap(), &value);
        let theirs = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(&from_slice::<Outer>(theirs.as_bytes()).unwrap(), &value);
    }

    #[test]
    fn what_nothing_asks_for_is_checked_as_elsewhere(text in nearly()) {
        // They take a half of a pair of characters where nothing asks for it.
        prop_assume!(!text.contains("\\ud83d") || text.contains("\\ud83d\\ude00"));
        let ours = from_str::<IgnoredAny>(&text).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{:?}", text);
    }

    #[test]
    fn a_list_is_taken_as_elsewhere(text in nearly()) {
        let ours = from_str::<Vec<Option<f64>>>(&text).ok();
        prop_assert_eq!(ours, serde_json::from_str::<Vec<Option<f64>>>(&text).ok(), "{:?}", text);
    }

    #[test]
    fn a_string_is_taken_as_elsewhere(text in nearly()) {
        let text = format!("\"{text}\"");
        prop_assert_eq!(from_str::<String>(&text).ok(), serde_json::from_str::<String>(&text).ok(), "{:?}", text);
    }

    #[test]
    fn nothing_makes_it_panic(text in any::<String>()) {
        let _ = (from_str::<Outer>(&text), from_str::<Vec<String>>(&text), from_str::<IgnoredAny>(&text));
    }
}

#[test]
fn errors_say_what_and_where() {
    let error = |text: &str| from_str::<Inner>(text).unwrap_err().to_string();
    assert_eq!(error("[]"), "expected '{' at byte 0");
    assert_eq!(error("{\"byte\":300}"), "invalid value: integer `300`, expected u8");
    assert_eq!(error("{\"byte\":\"1\"}"), "expected a number at byte 8");
    assert_eq!(error("{\"byte\":1"), "expected ',' at byte 9");
    assert_eq!(error("{\"byte\":1}}"), "expected the end at byte 10");
    assert_eq!(error("{\"pair\":[\"a\",1,2]}"), "expected ']' at byte 15");
    assert_eq!(error("{\"state\":\"gone\"}"), "unknown variant `gone`, expected `at-rest` or `busy`");
    assert_eq!(from_str::<Outer>("{}").unwrap_err().to_string(), "missing field `name`");
    assert_eq!(
        from_slice::<String>(b"\"\xff\"").unwrap_err().to_string(),
        "invalid utf-8 sequence of 1 bytes from index 1"
    );
}

#[test]
fn what_nothing_asks_for_nests_to_the_bound() {
    let nested = |depth: u32| "[".repeat(depth as usize) + &"]".repeat(depth as usize);
    assert!(from_str::<IgnoredAny>(&nested(DEPTH_MAX)).is_ok());
    assert!(from_str::<IgnoredAny>(&nested(DEPTH_MAX + 1)).is_err());
    assert!(from_str::<IgnoredAny>(&nested(1_000_000)).is_err());
}

#[test]
fn what_has_no_json_is_null() {
    assert_eq!(to_string(&BTreeMap::from([(1, 2)])), "null");
    assert_eq!(to_string(&f64::NAN), "null");
    assert_eq!(to_string(&1.0), "1.0");
}
