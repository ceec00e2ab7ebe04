//! All groups, and who waits for their answers. A mutex guards them; it is held for a step at a time, never over an
//! await. One task ([`super::driving`]) lets time pass and carries saves to the store, in their order.
//!
//! Invariant: every token that is given out is answered or dropped with its channel, at the latest when the registry
//! closes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use event_listener::{Event as Signal, EventListener};

use super::group::{Group, Rules, State};
use super::saved::Saved;
use super::types::{Answer, Effect, Event, GroupError, Token};
use crate::broker::offsets;
use crate::limits;
use crate::metrics::METRICS;
use crate::oneshot::{self, Receiver, Sender};
use crate::store::clock::Clock;
use crate::store::{Space, Store};

/// A row on its way to the store.
#[derive(Debug)]
pub(super) struct Save {
    pub(super) key: Vec<u8>,
    pub(super) row: Vec<u8>,
    /// Whether, and by which number, the group wants to know; else it may wait for another commit.
    pub(super) number: Option<u64>,
}

/// A group and what goes with it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) group: Group,
    /// When the next tick is due, ms.
    due: Option<u64>,
    /// When somebody was last at work here, ms of powered time.
    pub(super) used_ms: u64,
    /// The same, as far as the store knows.
    noted_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) groups: BTreeMap<String, Entry>,
    waiting: HashMap<Token, Sender<Answer>>,
    last_token: Token,
    pub(super) saves: VecDeque<Save>,
    closed: bool,
}

/// What time goes by, and when this start was.
#[derive(Debug)]
enum Time {
    Process(Instant),
    Clock(Arc<dyn Clock>, u64),
}

impl Time {
    fn start(clock: Option<Arc<dyn Clock>>) -> Self {
        match clock {
            Some(clock) => Self::Clock(Arc::clone(&clock), clock.mono_ms()),
            None => Self::Process(Instant::now()),
        }
    }
}

/// All groups.
#[derive(Debug)]
pub(in crate::broker) struct Groups {
    inner: Mutex<Inner>,
    rules: Rules,
    /// Powered time before this start, ms.
    powered_before_ms: u64,
    time: Time,
    /// A save is there, or a time-out has come nearer.
    work: Signal,
}

impl Groups {
    /// The groups as the store has them.
    pub(in crate::broker) fn load(store: &Store, initial_delay_ms: u64, clock: Option<Arc<dyn Clock>>) -> Self {
        let rules = Rules {
            initial_delay_ms,
            new_member_ms: limits::GROUP_NEW_MEMBER_MS,
            members_max: limits::GROUP_MEMBERS_MAX,
            bytes_max: limits::GROUP_BYTES_MAX,
        };
        let rows = store.entries(Space::Group, &[]);
        let powered_before_ms = rows.iter().find_map(|(key, value)| offsets::powered_ms(key, value)).unwrap_or(0);
        let mut groups = BTreeMap::new();
        for (key, value) in &rows {
            let Some((name, is_group)) = offsets::group_of(key) else { continue };
            let saved = is_group.then(|| Saved::decode(value)).flatten();
            if is_group && saved.is_none() {
                log::warn!("what is stored about the members of group {name} can't be read; they will join anew");
            }
            // A group that has only offsets is as old as this start, at most.
            let used_ms = saved.as_ref().map_or(powered_before_ms, |saved| saved.used_ms);
            let noted_ms = saved.as_ref().map(|saved| saved.used_ms);
            let group = saved.map_or_else(|| Group::new(rules), |saved| Group::from_saved(saved, rules, 0));
            // The group's own row comes before those of its offsets.
            let entry = Entry { due: group.due(), group, used_ms, noted_ms };
            groups.entry(name.to_owned()).or_insert(entry);
        }
        let inner = Mutex::new(Inner { groups, ..Inner::default() });
        Self { inner, rules, powered_before_ms, time: Time::start(clock), work: Signal::new() }
    }

