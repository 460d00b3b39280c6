"""What is shown of a datacenter at one moment: families of samples, as Prometheus calls them."""

from collections.abc import Iterable, Iterator, Mapping
from math import inf

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from dc.histogram import Histogram

PREFIX = "farshore_"

Value = float | None
"""None: not known, and not shown."""
Values = Iterable[tuple[tuple[str, ...], Value]]
"""With the values of the labels."""


class Page(Collector):
    """Filled when somebody asks, and thrown away. Names are without `farshore_`, and those of
    counters without `_total`."""

    def __init__(self) -> None:
        self._families: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        yield from self._families

    def gauge(self, name: str, text: str, value: Value) -> None:
        self.gauges(name, text, (), [((), value)])

    def gauges(self, name: str, text: str, labels: tuple[str, ...], values: Values) -> None:
        self._add(GaugeMetricFamily(PREFIX + name, text, labels=labels), values)

    def states(self, name: str, text: str, label: str, all_of: Iterable[str], now: str) -> None:
        """1 for the state that something is in, 0 for all others."""
        self.gauges(name, text, (label,), [((one,), one == now) for one in all_of])

    def counts(
        self, name: str, text: str, label: str, counted: Mapping[str, int], always: Iterable[str]
    ) -> None:
        """How many are in each state; those in `always` are shown when there are none, too."""
        values = {**dict.fromkeys(always, 0), **counted}
        self.gauges(name, text, (label,), [((one,), count) for one, count in values.items()])

    def counter(self, name: str, text: str, value: Value) -> None:
        self.counters(name, text, (), [((), value)])

    def counters(self, name: str, text: str, labels: tuple[str, ...], values: Values) -> None:
        self._add(CounterMetricFamily(PREFIX + name, text, labels=labels), values)

    def histograms(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        values: Iterable[tuple[tuple[str, ...], Histogram]],
    ) -> None:
        family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
        for of, histogram in values:
            buckets = [
                ("+Inf" if bound == inf else repr(bound), count)
                for bound, count in histogram.at_most()
            ]
            family.add_metric(of, buckets, histogram.total)
        self._families.append(family)

    def _add(self, family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> None:
        for of, value in values:
            if value is not None:
                family.add_metric(of, value)
        self._families.append(family)
