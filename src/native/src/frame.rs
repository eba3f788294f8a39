//! A frame's lines into a struct array.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use arrow_buffer::Buffer;
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use memchr::{memchr, memchr_iter};

use crate::columns::Type;
use crate::parse::Parser;
use crate::scan::blank;
use crate::table::Table;

/// What came of a frame's lines. Lines that are blank do not count.
pub struct Taken {
    pub rows: ArrayData, // the table's columns and, at last, each row's line number
    pub lines: usize,
    pub fleets: HashSet<Vec<u8>>, // of the rows
    pub left: Vec<(u32, usize, usize)>, // number, begin and end of each line that was not taken
}

/// The type of `Taken.rows`.
pub fn row_type(table: &Table, names: &[String]) -> DataType {
    let columns = table.columns.iter().zip(names).skip(table.hidden).map(|(kind, name)| {
        let type_ = match kind {
            Type::Text => DataType::Utf8,
            Type::Int => DataType::Int64,
            Type::Real => DataType::Float64,
            Type::Flag => DataType::Boolean,
        };
        Field::new(name, type_, true)
    });
    DataType::Struct(Fields::from_iter(columns.chain([Field::new("index", DataType::UInt32, false)])))
}

/// What Python's bytes.strip takes away.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|c| matches!(c, b' ' | 0x09..=0x0d))
}

pub fn decode(
    table: &Table,
    type_: &DataType,
    value: &[u8],
    received_at: i64,
    longest: usize,
) -> Result<Taken, ArrowError> {
    let most = memchr_iter(b'\n', value).count() + 1;
    let mut parser = Parser::new(table, most, None);
    let mut numbers: Vec<u32> = Vec::with_capacity(most);
    let mut left = Vec::new();
    let mut fleets: HashSet<Vec<u8>> = HashSet::new();
    let mut last_fleet = Vec::new(); // none is empty
    let mut lines = 0u32;
    let mut p = 0;
    while p < value.len() {
        let found = parser.envelope(value, blank(value, p), received_at).map(|end| blank(value, end));
        match found {
            Some(end) if value.get(end).is_none_or(|&c| c == b'\n') && end - p <= longest => {
                let fleet = parser.columns[table.fleet].get(parser.row).unwrap_or_default();
                if fleet != last_fleet {
                    last_fleet = fleet.to_vec();
                    fleets.insert(last_fleet.clone());
                }
                numbers.push(lines);
                lines += 1;
                parser.row += 1;
                p = end + 1;
            }
            _ => {
                parser.take_back();
                let end = memchr(b'\n', &value[p..]).map_or(value.len(), |length| p + length);
                if !is_blank(&value[p..end]) {
                    left.push((lines, p, end));
                    lines += 1;
                }
                p = end + 1;
            }
        }
    }
    let rows = numbers.len();
    let nothing = Buffer::from_vec(vec![0u64; rows + 1]);
    let mut children = Vec::with_capacity(table.columns.len() + 1);
    for column in parser.columns.into_iter().skip(table.hidden) {
        children.push(column.finish(rows, &nothing)?);
    }
    let index = ArrayDataBuilder::new(DataType::UInt32).len(rows).add_buffer(Buffer::from_vec(numbers));
    children.push(index.build()?);
    let rows = ArrayDataBuilder::new(type_.clone()).len(rows).child_data(children).build()?;
    Ok(Taken { rows, lines: lines as usize, fleets, left })
}
