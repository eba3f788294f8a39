//! A request's events: which are good, and the partition of each.
#![forbid(unsafe_code)]

use memchr::memchr;

use crate::parse::Parser;
use crate::scan::{at, blank};
use crate::table::Table;

/// How devices are spread over partitions.
pub struct Spread<'a> {
    pub seed: u32,                // the hash of the fleet, which a device's key continues
    pub header: Option<&'a [u8]>, // what names the device of events that do not
    pub partitions: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Partition(u32),
    Anywhere,
    Left, // for Python to judge
}

/// Begin and end of an event in the body, and its place.
pub type Event = (usize, usize, Place);

struct Judge<'t, 'a> {
    parser: Parser<'t>,
    spread: Spread<'a>,
    key: usize,
    longest: usize,
}

impl Judge<'_, '_> {
    /// The end and the place of a good event at `p`.
    fn event(&mut self, body: &[u8], p: usize) -> Option<(usize, Place)> {
        self.parser.columns[self.key].take_back(0);
        let end = self.parser.event(body, p).filter(|end| end - p <= self.longest)?;
        let own = self.parser.columns[self.key].get(0).filter(|key| !key.is_empty());
        let place = match own.or(self.spread.header) {
            Some(key) => {
                let mut hash = crc32fast::Hasher::new_with_initial(self.spread.seed);
                hash.update(key);
                Place::Partition(hash.finalize() % self.spread.partitions)
            }
            None => Place::Anywhere,
        };
        Some((end, place))
    }
}

fn judge<'t, 'a>(table: &'t Table, spread: Spread<'a>, longest: usize) -> Judge<'t, 'a> {
    Judge { parser: Parser::new(table, 1, Some(table.key)), spread, key: table.key, longest }
}

/// The events of an NDJSON body: its lines, without blanks around them and without those that are blank.
pub fn ndjson(table: &Table, body: &[u8], spread: Spread, longest: usize) -> Vec<Event> {
    let mut judge = judge(table, spread, longest);
    let mut events = Vec::new();
    let mut p = 0;
    while p < body.len() {
        p = blank(body, p);
        if let Some((end, place)) = judge.event(body, p) {
            let stop = blank(body, end);
            if body.get(stop).is_none_or(|&c| c == b'\n') {
                events.push((p, end, place));
                p = stop + 1;
                continue;
            }
        }
        let stop = memchr(b'\n', &body[p.min(body.len())..]).map_or(body.len(), |length| p + length);
        let mut end = stop;
        while end > p && matches!(body[end - 1], b' ' | b'\t' | b'\r') {
            end -= 1;
        }
        if end > p {
            events.push((p, end, Place::Left));
        }
        p = stop + 1;
    }
    events
}

fn between(b: &[u8], mut p: usize) -> usize {
    while matches!(at(b, p), b' ' | b'\t' | b'\r' | b'\n') {
        p += 1;
    }
    p
}

/// The events of a JSON array; None where one of them is not surely good, or it is no array.
pub fn array(table: &Table, body: &[u8], spread: Spread, longest: usize) -> Option<Vec<Event>> {
    let mut judge = judge(table, spread, longest);
    let mut events = Vec::new();
    let mut p = between(body, 0);
    if at(body, p) != b'[' {
        return None;
    }
    loop {
        p = between(body, p + 1);
        let (end, place) = judge.event(body, p)?;
        events.push((p, end, place));
        p = between(body, end);
        match at(body, p) {
            b',' => {}
            b']' => break,
            _ => return None,
        }
    }
    (between(body, p + 1) == body.len()).then_some(events)
}
