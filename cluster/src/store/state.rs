//! What is stored now, in memory: the objects in key order and the history. Pure: no disk, no clock, no waiting.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

use super::history::{History, HistoryLimits};
use super::watch::{Change, Event};
use super::{Expect, Key, Listing, Page, Range, StoreError, Write};
use crate::api::meta;

/// The objects and their recent past. `revision` is that of the newest event.
#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) objects: BTreeMap<Key, Arc<Value>>,
    pub(super) history: History,
}

/// A write that will happen once it is durable.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) event: Arc<Event>,
    /// What goes to the disk for the object; empty for a deletion.
    pub(super) bytes: Vec<u8>,
}

impl State {
    pub(super) fn new(limits: HistoryLimits, revision: u64, oldest: u64) -> Self {
        Self { revision, objects: BTreeMap::new(), history: History::new(limits, oldest) }
    }

    /// The object of a key, with the writes planned before this one taken into account.
    fn current<'a>(&'a self, planned: &'a [Planned], key: &Key) -> Option<&'a Arc<Value>> {
        match planned.iter().rev().find(|planned| planned.event.key == *key) {
            Some(planned) => planned.event.change.after(),
            None => self.objects.get(key),
        }
    }

    /// Checks a write and gives it its revision.
    pub(super) fn plan(&self, planned: &[Planned], write: Write) -> Result<Planned, StoreError> {
        let current = self.current(planned, &write.key);
        let holds = match (write.expect, current) {
            (Expect::Absent, None) => true,
            (Expect::Revision(revision), Some(object)) => meta::resource_version(object) == revision.to_string(),
            _ => false,
        };
        if !holds || (current.is_none() && write.value.is_none()) {
            return Err(StoreError::Conflict { current: current.cloned() });
        }
        let revision = self.revision + planned.len() as u64 + 1;
        let stamped = |mut value: Value| {
            meta::metadata(&mut value).insert("resourceVersion".to_owned(), json!(revision.to_string()));
            Arc::new(value)
        };
        let (change, bytes) = match (current.cloned(), write.value) {
            (Some(before), None) => {
                let last = stamped(Value::clone(&before));
                (Change::Deleted { before, last }, Vec::new())
            }
            (before, Some(value)) => {
                let after = stamped(value);
                let bytes = after.to_string().into_bytes();
                match before {
                    None => (Change::Created { after }, bytes),
                    Some(before) => (Change::Updated { before, after }, bytes),
                }
            }
            (None, None) => return Err(StoreError::Conflict { current: None }),
        };
        Ok(Planned { event: Arc::new(Event { revision, key: write.key, change }), bytes })
    }

    /// Makes a write visible.
    pub(super) fn apply(&mut self, event: Arc<Event>, bytes: usize) {
        debug_assert_eq!(event.revision, self.revision + 1);
        self.revision = event.revision;
        match event.change.after() {
            Some(after) => drop(self.objects.insert(event.key.clone(), Arc::clone(after))),
            None => drop(self.objects.remove(&event.key)),
        }
        self.history.push(event, bytes);
    }

    /// The objects of a page.
    pub(super) fn list(&self, range: &Range, page: &Page) -> Result<Listing, StoreError> {
        let limit = page.limit.unwrap_or(usize::MAX);
        let first = page.after.clone().map_or(Bound::Included(Key::from(range.prefix().to_owned())), Bound::Excluded);
        let asked = page.at.unwrap_or(self.revision);
        if asked > self.revision {
            return Err(StoreError::Future { asked, current: self.revision });
        }
        let now = self.objects.range((first.clone(), Bound::Unbounded)).take_while(|(key, _)| range.contains(key));
        let mut objects: Vec<Arc<Value>> = Vec::new();
        let mut count = 0;
        let mut take = |object: &Arc<Value>| {
            count += 1;
            if count <= limit {
                objects.push(Arc::clone(object));
            }
        };
        if asked == self.revision {
            now.for_each(|(_, object)| take(object));
        } else {
            let mut then: BTreeMap<&Key, &Arc<Value>> = now.collect();
            self.undo(range, asked, &mut then)?;
            then.range::<Key, _>((first.as_ref(), Bound::Unbounded)).for_each(|(_, object)| take(object));
        }
        Ok(Listing { revision: asked, remaining: count - objects.len(), objects })
    }

    /// Takes a range back to what it was at a revision.
    fn undo<'a>(
        &'a self,
        range: &Range,
        at: u64,
        objects: &mut BTreeMap<&'a Key, &'a Arc<Value>>,
    ) -> Result<(), StoreError> {
        for event in self.history.since(at)?.rev().filter(|event| range.contains(&event.key)) {
            match event.change.before() {
                Some(before) => objects.insert(&event.key, before),
                None => objects.remove(&event.key),
            };
        }
        Ok(())
    }
}
