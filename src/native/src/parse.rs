//! One line after another into columns. A line is taken only where the table allows each of its bytes.
#![forbid(unsafe_code)]

use crate::columns::Column;
use crate::formats;
use crate::number;
use crate::scan::{at, blank, plain_end, unescape};
use crate::table::{Field, Kind, Table, EVENT};

const DEEPEST: usize = 8; // of a JSON value that is kept as text
const MOST_KEYS: usize = 32; // of an object in it

pub struct Parser<'t> {
    table: &'t Table,
    pub columns: Vec<Column>,
    pub row: usize,
    only: Option<usize>, // the one column that is kept
    followers: Vec<Vec<u8>>, // of each object, by form and field: the field that came behind it last
    scratch: Vec<u8>,
    form: usize, // of the event
    wrapped: bool,
}

/// Where a string is: in the line, or unescaped in the scratch.
struct Text {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'t> Parser<'t> {
    /// For `rows` rows at most; `only` one column is kept where that is enough.
    pub fn new(table: &'t Table, rows: usize, only: Option<usize>) -> Self {
        Parser {
            table,
            columns: table.columns.iter().map(|&kind| Column::new(kind, rows)).collect(),
            row: 0,
            only,
            followers: table
                .objects
                .iter()
                .map(|object| {
                    let count = object.fields.len();
                    // at first, the order of the model
                    (0..object.forms.len() + 1).flat_map(|_| (0..=count).map(|f| f as u8)).collect()
                })
                .collect(),
            scratch: Vec::new(),
            form: 0,
            wrapped: false,
        }
    }

    /// Takes an envelope; where it ends.
    pub fn envelope(&mut self, b: &[u8], p: usize, received_at: i64) -> Option<usize> {
        self.wrapped = false;
        let table = self.table;
        let end = self.object(b, p, table.objects.len() - 1)?.0;
        let received = &mut self.columns[table.received];
        if !received.has(self.row) {
            received.int(self.row, received_at)?;
        }
        let form = &table.objects[EVENT].forms[self.form];
        if let Some((from, to)) = form.copy {
            self.scratch.clear();
            if let Some(text) = self.columns[from].get(self.row) {
                self.scratch.extend_from_slice(text);
                self.columns[to].text(self.row, &self.scratch, 0, self.scratch.len())?;
            }
        }
        Some(end)
    }

    /// Takes a bare event; where it ends.
    pub fn event(&mut self, b: &[u8], p: usize) -> Option<usize> {
        self.wrapped = false;
        Some(self.object(b, p, EVENT)?.0)
    }

    pub fn take_back(&mut self) {
        for column in &mut self.columns {
            column.take_back(self.row);
        }
    }

    #[inline(always)]
    fn keeps(&self, column: usize) -> bool {
        self.only.is_none_or(|only| only == column)
    }

    /// A string from behind its opening quote; where it ends, behind its closing one.
    #[inline(always)]
    fn string(&mut self, b: &[u8], p: usize) -> Option<(Text, usize)> {
        let (stop, wide) = plain_end(b, p)?;
        if b[stop] == b'"' {
            if wide {
                std::str::from_utf8(b.get(p..stop)?).ok()?;
            }
            return Some((Text { start: p, end: stop, escaped: false }, stop + 1));
        }
        self.scratch.clear();
        let end = unescape(b, p, &mut self.scratch)?;
        Some((Text { start: 0, end: self.scratch.len(), escaped: true }, end))
    }

    #[inline(always)]
    fn bytes<'a>(&'a self, b: &'a [u8], text: &Text) -> &'a [u8] {
        let from = if text.escaped { &self.scratch } else { b };
        &from[text.start..text.end]
    }

    #[inline(always)]
    fn keep(&mut self, b: &[u8], text: &Text, column: usize) -> Option<()> {
        if !self.keeps(column) {
            return Some(());
        }
        let from = if text.escaped { &self.scratch } else { b };
        self.columns[column].text(self.row, from, text.start, text.end)
    }

    #[inline(always)]
    fn keep_int(&mut self, column: usize, v: i64) -> Option<()> {
        if self.keeps(column) {
            self.columns[column].int(self.row, v)?;
        }
        Some(())
    }

    #[inline(always)]
    fn keep_real(&mut self, column: usize, v: f64) -> Option<()> {
        if self.keeps(column) {
            self.columns[column].real(self.row, v)?;
        }
        Some(())
    }

