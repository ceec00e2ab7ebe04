//! The README's examples are true: every piece of configuration is accepted, and every command has the options that it
//! is shown with.
#![cfg(feature = "gateway")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

use std::{fs, process::Command};

const README: &str = include_str!("../README.md");

/// The code blocks of a language, each without its fences.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

/// What a program printed on both ways, and whether it was content.
fn brooklet(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_brooklet")).args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn every_configuration_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("brooklet.toml");
    let shown = blocks("toml");
    assert!(shown.len() >= 7, "{} blocks found", shown.len());
    for text in shown {
        fs::write(&file, text).unwrap();
        // The certificates and passwords that it names are not here.
        let (accepted, said) = brooklet(&["check", "--no-files", file.to_str().unwrap()]);
        assert!(accepted, "{text}\n{said}");
    }
}

#[test]
fn every_command_has_the_options_that_it_is_shown_with() {
    let mut lines = 0;
    for line in blocks("sh").into_iter().flat_map(str::lines) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if !words.any(|word| word == "brooklet") {
            continue;
        }
        let words: Vec<&str> = words.collect();
        let names: Vec<&str> = words
            .iter()
            .copied()
            .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-'))
            .collect();
        // A command has one word or two; the second may be an argument.
        let help = (1..=names.len().min(2)).rev().map(|count| brooklet(&[&["help"], &names[..count]].concat()));
        let Some((_, help)) = help.into_iter().find(|(known, _)| *known) else { panic!("{line}: no such command") };
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{line}: no {option} in\n{help}");
        }
        lines += 1;
    }
    assert!(lines >= 40, "{lines} commands found");
}
