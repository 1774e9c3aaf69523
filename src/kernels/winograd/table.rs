//! Where the loops find what differs from tile to tile.

use super::Code;

/// Words of a row of tiles: kind of its span; byte offset of its first input row that is not padding; rows of frequencies;
/// byte offsets of its full tiles and of its edge in V and M; index of its height in outputs.
pub const ROW_WORDS: usize = 6;

/// Words of a group of columns: full tiles; edges; byte offset of its first output column.
pub const GROUP_WORDS: usize = 3;

/// Words of a strip of a group of columns (see [`Code::strip_tiles`]): byte offset of its first input column that is not
/// padding; columns of padding before it, columns that are not padding, and columns of padding behind them; full tiles;
/// edges; byte offset of the full tiles in those of the group.
pub const STRIP_WORDS: usize = 7;

/// Words of a row of outputs that are made one by one: kind of its span; byte offset of its first input row that is not
/// padding.
pub const SINGLE_ROW_WORDS: usize = 2;

/// Words of a column of such outputs: byte offsets of its first input column that is not padding, in the input and in
/// the strip; such columns.
pub const SINGLE_COLUMN_WORDS: usize = 3;

/// Byte offsets of the parts behind the rows of tiles.
pub struct Offsets {
    pub groups: i64,
    pub strips: i64,
    pub single_rows: i64,
    pub single_columns: i64,
}

impl Code {
    /// Entries of [`ROW_WORDS`] for each row of tiles, of [`GROUP_WORDS`] for each group of columns, of [`STRIP_WORDS`] for
    /// each strip of each group, of [`SINGLE_ROW_WORDS`] for each row of outputs, and of [`SINGLE_COLUMN_WORDS`] for each
    /// column.
    pub(super) fn table(&self) -> Vec<i64> {
        let groups = 0..self.groups(1);
        let strips = groups.clone().flat_map(|group| (0..self.strips_of_group()).map(move |strip| (group, strip)));
        let mut table: Vec<i64> = (0..self.dims[0].tiles()).flat_map(|row| self.row_entry(row)).collect();
        table.extend(groups.flat_map(|group| self.group_entry(group)));
        table.extend(strips.flat_map(|(group, strip)| self.strip_entry(group, strip)));
        self.extend_by_singles(&mut table);
        table
    }

    pub(super) fn offsets(&self) -> Offsets {
        let groups = self.dims[0].tiles() * ROW_WORDS;
        let strips = groups + self.groups(1) * GROUP_WORDS;
        let single_rows = strips + self.groups(1) * self.strips_of_group() * STRIP_WORDS;
        let single_columns = single_rows + self.dims[0].output * SINGLE_ROW_WORDS;
        let [groups, strips, single_rows, single_columns] =
            [groups, strips, single_rows, single_columns].map(|words| words as i64 * 8);
        Offsets { groups, strips, single_rows, single_columns }
    }

    /// Strips of a group of columns; the last group may have fewer tiles, and strips without any.
    pub(super) fn strips_of_group(&self) -> usize {
        self.group[1].div_ceil(self.strip_tiles())
    }

    fn row_entry(&self, row: usize) -> [i64; ROW_WORDS] {
        let rows = &self.dims[0];
        let span = rows.span(row);
        let kind = rows.kinds().iter().position(|kind| *kind == span).expect("a kind");
        let input = (row * rows.m + span.first) as i64 - rows.pad as i64;
        let place = |column: usize| self.place(row, column) as i64 * self.vector();
        let height = i64::from(span.outputs != rows.m);
        let size = rows.size_of(span.outputs) as i64;
        [kind as i64, input * self.input_row(), size, place(0), place(self.dims[1].full()), height]
    }

    fn group_entry(&self, group: usize) -> [i64; GROUP_WORDS] {
        let first = group * self.group[1];
        let [full, edges] = self.full_and_edges(first, self.group[1]);
        [full as i64, edges as i64, (first * self.dims[1].m) as i64 * self.vector()]
    }

    fn strip_entry(&self, group: usize, strip: usize) -> [i64; STRIP_WORDS] {
        let columns = &self.dims[1];
        let before = strip * self.strip_tiles();
        let (first, most) =
            (group * self.group[1] + before, self.strip_tiles().min(self.group[1].saturating_sub(before)));
        let [full, edges] = self.full_and_edges(first, most);
        if full + edges == 0 {
            return [0; STRIP_WORDS];
        }
        let start = first * columns.m;
        let last = first + full + edges - 1;
        let end = last * columns.m + columns.size_of(columns.outputs(last));
        let clip = |column: usize| column.clamp(columns.pad, columns.pad + columns.input).clamp(start, end);
        let (real, end_of_real) = (clip(start), clip(end));
        let input = (real as i64 - columns.pad as i64) * self.vector();
        let [left, real, right, full, edges] =
            [real - start, end_of_real - real, end - end_of_real, full, edges].map(|n| n as i64);
        [input, left, real, right, full, edges, before as i64 * self.vector()]
    }

    /// Of at most `most` tiles of columns from `first` on.
    fn full_and_edges(&self, first: usize, most: usize) -> [usize; 2] {
        let columns = &self.dims[1];
        let last = (first + most).min(columns.tiles()).max(first);
        let full = last.min(columns.full()).saturating_sub(first);
        [full, (last - first) - full]
    }

    fn extend_by_singles(&self, table: &mut Vec<i64>) {
        let [rows, columns] = &self.dims;
        let kinds = rows.single_kinds();
        for row in 0..rows.output {
            let span = rows.single_span(row);
            let kind = kinds.iter().position(|kind| *kind == span).expect("a kind");
            table.extend([kind as i64, ((row + span.first) as i64 - rows.pad as i64) * self.input_row()]);
        }
        for column in 0..columns.output {
            let span = columns.single_span(column);
            let input = (column + span.first) as i64 - columns.pad as i64;
            let strip = span.first as i64 * self.vector();
            table.extend([input * self.vector(), strip, (span.last - span.first) as i64]);
        }
    }
}
