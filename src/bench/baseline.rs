//! Results beside those of an earlier report.

use super::report::{Measurement, Report};

/// One setting, then and now.
#[derive(Debug)]
pub struct Change<'a> {
    pub then: &'a Measurement,
    pub now: &'a Measurement,
}

impl Change<'_> {
    /// Median time now over median time then.
    pub fn ratio(&self) -> f64 {
        self.now.steady.median_s / self.then.steady.median_s
    }

    pub fn is_slower_by(&self, percent: f64) -> bool {
        self.ratio() > 1.0 + percent / 100.0
    }
}

/// The results whose setting is in both reports, in the order of the new one.
pub fn changes<'a>(then: &'a Report, now: &'a Report) -> Vec<Change<'a>> {
    let earlier = |now: &Measurement| then.results.iter().find(|then| then.setting == now.setting);
    now.results.iter().filter_map(|now| Some(Change { then: earlier(now)?, now })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::report;

    #[test]
    fn settings_are_matched_and_compared() {
        let (then, mut now) = (report(), report());
        now.results.swap(0, 1);
        now.results[0].steady.median_s *= 1.5;
        now.results[1].setting.batch = 9;
        let changes = changes(&then, &now);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].now.setting.engine, "portable");
        assert!(changes[0].is_slower_by(49.0) && !changes[0].is_slower_by(51.0));
    }
}
