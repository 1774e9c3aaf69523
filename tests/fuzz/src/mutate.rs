//! A mutator whose every choice follows from a seed.

/// Inputs are cut to this length.
pub const MAX_LEN: usize = 1 << 18;

/// Numbers that files get wrong.
const NUMBERS: [u64; 10] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 62, u64::MAX];

/// A linear congruential generator (Knuth's MMIX), of which the upper bits are used.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 32
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.next() as usize % n }
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        items.get(self.below(items.len())).copied()
    }
}

/// One to eight changes of `input`; parts come from itself, from `other` inputs and from the dictionary.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], dictionary: &[&str], random: &mut Random) {
    for _ in 0..1 + random.below(8) {
        change(input, other, dictionary, random);
    }
    input.truncate(MAX_LEN);
}

fn change(input: &mut Vec<u8>, other: &[u8], dictionary: &[&str], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(12) {
        0 | 1 => flip(input, at, random),
        2 => set(input, at, &[random.next() as u8]),
        3 => add(input, at, random),
        4 => number(input, at, random),
        5 => insert(input, at, &[random.next() as u8]),
        6 => {
            let end = at + random.below(16).min(input.len() - at);
            input.drain(at..end);
        }
        7 => input.truncate(at),
        8 => insert(input, at, part(other, random, 64)),
        9 => {
            let own = part(input, random, 64).to_vec();
            insert(input, at, &own);
        }
        10 => {
            let rest = random.below(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[rest..]);
        }
        _ => {
            let token = random.pick(dictionary).unwrap_or_default();
            if random.below(2) == 0 { insert(input, at, token.as_bytes()) } else { set(input, at, token.as_bytes()) }
        }
    }
}

fn flip(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Lengths and counts that are off by a little.
fn add(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        let little = [1u8, 2, 4, 255, 254, 252][random.below(6)];
        *byte = byte.wrapping_add(little);
    }
}

/// A number of one to eight bytes in either order.
fn number(input: &mut [u8], at: usize, random: &mut Random) {
    let (value, len) = (NUMBERS[random.below(NUMBERS.len())], 1 << random.below(4));
    let mut bytes = value.to_le_bytes()[..len].to_vec();
    if random.below(2) == 0 {
        bytes.reverse();
    }
    set(input, at, &bytes);
}

/// Overwrites what is there.
fn set(input: &mut [u8], at: usize, bytes: &[u8]) {
    input[at..].iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn part<'a>(bytes: &'a [u8], random: &mut Random, longest: usize) -> &'a [u8] {
    let begin = random.below(bytes.len());
    let len = random.below(longest).min(bytes.len() - begin);
    &bytes[begin..begin + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let inputs = |seed| {
            let (mut random, mut input) = (Random::new(seed), b"some words of an input".to_vec());
            let step = |_| {
                mutate(&mut input, b"others", &["token"], &mut random);
                input.clone()
            };
            (0..200).map(step).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn nothing_is_mutated_into_something_and_lengths_are_bounded() {
        let (mut random, mut input) = (Random::new(1), Vec::new());
        for _ in 0..1000 {
            mutate(&mut input, &[7; 100], &[], &mut random);
            assert!(input.len() <= MAX_LEN);
        }
        assert!(!input.is_empty());
    }
}
