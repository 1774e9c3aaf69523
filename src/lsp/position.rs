//! Places of a text as the protocol counts them: lines, and columns in units of an encoding.

use gen_lsp_types::{Position, PositionEncodingKind, Range};
use std::ops;

/// What columns are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16,
}

impl Encoding {
    /// Bytes, where the client takes them: nothing has to be counted then. UTF-16 is what every client takes.
    pub fn negotiate(offered: Option<&[PositionEncodingKind]>) -> Encoding {
        match offered {
            Some(offered) if offered.contains(&PositionEncodingKind::UTF8) => Encoding::Utf8,
            _ => Encoding::Utf16,
        }
    }

    pub fn kind(self) -> PositionEncodingKind {
        match self {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
        }
    }

    pub fn length(self, text: &str) -> u32 {
        let length = match self {
            Encoding::Utf8 => text.len(),
            Encoding::Utf16 => text.chars().map(char::len_utf16).sum(),
        };
        length as u32
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of a byte.
    pub fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset) - 1
    }

    pub fn position(&self, text: &str, offset: usize, encoding: Encoding) -> Position {
        let line = self.line(offset);
        Position { line: line as u32, character: encoding.length(&text[self.0[line]..offset]) }
    }

    pub fn range(&self, text: &str, range: ops::Range<usize>, encoding: Encoding) -> Range {
        let [start, end] = [range.start, range.end].map(|offset| self.position(text, offset, encoding));
        Range { start, end }
    }

    /// The byte at a position; what lies behind a line's end, or within a character, is moved in front.
    pub fn offset(&self, text: &str, position: Position, encoding: Encoding) -> usize {
        let Some(&start) = self.0.get(position.line as usize) else { return text.len() };
        let end = self.0.get(position.line as usize + 1).map_or(text.len(), |next| next - 1);
        let line = &text[start..end];
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut column = 0;
        for (at, c) in line.char_indices() {
            column += encoding.length(c.encode_utf8(&mut [0; 4]));
            if column > position.character {
                return start + at;
            }
        }
        start + line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_encoding() {
        let text = "# \u{1d54f} \u{e9}x\r\nnet";
        let lines = Lines::of(text);
        let x = text.find('x').unwrap();
        for (encoding, column) in [(Encoding::Utf8, 9), (Encoding::Utf16, 6)] {
            let position = lines.position(text, x, encoding);
            assert_eq!((position.line, position.character), (0, column));
            assert_eq!(lines.offset(text, position, encoding), x);
        }
    }

    #[test]
    fn positions_outside_are_moved_to_the_nearest_place() {
        let text = "\u{1d54f}\r\nnet";
        let lines = Lines::of(text);
        let offset = |line, character| lines.offset(text, Position { line, character }, Encoding::Utf16);
        assert_eq!([offset(0, 1), offset(0, 2), offset(0, 99)], [0, 4, 4]);
        assert_eq!([offset(1, 0), offset(1, 3), offset(1, 9), offset(7, 0)], [6, 9, 9, 9]);
    }
}
