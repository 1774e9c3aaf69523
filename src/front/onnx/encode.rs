//! Protocol Buffers, the writing side: <https://protobuf.dev/programming-guides/encoding/>.

/// The fields of a message so far, encoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(Vec<u8>);

/// How the bytes of a field are to be read.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The fields of another message behind these.
    pub fn append(mut self, other: &Message) -> Message {
        self.0.extend(&other.0);
        self
    }

    /// A field of an integer, also a negative one (as 64 bits in two's complement).
    pub fn int(mut self, field: u32, value: i64) -> Message {
        self.tag(field, WireType::Varint);
        self.varint(value as u64);
        self
    }

    /// One field for each of the integers: not packed, as the proto2 file of ONNX declares them and as all readers take
    /// them.
    pub fn ints(self, field: u32, values: &[i64]) -> Message {
        values.iter().fold(self, |message, &value| message.int(field, value))
    }

    pub fn float(mut self, field: u32, value: f32) -> Message {
        self.tag(field, WireType::Fixed32);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn text(self, field: u32, value: &str) -> Message {
        self.blob(field, value.as_bytes())
    }

    pub fn texts<'a>(self, field: u32, values: impl IntoIterator<Item = &'a String>) -> Message {
        values.into_iter().fold(self, |message, value| message.text(field, value))
    }

    pub fn message(self, field: u32, value: &Message) -> Message {
        self.blob(field, &value.0)
    }

    /// A field of bytes.
    pub fn blob(self, field: u32, value: &[u8]) -> Message {
        let mut message = self.begin(field, value.len() as u64);
        message.0.extend(value);
        message
    }

    /// The start of a field of `length` bytes, which the caller writes behind this message.
    pub fn begin(mut self, field: u32, length: u64) -> Message {
        self.tag(field, WireType::Bytes);
        self.varint(length);
        self
    }

    fn tag(&mut self, field: u32, kind: WireType) {
        self.varint(u64::from(field) << 3 | kind as u64);
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specification.
    #[test]
    fn fields_are_encoded_as_the_specification_says() {
        assert_eq!(Message::default().int(1, 150).bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").bytes(), *b"\x12\x07testing");
        let inner = Message::default().int(1, 150);
        assert_eq!(Message::default().message(3, &inner).bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().int(1, -2).bytes()[1..], [0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(Message::default().float(1, 1.0).bytes(), [0x0d, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::default().ints(4, &[3, 270]).bytes(), [0x20, 3, 0x20, 0x8e, 2]);
        assert_eq!(Message::default().int(20, 0).bytes(), [0xa0, 1, 0]);
    }
}
