//! The wire format of protocol buffers, read in place.
//!
//! A [`Message`] is part of the file; its fields are read one after the other, and each length is held against the bytes
//! that are left in the message around it. Nothing is taken memory for here but the items of [`Field::ints`] and
//! [`Field::floats`], which their limit bounds. The format: <https://protobuf.dev/programming-guides/encoding/>.

use std::fmt;

/// Why bytes are no message: the offset in the file of what is wrong, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {reason}")]
pub struct Malformed {
    pub at: usize,
    pub reason: String,
}

impl Malformed {
    pub fn new(at: usize, reason: impl Into<String>) -> Malformed {
        Malformed { at, reason: reason.into() }
    }
}

/// The bytes of a message, a string or a packed list, and where in the file they begin.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Not its bytes, which may be a gigabyte.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.bytes.len(), self.at)
    }
}

/// What follows a field's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Message<'a>),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Where in the file it begins.
    pub at: usize,
}

impl<'a> Message<'a> {
    /// A whole file.
    pub fn file(bytes: &'a [u8]) -> Message<'a> {
        Message { bytes, at: 0 }
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The place of its bytes in the file.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    /// As text.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes).map_err(|e| Malformed::new(self.at + e.valid_up_to(), "a text is not UTF-8"))
    }

    /// The next field, which is taken off; `None` at the end.
    ///
    /// # Errors
    /// A number or length that the message is too short for, field number 0, and groups, which ONNX never had.
    pub fn field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| Malformed::new(at, format!("field number {}", tag >> 3)))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.fixed()?)),
            3 | 4 => return Err(Malformed::new(at, format!("field {number} is a group"))),
            wire => return Err(Malformed::new(at, format!("field {number} has the unknown wire type {wire}"))),
        };
        Ok(Some(Field { number, value, at }))
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        self.at += length;
        taken
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.bytes.first_chunk::<N>() {
            Some(&bytes) => {
                self.take(N);
                Ok(bytes)
            }
            None => Err(Malformed::new(self.at, format!("{N} bytes are to follow, {} do", self.bytes.len()))),
        }
    }

    /// At most ten bytes of seven bits, the lowest first.
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.take(index + 1);
                return Ok(value);
            }
        }
        let reason = if self.bytes.len() < 10 { "a number does not end" } else { "a number has more than 64 bits" };
        Err(Malformed::new(self.at, reason))
    }

    fn delimited(&mut self) -> Result<Message<'a>, Malformed> {
        let at = self.at;
        let length = self.varint()?;
        match usize::try_from(length).ok().filter(|&length| length <= self.bytes.len()) {
            Some(length) => Ok(Message { at: self.at, bytes: self.take(length) }),
            None => Err(Malformed::new(at, format!("{length} bytes are to follow, {} do", self.bytes.len()))),
        }
    }
}

