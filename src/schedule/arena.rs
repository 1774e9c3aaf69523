//! Offsets of buffers in the arena: buffers that are never live together may share memory.

use super::{ALIGNMENT, Buffer, Place};

/// Gives each arena buffer an offset and returns the elements of the arena for one sample.
///
/// Greedy by size: the largest buffer first, each at the lowest gap that fits between the buffers placed already
/// that are live at the same time (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
/// inference", section 5.2).
pub fn assign(buffers: &mut [Buffer]) -> usize {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| matches!(buffers[i].place, Place::Arena(_))).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].elements), i));
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0;
    for index in order {
        let offset = lowest_gap(buffers, &placed, index);
        buffers[index].place = Place::Arena(offset);
        size = size.max(offset + buffers[index].elements);
        placed.push(index);
    }
    size
}

fn lowest_gap(buffers: &[Buffer], placed: &[usize], index: usize) -> usize {
    let buffer = &buffers[index];
    debug_assert!((buffer.elements * 4).is_multiple_of(ALIGNMENT));
    let mut taken: Vec<(usize, usize)> = placed
        .iter()
        .map(|&i| &buffers[i])
        .filter(|other| other.live.0 <= buffer.live.1 && buffer.live.0 <= other.live.1)
        .map(|other| match other.place {
            Place::Arena(offset) => (offset, offset + other.elements),
            Place::Input(_) | Place::Output(_) => unreachable!("only arena buffers are placed"),
        })
        .collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (begin, end) in taken {
        if begin >= offset + buffer.elements {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(elements: usize, live: (usize, usize)) -> Buffer {
        Buffer { place: Place::Arena(0), elements, live }
    }

    #[test]
    fn values_of_a_chain_share_two_places() {
        let mut buffers = [buffer(64, (0, 1)), buffer(32, (1, 2)), buffer(64, (2, 3)), buffer(32, (3, 4))];
        assert_eq!(assign(&mut buffers), 96);
    }

    #[test]
    fn buffers_live_together_do_not_overlap() {
        let mut buffers = [buffer(16, (0, 9)), buffer(48, (0, 2)), buffer(32, (2, 4)), buffer(16, (3, 5))];
        assign(&mut buffers);
        for (i, a) in buffers.iter().enumerate() {
            for b in &buffers[..i] {
                let (Place::Arena(x), Place::Arena(y)) = (a.place, b.place) else { unreachable!() };
                let apart = x + a.elements <= y || y + b.elements <= x;
                assert!(apart || a.live.1 < b.live.0 || b.live.1 < a.live.0, "{a:?} {b:?}");
            }
        }
    }
}
