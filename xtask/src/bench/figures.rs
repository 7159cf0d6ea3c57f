//! What was measured, what was wanted, and whether it was met. Values only.

/// The readings of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series(Vec<f64>);

impl Series {
    /// Adds a reading.
    pub(super) fn push(&mut self, reading: f64) {
        self.0.push(reading);
    }

    /// Whether nothing was measured.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many readings there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle reading, or the mean of the two; of nothing, not a number.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The least reading.
    pub(super) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The greatest reading.
    pub(super) fn greatest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(readings: I) -> Self {
        Self(readings.into_iter().collect())
    }
}

/// What the numbers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    Seconds,
    /// 1024 × 1024 bytes.
    Mebibytes,
    /// Written in thousands or millions.
    Bytes,
    /// Of a hundred.
    Percent,
    Count,
}

/// What is wanted of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// No more than this, in the figure's unit.
    AtMost(f64),
    /// No less than this, in the figure's unit.
    AtLeast(f64),
    /// No more than this share of v1's.
    OfV1(f64),
    /// Shown only.
    None,
}

/// Which reading a figure is shown and judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Judged {
    Median,
    /// The greatest: once is too often.
    Worst,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) target: Target,
    pub(super) judged: Judged,
    pub(super) ours: Series,
    /// Empty where v1 has nothing of the kind.
    pub(super) v1: Series,
    /// Who is shown it.
    pub(super) shown: Shown,
}

/// Where a figure stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shown {
    /// In docs/BENCHMARKS.md, and in the README where it has a target.
    Everywhere,
    /// In docs/BENCHMARKS.md alone.
    InDocument,
}

impl Figure {
    /// Ours, as it is judged.
    pub(super) fn our_reading(&self) -> f64 {
        self.reading(&self.ours)
    }

    /// v1's, if it has one.
    pub(super) fn v1_reading(&self) -> Option<f64> {
        (!self.v1.is_empty()).then(|| self.reading(&self.v1))
    }

    /// Ours as a share of v1's, where that says something.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.v1_reading().filter(|v1| *v1 > 0.0).map(|v1| self.our_reading() / v1)
    }

    /// Whether the target is met; what has none is. A target without readings is missed.
    pub(super) fn is_met(&self) -> bool {
        match self.target {
            Target::AtMost(limit) => self.our_reading() <= limit,
            Target::AtLeast(limit) => self.our_reading() >= limit,
            Target::OfV1(share) => self.ratio().is_some_and(|ratio| ratio <= share),
            Target::None => true,
        }
    }

    fn reading(&self, series: &Series) -> f64 {
        match self.judged {
            Judged::Median => series.median(),
            Judged::Worst => series.greatest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(target: Target, judged: Judged, ours: &[f64], v1: &[f64]) -> Figure {
        let series = |readings: &[f64]| readings.iter().copied().collect();
        let (ours, v1) = (series(ours), series(v1));
        let shown = Shown::Everywhere;
        Figure { name: "x", unit: Unit::Count, target, judged, ours, v1, shown }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Series(vec![9.0, 1.0, 5.0]).median(), 5.0);
        assert_eq!(Series(vec![9.0, 1.0, 5.0, 3.0]).median(), 4.0);
        assert!(Series::default().median().is_nan());
    }

    #[test]
    fn a_share_is_judged_by_medians() {
        let met = figure(Target::OfV1(0.5), Judged::Median, &[1.0, 2.0, 99.0], &[4.0]);
        assert!(met.is_met());
        let missed = figure(Target::OfV1(0.5), Judged::Median, &[2.1], &[4.0]);
        assert!(!missed.is_met());
    }

    #[test]
    fn once_is_too_often_for_the_worst() {
        assert!(!figure(Target::AtMost(0.0), Judged::Worst, &[0.0, 1.0, 0.0], &[]).is_met());
        assert!(figure(Target::AtMost(0.0), Judged::Worst, &[0.0, 0.0], &[30.0]).is_met());
    }

    #[test]
    fn what_must_not_be_less_may_be_more() {
        let judged = |reading| figure(Target::AtLeast(80.0), Judged::Median, &[reading], &[]);
        assert!(judged(80.0).is_met() && judged(130.0).is_met());
        assert!(!judged(79.9).is_met());
    }

    #[test]
    fn a_target_without_readings_is_missed() {
        assert!(!figure(Target::AtMost(1.0), Judged::Median, &[], &[]).is_met());
        assert!(!figure(Target::AtLeast(1.0), Judged::Median, &[], &[]).is_met());
        assert!(!figure(Target::OfV1(1.0), Judged::Median, &[1.0], &[]).is_met());
        assert!(figure(Target::None, Judged::Median, &[], &[]).is_met());
    }
}
