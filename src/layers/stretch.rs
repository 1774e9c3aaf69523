//! Sums and products of a value with one that has fewer numbers.

use super::*;

/// What the second value of a sum or product has a number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Each {
    /// One for each element: it is of the same shape.
    Element,
    /// One for each channel: [N, C] or [N, C, 1, 1].
    Channel,
    /// One for each position: [N, 1, H, W].
    Position,
    /// One for each sample: [N, 1, 1, 1].
    Sample,
}

impl Each {
    /// `None` where `other` does not fit `x`.
    pub fn of(x: &TensorType, other: &TensorType) -> Option<Each> {
        if other.batch != x.batch {
            return None;
        }
        if other.dims == x.dims {
            return Some(Each::Element);
        }
        let one_position = other.spatial().iter().all(|&size| size == 1);
        let (channels, one_channel) = (other.channels() == x.channels(), other.channels() == 1);
        match (one_position, other.spatial() == x.spatial()) {
            (true, _) if channels => Some(Each::Channel),
            (true, _) if one_channel => Some(Each::Sample),
            (_, true) if one_channel => Some(Each::Position),
            _ => None,
        }
    }

    /// The shapes that a factor may have, in words.
    pub fn help(x: &TensorType) -> String {
        format!("end the gate in {} channels or in one, with the sizes of the value or with one position", x.channels())
    }
}

/// f(x, other), element by element, of values that fit.
pub(super) fn zip(x: &Tensor, other: &Tensor, f: impl Fn(f32, f32) -> f32) -> Tensor {
    let mut y = x.clone();
    for n in 0..y.batch() {
        for c in 0..y.channels() {
            let others = other.plane(n, c.min(other.channels() - 1));
            let values = y.plane_mut(n, c).iter_mut().enumerate();
            values.for_each(|(p, value)| *value = f(*value, others[p.min(others.len() - 1)]));
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn what_there_is_a_number_for() {
        let each = |x: &[usize], other: &[usize]| Each::of(&ty(x), &ty(other));
        assert_eq!(each(&[3, 4, 5], &[3, 4, 5]), Some(Each::Element));
        assert_eq!(each(&[3, 4, 5], &[3, 1, 1]), Some(Each::Channel));
        assert_eq!(each(&[3, 4, 5], &[3]), Some(Each::Channel));
        assert_eq!(each(&[3, 4, 5], &[1, 4, 5]), Some(Each::Position));
        assert_eq!(each(&[3, 4, 5], &[1, 1, 1]), Some(Each::Sample));
        assert_eq!(each(&[3, 1, 1], &[1, 1, 1]), Some(Each::Sample));
        assert_eq!(each(&[1, 4, 5], &[1, 1, 1]), Some(Each::Channel));
        for other in [&[3, 1, 5][..], &[3, 4], &[2, 1, 1], &[4, 5], &[3, 5, 4], &[1, 5, 4]] {
            assert_eq!(each(&[3, 4, 5], other), None, "{other:?}");
        }
        assert_eq!(each(&[3, 1, 1], &[3, 4, 5]), None);
    }
}
