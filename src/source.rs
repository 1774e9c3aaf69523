//! Source texts and the spans that point into them.
//!
//! Every text that a person wrote (model files, `-D` arguments) lives in one [`SourceMap`]; a [`Span`] names a
//! byte range of one of them and is small enough to be carried by every syntax and graph node.

use std::ops::Range;

/// What a text is called that was given as an argument.
pub(crate) const ARGUMENT: &str = "-D";

/// Before the names of texts that came along, in a text that uses them.
pub(crate) const ZOO_PATH: &str = "zoo:";

/// Handle of a text in a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A byte range of one source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
}

impl Span {
    /// A span of `file` over `range`, in bytes.
    pub fn new(file: FileId, range: Range<usize>) -> Self {
        Span { file, start: range.start as u32, end: range.end as u32 }
    }

    /// The smallest span that covers both; `other` must lie in the same text.
    pub fn to(self, other: Span) -> Span {
        debug_assert_eq!(self.file, other.file);
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The place before it.
    pub fn before(self) -> Span {
        Span { end: self.start, ..self }
    }

    /// The place behind it.
    pub fn behind(self) -> Span {
        Span { start: self.end, ..self }
    }

    /// The byte range, for slicing the text.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One source text and the name it is shown under.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What messages call it: its path.
    pub name: String,
    /// The whole of it.
    pub text: String,
    /// Where each line begins.
    lines: Vec<u32>,
}

impl SourceFile {
    /// The line of a place, counted from 0.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start as usize <= at) - 1
    }

    /// The lines that a range touches, whole, and the number of the first, counted from 1. Behind the newline of the last
    /// line there is no other.
    pub(crate) fn around(&self, range: Range<usize>) -> (Range<usize>, usize) {
        let behind = range.start == self.text.len() && self.text.ends_with('\n');
        let first = self.line(range.start) - usize::from(behind);
        let end = self.lines.get(self.line(range.end) + 1).map_or(self.text.len(), |&start| start as usize);
        (self.lines[first] as usize..end, first + 1)
    }
}

/// All source texts of a compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text; `name` is what diagnostics show.
    ///
    /// # Panics
    /// If the text is 4 GiB or longer: readers refuse such files long before (see `io::text`).
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let (name, text) = (name.into(), text.into());
        assert!(u32::try_from(text.len()).is_ok(), "source text of 4 GiB");
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect();
        self.files.push(SourceFile { name, text, lines });
        FileId(self.files.len() as u32 - 1)
    }

    /// The text of a handle.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// The handles of all texts, in the order in which they were added.
    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..self.files.len() as u32).map(FileId)
    }

    /// All texts, in the order in which they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The files that the first one uses, except those that come along.
    pub fn used(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().skip(1).filter(|file| file.name != ARGUMENT && !file.name.starts_with(ZOO_PATH))
    }

    /// The name of a text that is used and in no file of the user's.
    pub(crate) fn of_zoo(&self, id: FileId) -> Option<&str> {
        self.file(id).name.strip_prefix(ZOO_PATH).filter(|_| id != FileId(0))
    }

    /// The text under a span.
    pub fn slice(&self, span: Span) -> &str {
        &self.file(span.file).text[span.range()]
    }

    /// Line and column of the start of a span, both counted from 1, columns in characters.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let file = self.file(span.file);
        let line = file.line(span.start as usize);
        let before = &file.text[file.lines[line] as usize..span.start as usize];
        (line + 1, before.chars().count() + 1)
    }

    /// `file:line` of the start of a span.
    pub fn place(&self, span: Span) -> String {
        format!("{}:{}", self.file(span.file).name, self.line_column(span).0)
    }
}
