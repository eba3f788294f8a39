//! Columns that grow value by value: a row that says nothing of a column is a null there.
#![forbid(unsafe_code)]

use arrow_buffer::Buffer;
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{ArrowError, DataType};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Text,
    Int,
    Real,
    Flag,
}

/// Bits, set one by one.
#[derive(Default)]
struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    #[inline(always)]
    fn set(&mut self, row: usize, rows: usize) {
        if self.words.is_empty() {
            self.words = vec![0; rows / 64 + 1];
        }
        if let Some(word) = self.words.get_mut(row / 64) {
            *word |= 1 << (row % 64);
            self.count += 1;
        }
    }

    fn clear(&mut self, row: usize) {
        if let Some(word) = self.words.get_mut(row / 64) {
            self.count -= (*word >> (row % 64) & 1) as usize;
            *word &= !(1 << (row % 64));
        }
    }

    fn buffer(self) -> Buffer {
        Buffer::from_vec(self.words)
    }
}

pub struct Column {
    kind: Type,
    rows: usize, // at most
    there: Bits,
    next: usize,       // the first row that has no value yet
    offsets: Vec<i32>, // of a text column: one more than its rows
    bytes: Vec<u8>,
    words: Vec<u64>, // of a number column
    yes: Bits,       // of a flag column
}


impl Column {
    pub fn new(kind: Type, rows: usize) -> Self {
        Column {
            kind,
            rows,
            there: Bits::default(),
            next: 0,
            offsets: Vec::new(),
            bytes: Vec::new(),
            words: Vec::new(),
            yes: Bits::default(),
        }
    }

    #[inline(always)]
    fn begin(&mut self, row: usize) -> Option<()> {
        if row < self.next {
            return None;
        }
        self.next = row + 1;
        self.there.set(row, self.rows);
        Some(())
    }

    #[inline(always)]
    fn pad_offsets(&mut self, rows: usize) {
        if self.offsets.is_empty() {
            self.offsets.reserve_exact(self.rows + 1);
            self.bytes.reserve(self.rows * 16 + 16);
            self.offsets.push(0);
        }
        while self.offsets.len() <= rows {
            self.offsets.push(self.bytes.len() as i32);
        }
    }

    /// `b[start..end]` as the text of `row`.
    #[inline(always)]
    pub fn text(&mut self, row: usize, b: &[u8], start: usize, end: usize) -> Option<()> {
        self.begin(row)?;
        self.pad_offsets(row);
        let length = end.checked_sub(start)?;
        let total = self.bytes.len() + length;
        // Sixteen bytes are copied faster than a few.
        match b.get(start..).and_then(|rest| rest.first_chunk::<16>()) {
            Some(chunk) if length <= 16 => {
                self.bytes.extend_from_slice(chunk);
                self.bytes.truncate(total);
            }
            _ => self.bytes.extend_from_slice(b.get(start..end)?),
        }
        self.offsets.push(i32::try_from(total).ok()?);
        Some(())
    }

    /// The text of `row`, if it has one.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if self.next != row + 1 || self.offsets.len() < row + 2 {
            return None;
        }
        self.bytes.get(self.offsets[row] as usize..self.offsets[row + 1] as usize)
    }

    #[inline(always)]
    fn word(&mut self, row: usize, word: u64) -> Option<()> {
        self.begin(row)?;
        if self.words.is_empty() {
            self.words.reserve_exact(self.rows);
        }
        while self.words.len() < row {
            self.words.push(0);
        }
        self.words.push(word);
        Some(())
    }

    #[inline(always)]
    pub fn int(&mut self, row: usize, v: i64) -> Option<()> {
        self.word(row, v as u64)
    }

    #[inline(always)]
    pub fn real(&mut self, row: usize, v: f64) -> Option<()> {
        self.word(row, v.to_bits())
    }

    #[inline(always)]
    pub fn flag(&mut self, row: usize, v: bool) -> Option<()> {
        self.begin(row)?;
        if v {
            self.yes.set(row, self.rows);
        }
        Some(())
    }

    pub fn has(&self, row: usize) -> bool {
        self.next == row + 1
    }

    /// Takes back what a line wrote that is not taken.
    pub fn take_back(&mut self, row: usize) {
        if self.next <= row {
            return;
        }
        // What is between the last row with a value and this one are nulls.
        self.next = row;
        self.there.clear(row);
        self.yes.clear(row);
        self.words.truncate(row);
        if self.offsets.len() > row + 1 {
            self.offsets.truncate(row + 1);
        }
        if let Some(&end) = self.offsets.last() {
            self.bytes.truncate(end as usize);
        }
    }

    /// The Arrow array of `rows` rows. `nothing` holds zeros for that many 8-byte values and one more.
    pub fn finish(mut self, rows: usize, nothing: &Buffer) -> Result<ArrayData, ArrowError> {
        let type_ = match self.kind {
            Type::Text => DataType::Utf8,
            Type::Int => DataType::Int64,
            Type::Real => DataType::Float64,
            Type::Flag => DataType::Boolean,
        };
        let nulls = rows - self.there.count;
        let mut array = ArrayDataBuilder::new(type_).len(rows).null_count(nulls);
        if nulls == rows {
            array = array.add_buffer(nothing.clone()).null_bit_buffer(Some(nothing.clone()));
            if self.kind == Type::Text {
                array = array.add_buffer(Buffer::from_vec(Vec::<u8>::new()));
            }
            return array.build();
        }
        match self.kind {
            Type::Text => {
                self.pad_offsets(rows);
                array = array.add_buffer(Buffer::from_vec(self.offsets)).add_buffer(Buffer::from_vec(self.bytes));
            }
            Type::Int | Type::Real => {
                self.words.resize(rows, 0);
                array = array.add_buffer(Buffer::from_vec(self.words));
            }
            Type::Flag if self.yes.count == 0 => array = array.add_buffer(nothing.clone()),
            Type::Flag => array = array.add_buffer(self.yes.buffer()),
        }
        if nulls > 0 {
            array = array.null_bit_buffer(Some(self.there.buffer()));
        }
        array.build()
    }
}
