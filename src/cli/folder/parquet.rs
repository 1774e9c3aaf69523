//! Tables in Apache Parquet, version 1, as plain as the format allows: columns of values that may be missing, not
//! compressed, one page for each group of rows.
//!
//! Format: <https://github.com/apache/parquet-format>, `README.md`, `Encodings.md` (plain values, run lengths) and
//! `parquet.thrift`, whose structures are written in Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>).

use std::io::{self, Write};
use std::ops::Range;

const MAGIC: &[u8; 4] = b"PAR1";

/// Rows of a group, whose columns are in memory at once.
const GROUP_ROWS: usize = 1 << 14;

// Numbers of `parquet.thrift`.
const OPTIONAL: i32 = 1;
const UTF8: i32 = 0;
const PLAIN: i32 = 0;
const RUN_LENGTHS: i32 = 3;
const UNCOMPRESSED: i32 = 0;
const DATA_PAGE: i32 = 0;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Integer,
    Float,
    Text,
}

impl Kind {
    /// `Type` of `parquet.thrift`.
    fn number(self) -> i32 {
        match self {
            Kind::Integer => 2,
            Kind::Float => 4,
            Kind::Text => 6,
        }
    }
}

/// A value of the kind of its column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i64),
    Float(f32),
    Text(String),
}

impl Value {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Value::Integer(value) => to.extend(value.to_le_bytes()),
            Value::Float(value) => to.extend(value.to_le_bytes()),
            Value::Text(text) => {
                to.extend((text.len() as u32).to_le_bytes());
                to.extend(text.as_bytes());
            }
        }
    }
}

/// Writes a table of `rows` rows; `cell` gives what stands in a row and a column.
pub fn write(
    to: &mut dyn Write,
    columns: &[(String, Kind)],
    rows: usize,
    cell: impl Fn(usize, usize) -> Option<Value>,
) -> io::Result<()> {
    to.write_all(MAGIC)?;
    let (mut at, mut groups) = (MAGIC.len(), Vec::new());
    for first in (0..rows).step_by(GROUP_ROWS) {
        let group = first..rows.min(first + GROUP_ROWS);
        let (mut chunks, start) = (Vec::new(), at);
        for (column, (name, kind)) in columns.iter().enumerate() {
            let page = page(group.clone(), |row| cell(row, column))?;
            to.write_all(&page)?;
            chunks.push(chunk(name, *kind, group.len(), at, page.len()));
            at += page.len();
        }
        groups.push(structure([List(chunks), long(at - start), long(group.len())]));
    }
    let root = Struct(vec![(4, Text("schema".into())), (5, I32(columns.len() as i32))]);
    let schema = [root].into_iter().chain(columns.iter().map(|(name, kind)| element(name, *kind))).collect();
    let mut end = Vec::new();
    structure([I32(1), List(schema), long(rows), List(groups)]).write(&mut end);
    let length = u32::try_from(end.len()).map_err(io::Error::other)?;
    to.write_all(&end)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(MAGIC)
}

/// `SchemaElement` of a column.
fn element(name: &str, kind: Kind) -> Thrift {
    let mut fields = vec![(1, I32(kind.number())), (3, I32(OPTIONAL)), (4, Text(name.into()))];
    if kind == Kind::Text {
        // The older way to say so and the newer one.
        fields.extend([(6, I32(UTF8)), (10, Struct(vec![(1, Struct(Vec::new()))]))]);
    }
    Struct(fields)
}

/// `ColumnChunk` of a page that begins at this offset.
fn chunk(name: &str, kind: Kind, values: usize, at: usize, bytes: usize) -> Thrift {
    let encodings = List(vec![I32(PLAIN), I32(RUN_LENGTHS)]);
    let path = List(vec![Text(name.into())]);
    let kind = I32(kind.number());
    let mut fields = structure([kind, encodings, path, I32(UNCOMPRESSED), long(values), long(bytes), long(bytes)]);
    if let Struct(fields) = &mut fields {
        fields.push((9, long(at)));
    }
    Struct(vec![(2, long(at)), (3, fields)])
}

/// The values of a column for some rows, behind their `PageHeader`.
fn page(rows: Range<usize>, cell: impl Fn(usize) -> Option<Value>) -> io::Result<Vec<u8>> {
    let (mut present, mut values) = (Vec::new(), Vec::new());
    for row in rows.clone() {
        let value = cell(row);
        present.push(value.is_some());
        value.iter().for_each(|value| value.write(&mut values));
    }
    let levels = run_lengths(&present);
    let size = i32::try_from(4 + levels.len() + values.len()).map_err(io::Error::other)?;
    let data = structure([I32(rows.len() as i32), I32(PLAIN), I32(RUN_LENGTHS), I32(RUN_LENGTHS)]);
    let header = Struct(vec![(1, I32(DATA_PAGE)), (2, I32(size)), (3, I32(size)), (5, data)]);
    let mut page = Vec::new();
    header.write(&mut page);
    page.extend((levels.len() as u32).to_le_bytes());
    page.extend(levels);
    page.extend(values);
    Ok(page)
}

