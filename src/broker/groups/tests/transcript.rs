//! Transcripts: `transcripts/*.txt` hold what happens to a group and, indented, what comes of it. A test does what is
//! told and compares. `BROOKLET_BLESS=1` writes what came, for a person to read before it is kept.
//!
//! A line is `MS VERB …`: `join new|ID [name=INSTANCE] [with=A,B] [type=T] [session=MS] [rebalance=MS] [first] [skip]`,
//! `sync ID gN [ID=ASSIGNMENT,…]`, `beat ID gN`, `leave ID…`, `commit [ID gN]`, `saved N [failed]`, `restart`, `wait`.
//! An ID may be `ID/INSTANCE`. Time-outs that lie between two lines happen, and are shown as `tick`.

use std::fmt::Write;
use std::path::Path;

use super::super::group::{Group, Rules};
use super::super::saved::Saved;
use super::super::types::{Answer, Claim, Effect, Event, JoinGroup, Joined, Membership, Opaque, SyncGroup, Token};

pub(super) const RULES: Rules = Rules { initial_delay_ms: 50, new_member_ms: 300_000, members_max: 4, bytes_max: 400 };

/// A group in a transcript.
struct Scene {
    group: Group,
    now: u64,
    next_token: Token,
    next_member: usize,
    saved: Option<Saved>,
    out: String,
}

impl Scene {
    fn new() -> Self {
        let group = Group::new(RULES);
        Self { group, now: 0, next_token: 1, next_member: 1, saved: None, out: String::new() }
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let at: u64 = words.next().unwrap().parse().unwrap();
        while let Some(due) = self.group.due().filter(|due| *due <= at) {
            self.now = due;
            writeln!(self.out, "{due} tick").unwrap();
            self.step(Event::Tick);
        }
        self.now = at;
        writeln!(self.out, "{line}").unwrap();
        let verb = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let token = self.next_token;
        let event = match (verb, words.as_slice()) {
            ("join", [who, options @ ..]) => {
                let fresh_id = format!("m{}", self.next_member);
                self.next_member += usize::from(*who == "new");
                Event::Join { token, fresh_id, join: join(who, options) }
            }
            ("sync", [who, generation, assignments @ ..]) => {
                let assignments = assignments.iter().flat_map(|list| list.split(',')).map(|pair| {
                    let (member, bytes) = pair.split_once('=').unwrap();
                    (member.to_owned(), Opaque::from(bytes.as_bytes()))
                });
                let membership = membership(who, generation);
                let assignments = assignments.collect();
                Event::Sync { token, sync: SyncGroup { membership, protocol_type: None, protocol: None, assignments } }
            }
            ("beat", [who, generation]) => Event::Heartbeat { token, membership: membership(who, generation) },
            ("leave", who) => Event::Leave { token, members: who.iter().map(|who| claim(who)).collect() },
            ("commit", []) => Event::Commit { token, membership: None },
            ("commit", [who, generation]) => Event::Commit { token, membership: Some(membership(who, generation)) },
            ("saved", [number, failed @ ..]) => Event::Saved { number: number.parse().unwrap(), ok: failed.is_empty() },
            ("restart", []) => return self.restart(),
            ("wait", []) => return,
            _ => panic!("{line}"),
        };
        if !matches!(event, Event::Saved { .. }) {
            self.next_token += 1;
            let at = self.out.trim_end().len();
            self.out.truncate(at);
            writeln!(self.out, "  #{token}").unwrap();
        }
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let before = (self.group.state, self.group.generation);
        for effect in self.group.step(event, self.now) {
            match effect {
                Effect::Answer(token, answer) => writeln!(self.out, "    #{token} {}", told(&answer)),
                Effect::Save { number } => {
                    self.saved = Some(self.group.to_save(0));
                    writeln!(self.out, "    save {number}")
                }
                Effect::SaveLazily => {
                    self.saved = Some(self.group.to_save(0));
                    writeln!(self.out, "    save lazily")
                }
            }
            .unwrap();
        }
        let after = (self.group.state, self.group.generation);
        if after != before {
            writeln!(self.out, "    = {:?} g{}", after.0, after.1).unwrap();
        }
    }

