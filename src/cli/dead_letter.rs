//! `brooklet dead-letter`: records that a cluster upstream refused for what they are.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    table::Table,
    term::{self, human_bytes},
    when,
};
use crate::executor::block_on;
use crate::{
    broker::dead_letter::{LetterList, LettersSettled},
    frame::LetterAction,
    json,
};

const WHICH: Positional =
    Positional { name: "LETTERS", required: false, help: "One by its number, or a range as 3-17" };
const ALL: Opt = Opt::switch("all", "All that there are");

pub(super) static LIST: Spec = Spec {
    name: "dead-letter list",
    summary: "List records that upstream refused: why, and where they came from",
    positionals: &[WHICH],
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "A letter's number is its offset in the topic brooklet.dead-letter; `brooklet consume brooklet.dead-letter`\n\
              shows the records themselves.",
};

pub(super) static RETRY: Spec = Spec {
    name: "dead-letter retry",
    summary: "Put refused records back into their topics",
    positionals: &[WHICH],
    options: &[ALL],
    shared: &[connect::OPTIONS, JSON],
    details: "Each record goes to the end of the partition it was in, once, and is forwarded from there, by all uplinks that\n\
              follow its topic. First mend what was wrong: raise max.message.bytes upstream, for example.",
};

pub(super) static DROP: Spec = Spec {
    name: "dead-letter drop",
    summary: "Let refused records go",
    positionals: &[WHICH],
    options: &[ALL],
    shared: &[connect::OPTIONS, JSON],
    details: "The loss ledger keeps them: `brooklet losses`.",
};

/// Arguments of all three.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LetterArgs {
    first: i64,
    last: i64,
    target: Target,
    json: bool,
}

impl LetterArgs {
    pub(super) fn parse(args: &mut Parsed, settles: bool) -> Result<LetterArgs, CliError> {
        let which = args.optional_positional("LETTERS")?;
        let all = settles && args.switch("all");
        let (first, last) = match which {
            Some(_) if all => return Err(args.usage("either LETTERS or --all")),
            Some(text) => range(&text)
                .ok_or_else(|| args.usage(format!("{text:?} is no letter's number, and no range as 3-17")))?,
            None if settles && !all => return Err(args.usage("which ones? LETTERS, or --all")),
            None => (0, i64::MAX),
        };
        Ok(LetterArgs { first, last, target: Target::parse(args)?, json: args.switch("json") })
    }
}

/// A number, or two with a hyphen between.
fn range(text: &str) -> Option<(i64, i64)> {
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    match text.split_once('-') {
        None => number(text).map(|number| (number, number)),
        Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
    }
}

/// Runs `dead-letter list`.
///
/// # Errors
/// No gateway, or its store can't be read.
pub(super) fn list(args: &LetterArgs) -> Result<(), CliError> {
    let list = block_on(async {
        let mut connection = args.target.connect().await?;
        let (mut all, mut from) = (LetterList::default(), Some(args.first));
        while let Some(first) = from {
            let json = connection.dead_letters(LetterAction::List, first, args.last).await?;
            let some: LetterList = read(&json)?;
            all.letters.extend(some.letters);
            from = some.next;
        }
        Ok::<_, CliError>(all)
    })?;
    if args.json {
        let json = json::to_string(&list);
        return term::print(&format!("{json}\n"));
    }
    if list.letters.is_empty() {
        term::note("no letters: upstream has refused no record");
        return Ok(());
    }
    term::print(&table(&list))
}

fn table(list: &LetterList) -> String {
    let mut table = Table::new(&[">LETTER", "WHEN", "CAUSE", "UPLINK", "FROM", "KEY", ">BYTES", "ERROR"]);
    for letter in &list.letters {
        table.row([
            letter.letter.to_string(),
            when::format_time(letter.time_ms),
            letter.cause.clone(),
            letter.uplink.clone(),
            format!("{}/{} {}", letter.topic, letter.partition, letter.offset),
            letter.key.clone().unwrap_or_else(|| "-".to_owned()),
            letter.value_missing.clone().unwrap_or_else(|| human_bytes(letter.value_bytes)),
            letter.error.clone(),
        ]);
    }
    table.render()
}

/// Runs `dead-letter retry`.
///
/// # Errors
/// No gateway, its store did not take them, or letters that can't be retried.
pub(super) fn retry(args: &LetterArgs) -> Result<(), CliError> {
    settle(args, LetterAction::Retry, "put back")
}

/// Runs `dead-letter drop`.
///
/// # Errors
/// As [`retry`].
pub(super) fn drop_letters(args: &LetterArgs) -> Result<(), CliError> {
    settle(args, LetterAction::Drop, "dropped")
}

fn settle(args: &LetterArgs, action: LetterAction, done: &str) -> Result<(), CliError> {
    let json = block_on(async {
        let mut connection = args.target.connect().await?;
        Ok::<_, CliError>(connection.dead_letters(action, args.first, args.last).await?)
    })?;
    let settled: LettersSettled = read(&json)?;
    if args.json {
        term::print(&format!("{json}\n"))?;
    } else {
        term::note(&format!("{} {done}", letters(settled.settled)));
        for (letter, why) in &settled.refused {
            term::note(&format!("letter {letter} is left as it is: {why}"));
        }
    }
    match settled.refused.len() {
        0 => Ok(()),
        left => Err(CliError::Failed(format!("{} left", letters(left as u64)))),
    }
}

fn letters(count: u64) -> String {
    if count == 1 { "1 letter".to_owned() } else { format!("{count} letters") }
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, CliError> {
    json::from_str(json).map_err(|error| CliError::Failed(format!("the gateway's answer cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::dead_letter::LetterReport;

    #[test]
    fn letters_are_named_by_number_or_range() {
        assert_eq!([range("7"), range("3-17"), range("5-5")], [Some((7, 7)), Some((3, 17)), Some((5, 5))]);
        assert!(["", "x", "-3", "7-3", "3-", "1-2-3"].iter().all(|text| range(text).is_none()));
    }

    #[test]
    fn a_table_says_why_and_whence() {
        let letter = LetterReport {
            letter: 3,
            cause: "too-large".to_owned(),
            error: "see max.message.bytes".to_owned(),
            topic: "temp".to_owned(),
            offset: 9,
            value_bytes: 2_048,
            ..LetterReport::default()
        };
        let text = table(&LetterList { letters: vec![letter], next: None });
        for said in ["too-large", "temp/0 9", "see max.message.bytes"] {
            assert!(text.contains(said), "{text}");
        }
    }
}
