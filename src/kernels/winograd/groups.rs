//! Where the tiles of a group lie, so that those that have a frequency lie side by side: edges lack the last ones.

use super::Code;
use super::dim::Dim;
use std::ops::Range;

/// Which rows of tiles a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As many as groups have, all of full tiles.
    Inner,
    /// The last ones of the picture: those that are left, and the edge.
    Last,
}

impl Code {
    /// Rows of full tiles of a group, and of edges.
    fn rows(&self, rows: Rows) -> [usize; 2] {
        let (dim, edge) = (&self.dims[0], usize::from(self.dims[0].edge() > 0));
        match rows {
            Rows::Inner => [self.group[0], 0],
            Rows::Last => [dim.tiles() - (self.groups(0) - 1) * self.group[0] - edge, edge],
        }
    }

    /// Whether one group has all tiles of a row, and the last of them is an edge.
    fn has_edges(&self) -> bool {
        self.groups(1) == 1 && self.dims[1].edge() > 0
    }

    /// Edges in the last column that stand before all other tiles of a group: those of its rows of full tiles.
    fn first_edges(&self, rows: Rows) -> usize {
        if self.has_edges() { self.rows(rows)[0] } else { 0 }
    }

    /// Where a tile is in its group: first the edges of the last column, then all others row by row; the corner of both
    /// edges is the very last.
    pub(super) fn place(&self, row: usize, column: usize) -> usize {
        let rows = if row / self.group[0] + 1 == self.groups(0) { Rows::Last } else { Rows::Inner };
        let (row, edges, full) = (row % self.group[0], self.first_edges(rows), self.dims[1].full());
        match edges {
            0 => row * self.group[1] + column % self.group[1],
            _ if column < full => edges + row * full + column,
            _ if row < edges => row,
            _ => edges + row * full + column,
        }
    }

    /// The tiles of a group that have a frequency: first place, and number.
    pub(super) fn run(&self, rows: Rows, frequency: [usize; 2]) -> (usize, usize) {
        let [full_rows, edge] = self.rows(rows);
        let has_edge = [0, 1].map(|d| self.dims[d].edge_has(frequency[d]));
        let row_count = full_rows + if has_edge[0] { edge } else { 0 };
        let (edges, full) = (self.first_edges(rows), self.dims[1].full());
        match (edges, has_edge[1]) {
            (0, false) if self.has_edges() => (0, row_count * full),
            (0, _) => (0, row_count * self.group[1]),
            (_, false) => (edges, row_count * full),
            (_, true) => (0, edges + row_count * full + (row_count - full_rows)),
        }
    }

    /// The kinds of groups whose runs differ.
    pub(super) fn kinds_of_groups(&self) -> Vec<Rows> {
        match self.groups(0) == 1 || self.runs(Rows::Inner) == self.runs(Rows::Last) {
            true => vec![Rows::Last],
            false => vec![Rows::Inner, Rows::Last],
        }
    }

    /// All frequencies, in parts whose frequencies the same tiles have.
    pub(super) fn parts(&self) -> impl Iterator<Item = [Range<usize>; 2]> {
        let [rows, columns] = self.dims.each_ref().map(Dim::parts);
        rows.into_iter().flat_map(move |row| columns.clone().into_iter().map(move |column| [row.clone(), column]))
    }

    /// The run of each part.
    pub(super) fn runs(&self, rows: Rows) -> Vec<(usize, usize)> {
        self.parts().map(|part| self.run(rows, part.map(|frequencies| frequencies.start))).collect()
    }

    /// Different numbers of tiles that have a frequency.
    pub(super) fn run_lengths(&self) -> Vec<usize> {
        let runs = self.kinds_of_groups().into_iter().flat_map(|rows| self.runs(rows));
        let mut lengths: Vec<usize> = runs.map(|(_, length)| length).filter(|&length| length > 0).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_problem;
    use super::*;

    /// All tiles of a group of these rows, by row and column.
    fn tiles(conf: &Code, rows: Rows) -> Vec<(usize, usize)> {
        let first = if rows == Rows::Inner { 0 } else { (conf.groups(0) - 1) * conf.group[0] };
        let rows = first..(first + conf.group[0]).min(conf.dims[0].tiles());
        let columns = 0..conf.group[1].min(conf.dims[1].tiles());
        rows.flat_map(|row| columns.clone().map(move |column| (row, column))).collect()
    }

    fn check(conf: &Code, rows: Rows) {
        let (dims, group) = (&conf.dims, tiles(conf, rows));
        for frequency in (0..dims[0].size()).flat_map(|a| (0..dims[1].size()).map(move |b| [a, b])) {
            let (start, length) = conf.run(rows, frequency);
            assert!(length == 0 || conf.run_lengths().contains(&length), "{conf:?}");
            let has = |&(row, column): &(usize, usize)| {
                let sizes = [dims[0].size_of(dims[0].outputs(row)), dims[1].size_of(dims[1].outputs(column))];
                frequency[0] < sizes[0] && frequency[1] < sizes[1]
            };
            let places: Vec<usize> =
                group.iter().filter(|tile| has(tile)).map(|&(row, column)| conf.place(row, column)).collect();
            let run = start..start + length;
            assert!(places.iter().all(|place| run.contains(place)), "{frequency:?} {rows:?} {conf:?}");
            assert!(
                conf.groups(1) > 1 || places.len() == length,
                "no more than these: {frequency:?} {rows:?} {conf:?}"
            );
        }
        let mut places: Vec<usize> = group.iter().map(|&(row, column)| conf.place(row, column)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), group.len(), "{conf:?}");
        assert!(places.iter().all(|&place| place < conf.group[0] * conf.group[1]), "{conf:?}");
    }

    #[test]
    fn tiles_that_have_a_frequency_lie_side_by_side() {
        for (size, m, most) in [
            ([14, 14], [4, 4], 64),
            ([7, 7], [4, 4], 64),
            ([14, 12], [4, 4], 64),
            ([12, 14], [4, 4], 64),
            ([12, 12], [4, 4], 64),
            // Several groups of rows: the last has fewer, the edge among them, or the edge alone.
            ([30, 27], [4, 5], 21),
            ([22, 14], [4, 4], 8),
            ([17, 14], [4, 4], 8),
            ([17, 12], [4, 4], 8),
            ([9, 40], [4, 3], 6),
        ] {
            with_problem([8, size[0], size[1]], 16, [3, 3], |problem, target| {
                let conf = problem.groups(m, &[most], target).remove(0);
                check(&conf, Rows::Last);
                if conf.groups(0) > 1 {
                    check(&conf, Rows::Inner);
                }
            });
        }
    }
}
