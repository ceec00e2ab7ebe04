//! Random events, power cuts among them, against what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::group::Group;
use super::super::saved::Saved;
use super::super::types::{Answer, Claim, Effect, Event, JoinGroup, Membership, Opaque, SyncGroup, Token};
use super::transcript::RULES;

/// What a client knows of its membership.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    instance_id: Option<String>,
    generation: i32,
    /// To be assigned by it.
    members: Vec<String>,
    waits: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Join(usize),
    Sync(usize),
    Commit(usize),
    Other,
}

struct World {
    group: Group,
    now: u64,
    clients: Vec<Client>,
    asked: BTreeMap<Token, Asked>,
    next: u64,
    /// On their way to the disk, in order.
    saves: Vec<(Option<u64>, Saved)>,
    durable: Saved,
    /// Generation and partition, and to which id it was given.
    given: BTreeMap<(i32, u8), String>,
    /// Generation, and the leader and protocol that members were told; forgotten in a power cut unless assigned.
    told: BTreeMap<i32, (String, String)>,
}

impl World {
    fn new() -> Self {
        let clients = (0..5)
            .map(|i| Client { instance_id: (i >= 3).then(|| format!("i{}", i % 2)), ..Client::default() })
            .collect();
        let group = Group::new(RULES);
        let durable = group.to_save(0);
        Self {
            group,
            now: 0,
            clients,
            asked: BTreeMap::new(),
            next: 1,
            saves: Vec::new(),
            durable,
            given: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    fn token(&mut self, asked: Asked) -> Token {
        self.next += 1;
        self.asked.insert(self.next, asked);
        self.next
    }

    fn claim(&self, client: usize) -> Claim {
        let client = &self.clients[client];
        Claim { member_id: client.id.clone(), instance_id: client.instance_id.clone() }
    }

    fn act(&mut self, kind: u8, who: usize, pass_ms: u64) {
        self.pass(pass_ms);
        let claim = self.claim(who);
        let membership = Membership { claim: claim.clone(), generation: self.clients[who].generation };
        let event = match kind {
            0..=3 => {
                let token = self.token(Asked::Join(who));
                self.clients[who].waits = Some(token);
                let fresh_id = format!("m{}", self.next);
                Event::Join { token, fresh_id, join: join(claim, who) }
            }
            4..=7 => {
                let members = self.clients[who].members.clone();
                let one = |(i, id): (usize, &String)| (id.clone(), Opaque::from([i as u8, i as u8 + 100]));
                let assignments = members.iter().enumerate().map(one).collect();
                let token = self.token(Asked::Sync(who));
                self.clients[who].waits = Some(token);
                Event::Sync { token, sync: SyncGroup { membership, protocol_type: None, protocol: None, assignments } }
            }
            8 => Event::Heartbeat { token: self.token(Asked::Other), membership },
            9 => Event::Commit { token: self.token(Asked::Commit(who)), membership: Some(membership) },
            10 if self.clients[who].id.is_empty() => return,
            10 => Event::Leave { token: self.token(Asked::Other), members: vec![claim] },
            11..=13 => return self.store(kind < 13),
            14 => return self.clients[who].id.clear(),
            _ => return self.cut_power(who.is_multiple_of(2)),
        };
        self.step(event);
    }

    fn pass(&mut self, pass_ms: u64) {
        let until = self.now + pass_ms;
        while let Some(due) = self.group.due().filter(|due| *due <= until) {
            assert!(due >= self.now || self.now == until, "due {due} lies before {}", self.now);
            self.now = due.max(self.now);
            self.step(Event::Tick);
            assert!(self.group.due().is_none_or(|due| due > self.now), "a tick leaves nothing that is due");
        }
        self.now = until;
    }

    fn step(&mut self, event: Event) {
        for effect in self.group.step(event, self.now) {
            match effect {
                Effect::Answer(token, answer) => self.answered(token, answer),
                Effect::Save { number } => self.saves.push((Some(number), self.group.to_save(0))),
                Effect::SaveLazily => self.saves.push((None, self.group.to_save(0))),
            }
        }
        self.check();
    }

    fn answered(&mut self, token: Token, answer: Answer) {
        let asked = self.asked.remove(&token).expect("a token is answered once");
        match (asked, answer) {
            (Asked::Join(who), Answer::Joined(Ok(joined))) => {
                let seen = (joined.leader.clone(), joined.protocol.clone());
                let told = self.told.entry(joined.generation).or_insert_with(|| seen.clone());
                assert_eq!(told.1, seen.1, "one protocol a generation");
                let client = &mut self.clients[who];
                (client.id, client.generation) = (joined.member_id, joined.generation);
                client.members = joined.members.into_iter().map(|member| member.member_id).collect();
            }
            (Asked::Join(who), Answer::Joined(Err(refused))) => self.clients[who].id = refused.member_id,
            (Asked::Sync(who), Answer::Synced(Ok(synced))) => {
                let client = &self.clients[who];
                for partition in synced.assignment.iter() {
                    // The heir of a static member has its partitions, under another id.
                    let owner = client.instance_id.clone().unwrap_or_else(|| client.id.clone());
                    let before = self.given.insert((self.group.generation, *partition), owner.clone());
                    assert!(before.is_none_or(|before| before == owner), "a partition has two owners");
                }
            }
            (Asked::Commit(who), Answer::Done(Ok(()))) => {
                assert_eq!(self.clients[who].generation, self.group.generation, "a commit of an old generation");
            }
            _ => {}
        }
    }

    fn store(&mut self, ok: bool) {
        if self.saves.is_empty() {
            return;
        }
        let (number, saved) = self.saves.remove(0);
        if ok {
            self.durable = saved;
        }
        if let Some(number) = number {
            self.step(Event::Saved { number, ok });
        }
    }

    fn cut_power(&mut self, after_commit: bool) {
        if after_commit && !self.saves.is_empty() {
            self.durable = self.saves.remove(0).1;
        }
        self.saves.clear();
        self.asked.clear();
        let saved = Saved::decode(&self.durable.encode()).unwrap();
        self.group = Group::from_saved(saved, RULES, self.now);
        let generation = self.group.generation;
        self.told.retain(|told, _| *told <= generation);
        self.check();
    }

    fn check(&self) {
        let group = &self.group;
        let ids: BTreeSet<&String> = group.members.iter().map(|member| &member.id).collect();
        assert_eq!(ids.len(), group.members.len(), "two members of one id");
        let names: Vec<&String> = group.members.iter().filter_map(|member| member.instance_id.as_ref()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two members of one name");
        assert!(group.members.len() + group.promised.len() <= RULES.members_max + 1);
        assert!(group.bytes() <= RULES.bytes_max);
        let waiting: BTreeSet<Token> = group
            .members
            .iter()
            .flat_map(|m| m.joining.map(|joining| joining.token).into_iter().chain(m.syncing))
            .collect();
        let open: BTreeSet<Token> = self.asked.keys().copied().collect();
        assert_eq!(waiting, open, "who waits is known, and nobody else");
        assert!(open.is_empty() || group.due().is_some() || !self.saves.is_empty(), "nobody waits for ever");
    }
}

fn join(claim: Claim, who: usize) -> JoinGroup {
    let names = if who == 2 { ["sticky", "range"] } else { ["range", "sticky"] };
    JoinGroup {
        claim,
        client_id: String::new(),
        client_host: String::new(),
        session_ms: 6_000,
        rebalance_ms: 3_000 * (who as u64 + 1),
        protocol_type: "consumer".to_owned(),
        protocols: names.into_iter().map(|name| (name.to_owned(), Opaque::from([0]))).collect(),
        id_first: who == 1,
        can_skip: who == 3,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(events in prop::collection::vec((0u8..16, 0usize..5, 0u64..3_000), 1..120)) {
        let mut world = World::new();
        for (kind, who, pass_ms) in events {
            // Power cuts, failing disks and forgetful clients are rarer than the rest.
            let kind = if kind >= 13 && pass_ms > 600 { kind % 8 } else { kind };
            world.act(kind, who, if pass_ms > 1_500 { 10 } else { pass_ms });
        }
    }
}