    fn restart(&mut self) {
        let bytes = self.saved.clone().unwrap().encode();
        self.group = Group::from_saved(Saved::decode(&bytes).unwrap(), RULES, self.now);
        writeln!(self.out, "    = {:?} g{}", self.group.state, self.group.generation).unwrap();
    }
}

pub(super) fn claim(who: &str) -> Claim {
    let (id, instance) = who.split_once('/').map_or((who, None), |(id, instance)| (id, Some(instance)));
    Claim { member_id: if id == "new" { "" } else { id }.to_owned(), instance_id: instance.map(str::to_owned) }
}

fn membership(who: &str, generation: &str) -> Membership {
    Membership { claim: claim(who), generation: generation.strip_prefix('g').unwrap().parse().unwrap() }
}

fn join(who: &str, options: &[&str]) -> JoinGroup {
    let value = |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    let protocols = value("with").unwrap_or("range").split(',').filter(|name| !name.is_empty());
    JoinGroup {
        claim: Claim { instance_id: value("name").map(str::to_owned), ..claim(who) },
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_ms: value("session").unwrap_or("10000").parse().unwrap(),
        rebalance_ms: value("rebalance").unwrap_or("60000").parse().unwrap(),
        protocol_type: value("type").unwrap_or("consumer").to_owned(),
        protocols: protocols.map(|name| (name.to_owned(), Opaque::from(name.as_bytes()))).collect(),
        id_first: options.contains(&"first"),
        can_skip: options.contains(&"skip"),
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Joined(Ok(joined)) => told_joined(joined),
        Answer::Joined(Err(refused)) => format!("refused {:?} id={}", refused.error, refused.member_id),
        Answer::Synced(Ok(synced)) => format!("synced {:?}", String::from_utf8_lossy(&synced.assignment)),
        Answer::Synced(Err(error)) => format!("refused {error:?}"),
        Answer::Done(Ok(())) => "ok".to_owned(),
        Answer::Done(Err(error)) => format!("refused {error:?}"),
        Answer::Left(outcomes) => format!("left {outcomes:?}"),
    }
}

fn told_joined(joined: &Joined) -> String {
    let mut text = format!("joined {} g{} {}", joined.member_id, joined.generation, joined.protocol);
    write!(text, " leader={}", joined.leader).unwrap();
    if !joined.members.is_empty() {
        let one = |m: &super::super::types::JoinedMember| match &m.instance_id {
            Some(instance) => format!("{}/{instance}", m.member_id),
            None => m.member_id.clone(),
        };
        write!(text, " of {}", joined.members.iter().map(one).collect::<Vec<_>>().join(" ")).unwrap();
    }
    if joined.skip_assignment {
        text.push_str(" skip");
    }
    text
}

/// Does what the transcript tells; what it says must come of it is left out.
fn run(text: &str) -> String {
    let mut scene = Scene::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with("//") {
            scene.out.push_str(line);
            scene.out.push('\n');
        } else if line.trim() == "---" {
            let out = std::mem::take(&mut scene.out);
            scene = Scene::new();
            scene.out = format!("{out}---\n");
        } else if !line.starts_with(' ') && !line.ends_with(" tick") {
            let command = line.split("  #").next().unwrap();
            scene.line(command);
        }
    }
    scene.out
}

#[test]
fn transcripts_are_what_happens() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker/groups/tests/transcripts");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let kept = std::fs::read_to_string(&path).unwrap();
        let came = run(&kept);
        if std::env::var_os("BROOKLET_BLESS").is_some() {
            std::fs::write(&path, &came).unwrap();
        } else {
            assert!(kept == came, "{} has changed; it is now:\n{came}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen} transcripts");
}
