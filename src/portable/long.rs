//! Sums of many terms: see [`crate::kernels::long`].

use crate::kernels::long::CHAIN;
use wide::f32x8;

/// Totals of a tile's sums, which keep what rounding loses of them.
pub struct Totals<const V: usize, const P: usize> {
    sums: [[f32x8; V]; P],
    lost: [[f32x8; V]; P],
    /// Of the chain that has not been added yet.
    terms: usize,
    /// Whether one has been.
    any: bool,
}

impl<const V: usize, const P: usize> Totals<V, P> {
    pub fn new() -> Totals<V, P> {
        let zero = [[f32x8::ZERO; V]; P];
        Totals { sums: zero, lost: zero, terms: 0, any: false }
    }

    /// Says that so many terms were added to each of `sums`: where their chain is long enough, it is added and begins
    /// anew at zero.
    #[inline(always)]
    pub fn passed(&mut self, terms: usize, sums: &mut [[f32x8; V]; P]) {
        self.terms += terms;
        if self.terms >= CHAIN {
            self.add(sums);
        }
    }

    /// The totals with the last chain.
    #[inline(always)]
    pub fn finish(mut self, mut sums: [[f32x8; V]; P]) -> [[f32x8; V]; P] {
        if !self.any {
            return sums;
        }
        self.add(&mut sums);
        self.sums
    }

    fn add(&mut self, sums: &mut [[f32x8; V]; P]) {
        (self.terms, self.any) = (0, true);
        let totals = self.sums.as_flattened_mut().iter_mut().zip(self.lost.as_flattened_mut());
        for ((total, lost), part) in totals.zip(sums.as_flattened_mut()) {
            let exact = *part - *lost;
            let sum = *total + exact;
            let more = (sum - *total) - exact;
            // What an infinite sum has lost is infinite or NaN, and forgotten.
            (*total, *lost, *part) = (sum, more.is_finite().select(more, f32x8::ZERO), f32x8::ZERO);
        }
    }
}
