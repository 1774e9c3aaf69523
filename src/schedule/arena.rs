//! Offsets of buffers in the arena: buffers that are never live together may share memory.

use super::{ALIGNMENT, Buffer, Place};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Gives each buffer of a place (`Place::Arena` or `Place::Joint`) an offset and returns the bytes that one sample needs.
///
/// Greedy by size: the largest buffer first, each at the lowest gap that fits between the buffers placed already
/// that are live at the same time (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
/// inference", section 5.2).
pub fn assign(buffers: &mut [Buffer], place: fn(usize) -> Place) -> usize {
    let is_here = |buffer: &Buffer| std::mem::discriminant(&buffer.place) == std::mem::discriminant(&place(0));
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| is_here(&buffers[i])).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
    let last = order.iter().map(|&i| buffers[i].live.1).max().unwrap_or(0);
    let (mut occupied, mut size) = (Occupied::new(last + 1), 0);
    for index in order {
        let buffer = &mut buffers[index];
        debug_assert!((buffer.bytes).is_multiple_of(ALIGNMENT));
        let (first, last) = buffer.live;
        // What nobody touches needs no place.
        let offset = if first <= last { occupied.take(first..=last, buffer.bytes) } else { 0 };
        buffer.place = place(offset);
        size = size.max(offset + buffer.bytes);
    }
    size
}

/// Which parts of the arena are taken at which steps: a binary tree over the steps. Node 1 stands for all of them, nodes
/// 2 n and 2 n + 1 for the halves of what n stands for.
struct Occupied {
    /// Leaves of the tree.
    steps: usize,
    /// For each node, what buffers take that are live during all of its steps, but not during all of those above it.
    always: Vec<Ranges>,
    /// For each node, what it and all nodes below it have in `always`.
    ever: Vec<Ranges>,
}

impl Occupied {
    fn new(steps: usize) -> Occupied {
        let steps = steps.next_power_of_two();
        Occupied { steps, always: vec![Ranges::default(); 2 * steps], ever: vec![Ranges::default(); 2 * steps] }
    }

    /// Takes the lowest `bytes` that are free during all of `live`.
    fn take(&mut self, live: RangeInclusive<usize>, bytes: usize) -> usize {
        let offset = self.lowest_gap(&live, bytes);
        for node in self.cover(&live) {
            self.always[node].insert(offset, offset + bytes);
            self.with_above(node).for_each(|above| self.ever[above].insert(offset, offset + bytes));
        }
        offset
    }

    fn lowest_gap(&self, live: &RangeInclusive<usize>, bytes: usize) -> usize {
        let within = self.cover(live).into_iter().map(|node| &self.ever[node]);
        let ends = [live.start(), live.end()].into_iter();
        let around = ends.flat_map(|step| self.with_above(self.steps + step)).map(|node| &self.always[node]);
        let mut taken: Vec<(usize, usize)> = within.chain(around).flat_map(Ranges::iter).collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (begin, end) in taken {
            if begin >= offset + bytes {
                break;
            }
            offset = offset.max(end);
        }
        offset
    }

    /// The fewest nodes that together stand for `live`.
    fn cover(&self, live: &RangeInclusive<usize>) -> Vec<usize> {
        let (mut begin, mut end) = (self.steps + live.start(), self.steps + live.end() + 1);
        let mut nodes = Vec::new();
        while begin < end {
            if begin % 2 == 1 {
                nodes.push(begin);
                begin += 1;
            }
            if end % 2 == 1 {
                end -= 1;
                nodes.push(end);
            }
            (begin, end) = (begin / 2, end / 2);
        }
        nodes
    }

    /// A node and all above it.
    fn with_above(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        std::iter::successors(Some(node), |&node| (node > 1).then_some(node / 2))
    }
}

/// A set of bytes, as ranges that do not touch each other: from each beginning to its end.
#[derive(Clone, Default)]
struct Ranges(BTreeMap<usize, usize>);

impl Ranges {
    fn insert(&mut self, mut begin: usize, mut end: usize) {
        while let Some((&other, &other_end)) = self.0.range(..=end).next_back().filter(|(_, other)| **other >= begin) {
            (begin, end) = (begin.min(other), end.max(other_end));
            self.0.remove(&other);
        }
        self.0.insert(begin, end);
    }

    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.0.iter().map(|(&begin, &end)| (begin, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer(bytes: usize, live: (usize, usize)) -> Buffer {
        Buffer { place: Place::Arena(0), bytes, live }
    }

    #[test]
    fn values_of_a_chain_share_two_places() {
        let mut buffers = [buffer(256, (0, 1)), buffer(128, (1, 2)), buffer(256, (2, 3)), buffer(128, (3, 4))];
        assert_eq!(assign(&mut buffers, Place::Arena), 384);
    }

    #[test]
    fn buffers_live_together_do_not_overlap() {
        let mut buffers = [buffer(64, (0, 9)), buffer(192, (0, 2)), buffer(128, (2, 4)), buffer(64, (3, 5))];
        assign(&mut buffers, Place::Arena);
        for (i, a) in buffers.iter().enumerate() {
            for b in &buffers[..i] {
                let (Place::Arena(x), Place::Arena(y)) = (a.place, b.place) else { unreachable!() };
                let apart = x + a.bytes <= y || y + b.bytes <= x;
                assert!(apart || a.live.1 < b.live.0 || b.live.1 < a.live.0, "{a:?} {b:?}");
            }
        }
    }

    /// What [`assign`] does, in so many words.
    fn assign_one_by_one(buffers: &mut [Buffer]) {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
        for (count, &index) in order.iter().enumerate() {
            let buffer = &buffers[index];
            let together = |other: &&Buffer| other.live.0 <= buffer.live.1 && buffer.live.0 <= other.live.1;
            let placed = order[..count].iter().map(|&i| &buffers[i]).filter(together);
            let taken: Vec<(usize, usize)> = placed.map(|other| (offset(other), offset(other) + other.bytes)).collect();
            let free = |start: &usize| taken.iter().all(|&(b, e)| start + buffer.bytes <= b || e <= *start);
            let lowest = std::iter::once(0).chain(taken.iter().map(|&(_, end)| end)).filter(free).min();
            buffers[index].place = Place::Arena(lowest.unwrap());
        }
    }

    fn offset(buffer: &Buffer) -> usize {
        let Place::Arena(offset) = buffer.place else { unreachable!() };
        offset
    }

    proptest! {
        #[test]
        fn each_buffer_is_in_the_lowest_gap(sizes in prop::collection::vec((1usize..6, 0usize..20, 0usize..20), 1..40)) {
            let live = |a: usize, b: usize| (a.min(b), a.max(b));
            let mut buffers: Vec<Buffer> = sizes.iter().map(|&(size, a, b)| buffer(64 * size, live(a, b))).collect();
            // Nobody touches it.
            buffers.push(buffer(0, (usize::MAX, 0)));
            let mut expected = buffers.clone();
            let size = assign(&mut buffers, Place::Arena);
            assign_one_by_one(&mut expected);
            prop_assert_eq!(&buffers, &expected);
            prop_assert_eq!(size, buffers.iter().map(|b| offset(b) + b.bytes).max().unwrap());
        }
    }
}