    /// A value: where it ends, and the form that it tells.
    #[inline(always)]
    fn value(&mut self, b: &[u8], p: usize, field: &'t Field) -> Option<(usize, Option<usize>)> {
        let column = field.column;
        match field.kind {
            Kind::Text => {
                let (text, end) = self.opened(b, p)?;
                if text.start == text.end && !field.empty {
                    return None;
                }
                self.keep(b, &text, column)?;
                Some((end, None))
            }
            Kind::Enum | Kind::Tag => {
                let (text, end) = self.opened(b, p)?;
                let found = self.bytes(b, &text);
                let (_, form) = field.values.iter().find(|(value, _)| value == found)?;
                self.keep(b, &text, column)?;
                Some((end, (field.kind == Kind::Tag).then_some(*form)))
            }
            Kind::Mac => {
                let (text, end) = self.opened(b, p)?;
                let found = formats::mac(self.bytes(b, &text))?;
                if self.keeps(column) {
                    self.columns[column].text(self.row, &found, 0, found.len())?;
                }
                Some((end, None))
            }
            Kind::MccMnc => {
                let (text, end) = self.opened(b, p)?;
                if !formats::mccmnc(self.bytes(b, &text)) {
                    return None;
                }
                self.keep(b, &text, column)?;
                Some((end, None))
            }
            Kind::Time => {
                let (text, end) = self.opened(b, p)?;
                let v = formats::time(self.bytes(b, &text), self.table.moments)?;
                self.keep_int(column, v)?;
                Some((end, None))
            }
            Kind::Int | Kind::Epoch => {
                let (mut v, end) = number::whole(b, p)?;
                if v < field.least || v > field.most {
                    return None;
                }
                if field.kind == Kind::Epoch {
                    let table = self.table;
                    v *= if v <= table.seconds_limit {
                        1_000_000
                    } else if v <= table.millis_limit {
                        1000
                    } else {
                        1
                    };
                }
                self.keep_int(column, v)?;
                Some((end, None))
            }
            Kind::Real => {
                let (v, end) = number::real(b, p, false)?;
                self.in_range(v, field)?;
                Some((end, None))
            }
            Kind::Degrees => {
                let (v, end) = if at(b, p) == b'"' {
                    let (text, end) = self.string(b, p + 1)?;
                    (formats::degrees(self.bytes(b, &text))?, end)
                } else {
                    number::real(b, p, false)?
                };
                self.in_range(v, field)?;
                Some((end, None))
            }
            Kind::Flag => {
                let rest = b.get(p..)?;
                let v = rest.starts_with(b"true");
                if !v && !rest.starts_with(b"false") {
                    return None;
                }
                if self.keeps(column) {
                    self.columns[column].flag(self.row, v)?;
                }
                Some((p + if v { 4 } else { 5 }, None))
            }
            Kind::Object => {
                let (end, form) = self.object(b, p, field.object)?;
                if field.object == EVENT {
                    self.form = form;
                }
                Some((end, None))
            }
            Kind::JsonObject | Kind::JsonScalar | Kind::JsonIntOrText => {
                let first = at(b, p);
                if field.kind != Kind::JsonObject && first == b'"' {
                    let (text, end) = self.string(b, p + 1)?;
                    self.keep(b, &text, column)?;
                    return Some((end, None));
                }
                if (field.kind == Kind::JsonObject) != (first == b'{') || first == b'[' {
                    return None;
                }
                let mut out = std::mem::take(&mut self.scratch);
                out.clear();
                let end = again(b, p, &mut out, 0);
                self.scratch = out;
                let end = end?;
                let whole = |c: &u8| *c == b'-' || c.is_ascii_digit();
                if field.kind == Kind::JsonIntOrText && !self.scratch.iter().all(whole) {
                    return None;
                }
                self.keep(b, &Text { start: 0, end: self.scratch.len(), escaped: true }, column)?;
                Some((end, None))
            }
            Kind::Never => None,
        }
    }

    #[inline(always)]
    fn opened(&mut self, b: &[u8], p: usize) -> Option<(Text, usize)> {
        if at(b, p) != b'"' {
            return None;
        }
        self.string(b, p + 1)
    }

    #[inline(always)]
    fn in_range(&mut self, v: f64, field: &Field) -> Option<()> {
        if !(v >= field.least_real && v <= field.most_real) {
            return None;
        }
        self.keep_real(field.column, v)
    }

    /// An object: where it ends and which of its forms it has.
    fn object(&mut self, b: &[u8], p: usize, which: usize) -> Option<(usize, usize)> {
        let object = &self.table.objects[which];
        if at(b, p) != b'{' {
            return None;
        }
        let mut p = blank(b, p + 1);
        let (mut seen, mut set) = (0u64, 0u64);
        let mut told = None;
        let mut last = 0;
        if at(b, p) == b'}' {
            p += 1;
        } else {
            loop {
                let guess = told.map_or(0, |form: usize| form + 1) * (object.fields.len() + 1) + last;
                let mut number = usize::from(self.followers[which][guess]);
                match object.fields.get(number) {
                    Some(field) if field.stands_at(b, p) => p += field.quoted.len(),
                    _ => {
                        if at(b, p) != b'"' {
                            return None;
                        }
                        let (stop, _) = plain_end(b, p + 1)?;
                        if b[stop] != b'"' {
                            return None;
                        }
                        number = object.find(&b[p + 1..stop])?;
                        self.followers[which][guess] = number as u8;
                        p = blank(b, stop + 1);
                        if at(b, p) != b':' {
                            return None;
                        }
                        p += 1;
                    }
                }
                let field = &object.fields[number];
                let bit = 1u64 << number;
                if seen & bit != 0 {
                    return None; // the last one would hold
                }
                seen |= bit;
                p = blank(b, p);
                if at(b, p) == b'n' {
                    if !field.nullable || !b[p..].starts_with(b"null") {
                        return None;
                    }
                    p += 4;
                } else if object.wrapper == Some(number) {
                    return self.wrapper(b, p, which, seen == bit);
                } else {
                    set |= bit;
                    let (end, form) = self.value(b, p, field)?;
                    p = end;
                    told = form.or(told);
                }
                last = number + 1;
                p = blank(b, p);
                match at(b, p) {
                    b',' => p = blank(b, p + 1),
                    b'}' => {
                        p += 1;
                        break;
                    }
                    _ => return None,
                }
            }
        }
        let fits = |(number, form): &(usize, &crate::table::Form)| {
            told.is_none_or(|told| told == *number)
                && seen & !form.allowed == 0
                && form.required & !set == 0
                && (form.any_of == 0 || set & form.any_of != 0)
        };
        let (number, form) = object.forms.iter().enumerate().find(fits)?;
        if let Some((column, text)) = &form.constant {
            if self.keeps(*column) {
                self.columns[*column].text(self.row, text, 0, text.len())?;
            }
        }
        Some((p, number))
    }

