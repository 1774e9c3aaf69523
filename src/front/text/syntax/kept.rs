//! What was read before: of a text that has changed, the lines of a body are read that are new, each with all that it opens.

use super::ast::Item;
use super::scan::Piece;
use super::spans::Spans;
use crate::source::{FileId, Span};
use std::collections::HashMap;

/// All of a piece that its tree rests on: what the grammar reads, and what of it is not of the text.
type Key = (String, usize, usize);

/// The trees of pieces in which nothing is wrong, by their texts. By default there is room for none.
#[derive(Default)]
pub struct Kept {
    /// Bytes of text that are kept, twice: what was not asked for while as many were is forgotten.
    room: usize,
    bytes: usize,
    young: HashMap<Key, (usize, Item)>,
    old: HashMap<Key, (usize, Item)>,
}

impl Kept {
    /// With room for a text of so many bytes.
    pub fn of(room: usize) -> Kept {
        Kept { room, ..Kept::default() }
    }

    /// The tree of a piece of `file`, if one of the same text was kept.
    pub fn take(&mut self, piece: &Piece, file: FileId) -> Option<Item> {
        if self.room == 0 {
            return None;
        }
        let key = key(piece);
        if let Some((key, known)) = self.old.remove_entry(&key) {
            self.put(key, known);
        }
        let (start, mut item) = self.young.get(&key)?.clone();
        let moved = |at: u32| (at as usize - start + piece.range.start) as u32;
        item.each(&mut |span| *span = Span { file, start: moved(span.start), end: moved(span.end) });
        Some(item)
    }

    /// Whether the tree of a piece is kept.
    pub fn has(&self, piece: &Piece) -> bool {
        self.room > 0 && [&self.young, &self.old].iter().any(|map| map.contains_key(&key(piece)))
    }

    /// Whether nothing is kept.
    pub fn is_closed(&self) -> bool {
        self.room == 0
    }

    /// Keeps the tree of a piece.
    pub fn keep(&mut self, piece: &Piece, item: &Item) {
        if piece.text.len() <= self.room {
            self.put(key(piece), (piece.range.start, item.clone()));
        }
    }

    fn put(&mut self, key: Key, known: (usize, Item)) {
        self.bytes += key.0.len();
        if self.bytes > self.room {
            self.bytes = key.0.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }
}

fn key(piece: &Piece) -> Key {
    (piece.text.clone(), piece.head, piece.range.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::text::stop::Stop;
    use crate::front::text::syntax::parser::recover;
    use crate::source::SourceMap;

    const MODELS: [&str; 3] = [
        include_str!("../../../../models/resnet.cnn"),
        include_str!("../../../../models/googlenet.cnn"),
        include_str!("../../../../models/unet.cnn"),
    ];

    /// What reading gives, as the `at`-th of some files.
    fn read(text: &str, at: usize, kept: &mut Kept) -> String {
        let mut sources = SourceMap::default();
        (0..at).for_each(|_| _ = sources.add("other.cnn", ""));
        let file = sources.add("m.cnn", text);
        format!("{:#?}", recover(&sources, file, &Stop::default(), kept))
    }

    /// Changes a place of a text: takes something out, or puts in what stands elsewhere in it, or what breaks it.
    fn edit(text: &mut String, below: &mut impl FnMut(usize) -> usize) {
        let mut boundary = |most: usize| {
            let at = below(most + 1);
            (0..=at).rev().find(|&at| text.is_char_boundary(at)).expect("0 is one")
        };
        let (start, from) = (boundary(text.len()), boundary(text.len()));
        let (end, to) =
            (start.max(boundary(text.len().min(start + 40))), from.max(boundary(text.len().min(from + 80))));
        let new = match below(4) {
            0 => String::new(),
            1 => ["{", "}", "\n", "#", "\"", "$", "const a = 99999999999999999999\n"][below(7)].to_owned(),
            _ => text[from..to].to_owned(),
        };
        text.replace_range(start..end, &new);
    }

    #[test]
    fn what_is_kept_is_what_would_be_read() {
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n.max(1)
        };
        // One of them forgets all the time.
        for room in [1 << 20, 500] {
            let mut kept = Kept::of(room);
            for model in MODELS {
                let mut text = model.to_owned();
                for step in 0..24 {
                    let at = step % 3;
                    assert_eq!(read(&text, at, &mut kept), read(&text, at, &mut Kept::default()), "{text}");
                    if below(8) == 0 { text = model.to_owned() } else { edit(&mut text, &mut below) }
                }
            }
        }
    }

    #[test]
    fn only_what_has_changed_is_read() {
        let mut kept = Kept::of(1 << 20);
        read(MODELS[1], 0, &mut kept);
        let before = kept.young.len();
        let changed = MODELS[1].replacen("conv1:", "conv0:", 1);
        assert_ne!(changed, MODELS[1]);
        read(&changed, 0, &mut kept);
        assert_eq!(kept.young.len(), before + 1);
        let mut none = Kept::default();
        read(MODELS[1], 0, &mut none);
        assert!(none.young.is_empty());
    }

    #[test]
    fn the_room_is_not_exceeded() {
        let mut kept = Kept::of(300);
        for i in 0..100 {
            read(&format!("const a{i} = {i}\nnet {{\n  relu\n  conv 3x3, {i}\n}}\n"), 0, &mut kept);
            let bytes = |map: &HashMap<Key, (usize, Item)>| map.keys().map(|key| key.0.len()).sum::<usize>();
            assert!(bytes(&kept.young) <= 300 && bytes(&kept.old) <= 300);
        }
    }
}
