//! Every client through every scene, and the table of it.

use std::{
    collections::BTreeMap,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{
    common::gateway::Gateway,
    driver::{Client, Lacks, Played},
    groups, records, restarts, topics,
};

/// Clients at a time. They wait more than they compute.
const AT_ONCE: usize = 3;
/// Beginning of an empty cell's or a footnote's text that a table has room for.
const REASON_CHARS: usize = 160;

type Scene = fn(&Client, &mut Gateway) -> Played<String>;

/// The matrix's rows, in the order in which they are played. The restarts come last: they change the gateway's pace.
const SCENES: [(&str, Scene); 17] = [
    ("create topic", |c, g| topics::create(c, g)),
    ("produce, uncompressed", |c, g| records::uncompressed(c, g)),
    ("produce, gzip", |c, g| records::gzip(c, g)),
    ("produce, snappy", |c, g| records::snappy(c, g)),
    ("produce, lz4", |c, g| records::lz4(c, g)),
    ("produce, zstd", |c, g| records::zstd(c, g)),
    ("idempotent producer", |c, g| records::idempotent(c, g)),
    ("consume from the beginning", |c, g| records::consume(c, g)),
    ("group: two members, join and leave", |c, g| groups::two_members(c, g)),
    ("group: commit and resume", |c, g| groups::resume(c, g)),
    ("list, describe, delete group", |c, g| groups::administer(c, g)),
    ("describe topic and settings", |c, g| topics::describe(c, g)),
    ("alter a setting", |c, g| topics::alter(c, g)),
    ("delete records", |c, g| topics::delete_records(c, g)),
    ("delete topic", |c, g| topics::delete(c, g)),
    ("SIGKILL while producing", restarts::produce),
    ("SIGKILL with two group members", restarts::group),
];

/// How a scene went.
#[derive(Clone)]
enum Cell {
    /// With what is to be known of it, or nothing.
    Good(String),
    Lacks(String),
    Failed(String),
}

#[test]
#[ignore = "started by scripts/interop.sh clients"]
fn every_client_plays_every_scene() {
    let clients = Client::all();
    let columns: Mutex<BTreeMap<usize, Vec<Cell>>> = Mutex::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(client) = clients.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let column = play(client);
                    let place = clients.iter().position(|other| std::ptr::eq(other, client)).unwrap();
                    columns.lock().unwrap().insert(place, column);
                }
            });
        }
    });
    let columns: Vec<Vec<Cell>> = columns.into_inner().unwrap().into_values().collect();
    println!("\n{}", table(&clients, &columns));
    let failed = columns.iter().flatten().filter(|cell| matches!(cell, Cell::Failed(_))).count();
    assert_eq!(failed, 0, "cells failed");
}

/// One client's column, with a gateway of its own.
fn play(client: &Client) -> Vec<Cell> {
    let mut gateway = Gateway::start("");
    let scene = |(name, scene): &(&str, Scene)| {
        let begin = Instant::now();
        let played = catch_unwind(AssertUnwindSafe(|| scene(client, &mut gateway)));
        let cell = match played {
            Ok(Ok(note)) => Cell::Good(note),
            Ok(Err(Lacks(why))) => Cell::Lacks(why),
            Err(panic) => {
                if !gateway.runs() {
                    gateway.launch();
                }
                Cell::Failed(words(&*panic))
            }
        };
        println!("{:>6.1} s  {}: {name}: {}", begin.elapsed().as_secs_f32(), client.name, cell.whole());
        cell
    };
    SCENES.iter().map(scene).collect()
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

impl Cell {
    fn whole(&self) -> String {
        match self {
            Cell::Good(note) if note.is_empty() => "ok".to_owned(),
            Cell::Good(note) => format!("ok ({note})"),
            Cell::Lacks(why) => format!("– ({why})"),
            Cell::Failed(what) => format!("FAIL: {what}"),
        }
    }
}

/// In Markdown: a row a scene, a column a client, what is to be said of a cell below.
fn table(clients: &[Client], columns: &[Vec<Cell>]) -> String {
    let mut text = String::new();
    let row = |text: &mut String, head: &str, cells: &mut dyn Iterator<Item = String>| {
        let _ = write!(text, "| {head} |");
        cells.for_each(|cell| {
            let _ = write!(text, " {cell} |");
        });
        text.push('\n');
    };
    row(&mut text, "", &mut clients.iter().map(|client| client.version.clone()));
    row(&mut text, "---", &mut clients.iter().map(|_| "---".to_owned()));
    let mut notes: Vec<String> = Vec::new();
    for (place, (name, _)) in SCENES.iter().enumerate() {
        let mut cell = |column: &Vec<Cell>| {
            let (sign, note) = match &column[place] {
                Cell::Good(note) => ("ok", note),
                Cell::Lacks(why) => ("–", why),
                Cell::Failed(what) => ("FAIL", what),
            };
            if note.is_empty() {
                return sign.to_owned();
            }
            let note: String = note.lines().next().unwrap_or_default().chars().take(REASON_CHARS).collect();
            let number = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
                notes.push(note);
                notes.len() - 1
            });
            format!("{sign} ({})", number + 1)
        };
        row(&mut text, name, &mut columns.iter().map(&mut cell));
    }
    for (number, note) in (1..).zip(&notes) {
        let _ = writeln!(text, "\n({number}) {note}");
    }
    text
}