/// Runs of equal levels of one bit.
fn run_lengths(levels: &[bool]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in levels.chunk_by(|a, b| a == b) {
        write_varint((run.len() as u64) << 1, &mut bytes);
        bytes.push(run[0].into());
    }
    bytes
}

/// A value of Thrift's compact protocol.
enum Thrift {
    I32(i32),
    I64(i64),
    Text(String),
    /// Of one kind.
    List(Vec<Thrift>),
    /// With the numbers of the fields, in ascending order, no two further apart than 15.
    Struct(Vec<(u8, Thrift)>),
}

use Thrift::{I32, I64, List, Struct, Text};

/// Whose fields are numbered from 1.
fn structure(fields: impl IntoIterator<Item = Thrift>) -> Thrift {
    Struct((1..).zip(fields).collect())
}

fn long(number: usize) -> Thrift {
    I64(number as i64)
}

impl Thrift {
    fn kind(&self) -> u8 {
        match self {
            I32(_) => 5,
            I64(_) => 6,
            Text(_) => 8,
            List(_) => 9,
            Struct(_) => 12,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            &I32(value) => write_signed(value.into(), to),
            &I64(value) => write_signed(value, to),
            Text(text) => {
                write_varint(text.len() as u64, to);
                to.extend(text.as_bytes());
            }
            List(items) => {
                let kind = items.first().map_or(Struct(Vec::new()).kind(), Thrift::kind);
                match items.len() {
                    length @ ..15 => to.push((length as u8) << 4 | kind),
                    length => {
                        to.push(0xf0 | kind);
                        write_varint(length as u64, to);
                    }
                }
                items.iter().for_each(|item| item.write(to));
            }
            Struct(fields) => {
                let mut before = 0;
                for (number, value) in fields {
                    to.push((number - before) << 4 | value.kind());
                    value.write(to);
                    before = *number;
                }
                to.push(0);
            }
        }
    }
}

fn write_signed(value: i64, to: &mut Vec<u8>) {
    write_varint(((value << 1) ^ (value >> 63)) as u64, to);
}

fn write_varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: Thrift) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        bytes
    }

    #[test]
    fn numbers_and_structures_are_those_of_the_protocol() {
        assert_eq!(bytes(I32(-1)), [1]);
        assert_eq!(bytes(I64(64)), [0x80, 1]);
        assert_eq!(bytes(I64(i64::MIN)), [[0xff; 9].as_slice(), &[1]].concat());
        assert_eq!(bytes(List(vec![I32(1), I32(2)])), [0x25, 2, 4]);
        assert_eq!(bytes(List((0..15).map(I32).collect()))[..2], [0xf5, 15]);
        assert_eq!(bytes(List(Vec::new())), [0x0c]);
        let inner = Struct(vec![(1, Struct(Vec::new()))]);
        assert_eq!(
            bytes(Struct(vec![(4, Text("ab".into())), (10, inner)])),
            [0x48, 2, b'a', b'b', 0x6c, 0x1c, 0, 0, 0]
        );
    }

    #[test]
    fn levels_are_runs() {
        let levels = [vec![true; 200], vec![false], vec![true]].concat();
        assert_eq!(run_lengths(&levels), [0x90, 3, 1, 2, 0, 2, 1]);
        assert!(run_lengths(&[]).is_empty());
    }

    #[test]
    fn each_group_of_rows_has_pages_of_its_own() {
        let write = |rows: usize| {
            let mut to = Vec::new();
            let columns = [("n".to_string(), Kind::Integer)];
            super::write(&mut to, &columns, rows, |row, _| Some(Value::Integer(row as i64))).unwrap();
            to
        };
        let of = |rows: usize| write(rows).len() - 8 * rows;
        assert!(of(GROUP_ROWS + 1) > of(GROUP_ROWS) + 20);
        for rows in [0, 1, GROUP_ROWS, 2 * GROUP_ROWS + 1] {
            let file = write(rows);
            let (end, magic) = file.split_at(file.len() - 4);
            let length = u32::from_le_bytes(*end.last_chunk().unwrap()) as usize;
            assert!(file.starts_with(MAGIC) && magic == MAGIC && length < end.len(), "{rows} rows");
        }
    }
}