    /// An object whose one field holds it as text.
    #[cold]
    fn wrapper(&mut self, b: &[u8], p: usize, which: usize, alone: bool) -> Option<(usize, usize)> {
        if !alone || self.wrapped || at(b, p) != b'"' {
            return None;
        }
        let mut inner = Vec::new();
        let end = blank(b, unescape(b, p + 1, &mut inner)?);
        if at(b, end) != b'}' {
            return None;
        }
        self.wrapped = true;
        let (stop, form) = self.object(&inner, blank(&inner, 0), which)?;
        if blank(&inner, stop) != inner.len() {
            return None;
        }
        Some((end + 1, form))
    }
}

/// Appends a JSON value as msgspec writes it again. Only what is written the same, but for blanks, is taken.
fn again(b: &[u8], p: usize, out: &mut Vec<u8>, depth: usize) -> Option<usize> {
    match at(b, p) {
        b'"' => {
            let (stop, wide) = plain_end(b, p + 1)?;
            if b[stop] != b'"' {
                return None;
            }
            let text = b.get(p..stop + 1)?;
            if wide {
                std::str::from_utf8(text).ok()?;
            }
            out.extend_from_slice(text);
            Some(stop + 1)
        }
        b't' | b'f' | b'n' => {
            let rest = &b[p..];
            let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word))?;
            out.extend_from_slice(word);
            Some(p + word.len())
        }
        b'-' | b'0'..=b'9' => {
            let end = number_again(b, p)?;
            out.extend_from_slice(&b[p..end]);
            Some(end)
        }
        b'{' if depth < DEEPEST => members(b, p, out, depth, b'}'),
        b'[' if depth < DEEPEST => members(b, p, out, depth, b']'),
        _ => None,
    }
}

/// The end of a number that is written again as it stands: few digits, no exponent, no zero at its end.
fn number_again(b: &[u8], p: usize) -> Option<usize> {
    let minus = at(b, p) == b'-';
    let begin = p + usize::from(minus);
    let mut q = begin;
    while at(b, q).is_ascii_digit() {
        q += 1;
    }
    let mut digits = q - begin;
    if digits == 0 || (digits > 1 && b[begin] == b'0') {
        return None;
    }
    if at(b, q) == b'.' {
        let dot = q + 1;
        q = dot;
        while at(b, q).is_ascii_digit() {
            q += 1;
        }
        let fraction = q - dot;
        digits += fraction;
        if fraction == 0 || fraction > 4 || (fraction > 1 && b[q - 1] == b'0') {
            return None;
        }
    }
    let zero = b[begin..q].iter().all(|c| matches!(c, b'0' | b'.'));
    (digits <= 15 && !matches!(at(b, q), b'e' | b'E') && !(minus && zero)).then_some(q)
}

/// The members of an object or an array, no key twice.
fn members(b: &[u8], p: usize, out: &mut Vec<u8>, depth: usize, close: u8) -> Option<usize> {
    out.push(b[p]);
    let mut p = blank(b, p + 1);
    let mut keys: Vec<(usize, usize)> = Vec::new();
    if at(b, p) == close {
        out.push(close);
        return Some(p + 1);
    }
    loop {
        if close == b'}' {
            if at(b, p) != b'"' || keys.len() == MOST_KEYS {
                return None;
            }
            let start = out.len();
            p = blank(b, again(b, p, out, depth)?);
            let key = (start, out.len());
            if keys.iter().any(|&(from, to)| out[from..to] == out[key.0..key.1]) || at(b, p) != b':' {
                return None;
            }
            keys.push(key);
            out.push(b':');
            p = blank(b, p + 1);
        }
        p = blank(b, again(b, p, out, depth + 1)?);
        match at(b, p) {
            b',' => out.push(b','),
            c if c == close => {
                out.push(close);
                return Some(p + 1);
            }
            _ => return None,
        }
        p = blank(b, p + 1);
    }
}