impl<'a> Field<'a> {
    /// Bytes of its content: no fewer than the items that a list of integers adds.
    pub fn length(&self) -> usize {
        if let Value::Bytes(content) = self.value { content.bytes.len() } else { 1 }
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, Malformed> {
        Err(Malformed::new(self.at, format!("field {} is to be {expected}", self.number)))
    }

    pub fn int(&self) -> Result<i64, Malformed> {
        match self.value {
            // Negative numbers are written as if they had no sign.
            Value::Varint(value) => Ok(value as i64),
            _ => self.wrong("an integer"),
        }
    }

    pub fn float(&self) -> Result<f32, Malformed> {
        match self.value {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => self.wrong("a 32-bit number"),
        }
    }

    /// A message, or bytes.
    pub fn message(&self) -> Result<Message<'a>, Malformed> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => self.wrong("a message or a text"),
        }
    }

    /// Adds the items of a repeated field of integers: one, or a packed list.
    ///
    /// # Errors
    /// If `items` then has more than `limit`.
    pub fn ints(&self, items: &mut Vec<i64>, limit: usize) -> Result<(), Malformed> {
        match self.value {
            Value::Varint(value) => self.push(items, value as i64, limit),
            Value::Bytes(mut list) => {
                while !list.bytes.is_empty() {
                    let value = list.varint()?;
                    self.push(items, value as i64, limit)?;
                }
                Ok(())
            }
            _ => self.wrong("a list of integers"),
        }
    }

    /// Adds the items of a repeated field of 32-bit numbers: one, or a packed list.
    ///
    /// # Errors
    /// If `items` then has more than `limit`.
    pub fn floats(&self, items: &mut Vec<f32>, limit: usize) -> Result<(), Malformed> {
        match self.value {
            Value::Fixed32(bits) => self.push(items, f32::from_bits(bits), limit),
            Value::Bytes(mut list) => {
                while !list.bytes.is_empty() {
                    let bytes = list.fixed()?;
                    self.push(items, f32::from_le_bytes(bytes), limit)?;
                }
                Ok(())
            }
            _ => self.wrong("a list of 32-bit numbers"),
        }
    }

    /// Adds the items of a repeated field of 64-bit numbers: one, or a packed list.
    ///
    /// # Errors
    /// If `items` then has more than `limit`.
    pub fn doubles(&self, items: &mut Vec<f64>, limit: usize) -> Result<(), Malformed> {
        match self.value {
            Value::Fixed64(bits) => self.push(items, f64::from_bits(bits), limit),
            Value::Bytes(mut list) => {
                while !list.bytes.is_empty() {
                    let bytes = list.fixed()?;
                    self.push(items, f64::from_le_bytes(bytes), limit)?;
                }
                Ok(())
            }
            _ => self.wrong("a list of 64-bit numbers"),
        }
    }

    fn push<T>(&self, items: &mut Vec<T>, item: T, limit: usize) -> Result<(), Malformed> {
        if items.len() >= limit {
            return Err(Malformed::new(self.at, format!("field {} has more than {limit} items", self.number)));
        }
        items.push(item);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        let mut message = Message::file(bytes);
        let mut found = Vec::new();
        while let Some(field) = message.field()? {
            found.push((field.number, field.value));
        }
        Ok(found)
    }

    #[test]
    fn every_wire_type() {
        let bytes = [8, 150, 1, 17, 1, 0, 0, 0, 0, 0, 0, 0, 26, 2, b'h', b'i', 37, 0, 0, 128, 63];
        let text = Value::Bytes(Message { bytes: b"hi", at: 14 });
        let expected =
            vec![(1, Value::Varint(150)), (2, Value::Fixed64(1)), (3, text), (4, Value::Fixed32(1f32.to_bits()))];
        assert_eq!(fields(&bytes), Ok(expected));
        for length in [1, 2, 5, 11, 13, 14, 15, 17, 20] {
            assert!(fields(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn numbers_have_64_bits() {
        let all = [&[8][..], &[0xff; 9], &[1]].concat();
        assert_eq!(fields(&all), Ok(vec![(1, Value::Varint(u64::MAX))]));
        let more = [&[8][..], &[0xff; 9], &[2]].concat();
        assert_eq!(fields(&more), Err(Malformed::new(1, "a number has more than 64 bits")));
        assert!(fields(&[8, 0x80, 0x80]).unwrap_err().reason.ends_with("does not end"));
        assert!(fields(&[&[8][..], &[0x80; 10], &[0]].concat()).is_err());
    }

    #[test]
    fn lengths_are_those_of_the_message_around() {
        // A message of 3 bytes that holds a text of 2, or claims one of 3.
        assert_eq!(fields(&[10, 4, 18, 2, 1, 1, 24, 0]).unwrap().len(), 2);
        let mut outer = Message::file(&[10, 4, 18, 3, 1, 1, 24, 0]);
        let mut inner = outer.field().unwrap().unwrap().message().unwrap();
        assert_eq!(inner.field(), Err(Malformed::new(3, "3 bytes are to follow, 2 do")));
        let huge = [&[10][..], &[0xff; 9], &[1]].concat();
        assert!(fields(&huge).is_err());
    }

    #[test]
    fn groups_and_unknown_wire_types_are_refused() {
        for tag in [11, 12, 14, 15, 0, 2] {
            assert!(fields(&[tag, 0, 0]).is_err(), "{tag}");
        }
    }

    #[test]
    fn lists_are_packed_or_not() {
        let mut packed = Message::file(&[10, 4, 1, 2, 0x80, 1]);
        let mut items = Vec::new();
        packed.field().unwrap().unwrap().ints(&mut items, 4).unwrap();
        let mut single = Message::file(&[8, 3]);
        let single = single.field().unwrap().unwrap();
        single.ints(&mut items, 4).unwrap();
        assert_eq!(items, [1, 2, 128, 3]);
        assert!(single.ints(&mut items, 4).is_err());
        let mut floats = Vec::new();
        let mut packed = Message::file(&[10, 4, 0, 0, 128, 63]);
        packed.field().unwrap().unwrap().floats(&mut floats, 2).unwrap();
        assert_eq!(floats, [1.0]);
        let mut cut = Message::file(&[10, 3, 0, 0, 128]);
        assert!(cut.field().unwrap().unwrap().floats(&mut floats, 2).is_err());
    }
}