    /// The store was opened anew: offsets may be there that were not told to be. What members know was durable.
    pub(in crate::broker) fn rebuild(&self, store: &Store) {
        let rows = store.entries(Space::Group, &[]);
        for (name, _) in rows.iter().filter_map(|(key, _)| offsets::group_of(key)) {
            self.committed(name);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Monotonic time of this start, ms.
    pub(super) fn now(&self) -> u64 {
        match &self.time {
            Time::Process(started) => u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            Time::Clock(clock, started_ms) => clock.mono_ms().saturating_sub(*started_ms),
        }
    }

    /// How long this gateway has run in its life, ms; up to [`super::driving::TIDY`] less after each power cut.
    pub(super) fn powered_ms(&self) -> u64 {
        self.powered_before_ms.saturating_add(self.now())
    }

    /// Resolves when there is something for the driving task.
    pub(super) fn work(&self) -> EventListener {
        self.work.listen()
    }

    /// Steps the group of this name; a join makes it if it isn't there. What is returned has the answer, at once or later.
    ///
    /// # Errors
    /// [`GroupError::UnknownMember`] when there is no such group, or why it can't be made.
    pub(super) fn ask(
        &self,
        name: &str,
        makes: bool,
        event: impl FnOnce(Token) -> Event,
    ) -> Result<Receiver<Answer>, GroupError> {
        let now = self.now();
        let mut inner = self.lock();
        if inner.closed {
            return Err(GroupError::NotAvailable);
        }
        let is_made = makes && !inner.groups.contains_key(name);
        if is_made {
            inner.make(name, self.rules, self.powered_ms())?;
        } else if !inner.groups.contains_key(name) {
            return Err(GroupError::UnknownMember);
        }
        inner.last_token += 1;
        let token = inner.last_token;
        let (sender, receiver) = oneshot::channel();
        inner.waiting.insert(token, sender);
        self.step(&mut inner, name, event(token), now);
        if is_made && inner.is_deserted(name) == Some(true) {
            // Nobody came of it.
            inner.groups.remove(name);
        }
        Ok(receiver)
    }

    /// Whether offsets of `name` may be committed by this member (or by nobody); decided when the writer asks.
    pub(in crate::broker) fn may_commit(
        &self,
        name: &str,
        membership: Option<&super::Membership>,
    ) -> Result<(), GroupError> {
        let event = |token| Event::Commit { token, membership: membership.cloned() };
        let is_member = membership.is_some_and(|membership| membership.generation >= 0);
        let answer = self.ask(name, !is_member, event);
        let answer = match answer {
            // As Kafka says it: the group may have been deleted, or lost with an older version of the store.
            Err(GroupError::UnknownMember) => return Err(GroupError::OldGeneration),
            other => other?,
        };
        match answer.take() {
            Some(Answer::Done(done)) => done,
            _ => Err(GroupError::NotAvailable),
        }
    }

    /// Offsets of this group are durable.
    pub(in crate::broker) fn committed(&self, name: &str) {
        let used_ms = self.powered_ms();
        // There was room for it when the writer asked; a few more than allowed do no harm.
        let new = || Entry { group: Group::new(self.rules), due: None, used_ms, noted_ms: None };
        self.lock().groups.entry(name.to_owned()).or_insert_with(new);
    }

    /// Tells the group of this key that its save is durable, or isn't.
    pub(super) fn saved(&self, key: &[u8], number: u64, ok: bool) {
        let Some((name, _)) = offsets::group_of(key) else { return };
        let now = self.now();
        let mut inner = self.lock();
        if inner.groups.contains_key(name) {
            self.step(&mut inner, name, Event::Saved { number, ok }, now);
        }
    }

    /// Groups without members, and when each was used, ms of powered time.
    pub(super) fn deserted(&self) -> Vec<(String, u64)> {
        let inner = self.lock();
        let deserted = inner.groups.iter().filter(|(_, entry)| entry.group.is_deserted());
        deserted.map(|(name, entry)| (name.clone(), entry.used_ms)).collect()
    }

    /// Has the store told how long the gateway has been powered, if there is any group, and when groups without members
    /// were last used, where it knows that less exactly than `precision_ms`.
    pub(super) fn note_times(&self, precision_ms: u64) {
        let powered_ms = self.powered_ms();
        let mut inner = self.lock();
        if inner.groups.is_empty() {
            return;
        }
        inner.note_used(precision_ms);
        let row = offsets::powered_value(powered_ms).to_vec();
        inner.saves.push_back(Save { key: offsets::POWERED_KEY.to_vec(), row, number: None });
        drop(inner);
        self.work.notify(usize::MAX);
    }

    /// Ticks all groups that are due, and says when the next one is, ms of [`Groups::now`].
    pub(super) fn tick(&self) -> Option<u64> {
        let now = self.now();
        let mut inner = self.lock();
        let is_due = |entry: &Entry| entry.due.is_some_and(|due| due <= now);
        let due: Vec<String> =
            inner.groups.iter().filter(|(_, entry)| is_due(entry)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.step(&mut inner, &name, Event::Tick, now);
        }
        inner.groups.values().filter_map(|entry| entry.due).min()
    }

    /// Refuses all who wait and all who come.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
    }

    fn step(&self, inner: &mut Inner, name: &str, event: Event, now: u64) {
        let used_ms = self.powered_ms();
        let Some(entry) = inner.groups.get_mut(name) else { return };
        if !matches!(event, Event::Tick) {
            entry.used_ms = used_ms;
        }
        let due_before = entry.due;
        let effects = entry.group.step(event, now);
        entry.due = entry.group.due();
        let mut is_work = entry.due.is_some_and(|due| due_before.is_none_or(|before| due < before));
        for effect in effects {
            let number = match effect {
                Effect::Answer(token, answer) => {
                    if let Some(sender) = inner.waiting.remove(&token) {
                        sender.send(answer);
                    }
                    continue;
                }
                Effect::Save { number } => Some(number),
                Effect::SaveLazily => None,
            };
            let row = entry.group.to_save(used_ms).encode();
            entry.noted_ms = Some(used_ms);
            inner.saves.push_back(Save { key: offsets::group_key(name), row, number });
            is_work = true;
        }
        if is_work {
            self.work.notify(usize::MAX);
        }
    }
}

impl Inner {
    /// Makes the group of this name.
    fn make(&mut self, name: &str, rules: Rules, used_ms: u64) -> Result<(), GroupError> {
        if self.groups.len() >= limits::GROUPS_MAX {
            METRICS.kept_refused.add(1);
            return Err(GroupError::TooMany);
        }
        let entry = Entry { group: Group::new(rules), due: None, used_ms, noted_ms: None };
        self.groups.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Has the store told when groups were last used, of those without members where it knows much less.
    fn note_used(&mut self, precision_ms: u64) {
        for (name, entry) in &mut self.groups {
            let noted = entry.noted_ms.is_some_and(|noted| entry.used_ms < noted.saturating_add(precision_ms));
            if noted || !entry.group.is_deserted() {
                continue;
            }
            entry.noted_ms = Some(entry.used_ms);
            let row = entry.group.to_save(entry.used_ms).encode();
            self.saves.push_back(Save { key: offsets::group_key(name), row, number: None });
        }
    }

    /// Whether a group has no members, nor any on the way.
    pub(super) fn is_deserted(&self, name: &str) -> Option<bool> {
        self.groups.get(name).map(|entry| entry.group.is_deserted())
    }
}

impl State {
    /// As Kafka names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_groups_and_no_more() {
        let rules = Rules { initial_delay_ms: 0, new_member_ms: 1, members_max: 1, bytes_max: 1 };
        let mut inner = Inner::default();
        for number in 0..limits::GROUPS_MAX {
            inner.make(&format!("g{number}"), rules, 0).unwrap();
        }
        let refused = METRICS.kept_refused.get();
        assert!(matches!(inner.make("one more", rules, 0), Err(GroupError::TooMany)));
        assert!(METRICS.kept_refused.get() > refused);
        inner.groups.remove("g7");
        inner.make("one more", rules, 0).unwrap();
    }
}
