//! [`Page`]: families of series, written one after the other as a scrape reads them; and [`Show`], who
//! writes some.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _, NoLabelSet,
    },
    metrics::{MetricType, histogram::Histogram},
};

/// More of a name is no label: some names come from requests.
const MAX_LABEL_BYTES: usize = 256;

pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

/// Somebody who has something to show.
pub(super) trait Show: Send + Sync + 'static {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result;
}

/// The same for a registry of the library.
pub(super) struct Part<S>(pub(super) S);

impl<S> fmt::Debug for Part<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Part")
    }
}

impl<S: Show> Collector for Part<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.show(&mut Page(encoder))
    }
}

/// A family's name and what it tells: the text of `# HELP`, and of docs/OBSERVABILITY.md.
pub(super) type Named = (&'static str, &'static str);

/// The labels of one series.
pub(super) type Labels<const N: usize> = [(&'static str, String); N];

/// A name from outside as a label.
pub(super) fn label(name: &str) -> String {
    ratify_core::capped_line(name, MAX_LABEL_BYTES)
}

impl Page<'_> {
    pub(super) fn counters<const N: usize, V: EncodeCounterValue>(
        &mut self,
        (name, help): Named,
        series: impl IntoIterator<Item = (Labels<N>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            let mut one = family.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, V, f64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn counter<V: EncodeCounterValue>(&mut self, named: Named, value: V) -> fmt::Result {
        self.counters(named, [([], value)])
    }

    pub(super) fn gauges<const N: usize, V: EncodeGaugeValue>(
        &mut self,
        (name, help): Named,
        series: impl IntoIterator<Item = (Labels<N>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn gauge<V: EncodeGaugeValue>(&mut self, named: Named, value: V) -> fmt::Result {
        self.gauges(named, [([], value)])
    }

    pub(super) fn histograms<const N: usize>(
        &mut self,
        (name, help): Named,
        series: impl IntoIterator<Item = (Labels<N>, Histogram)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in series {
            histogram.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Of counts that are no [`Histogram`]: bounds, each with what is in it alone.
    pub(super) fn buckets<const N: usize>(
        &mut self,
        (name, help): Named,
        series: impl IntoIterator<Item = (Labels<N>, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum, buckets) in series {
            let count = buckets.iter().map(|(_, count)| count).sum();
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}
