"""Metrics text: a sample in Prometheus' text format, with the process's own figures. Loads prometheus_client.

Only the endpoint's thread uses a ``Page``; the loop's thread only exchanges its ``sample``.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sentineld.metrics import COUNTER, HISTOGRAM, METRICS, Buckets, Metric, Sample, Value

#: What a ``Page`` is served as.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Text and figures from the database are made anew after so many seconds at the earliest.
_TEXT_S, _SLOW_S = 1.0, 60.0


class Page(Collector):
    """The text of the newest sample. ``slow`` adds figures that take a query, and is asked once a minute."""

    def __init__(self, sample: Sample, slow: Callable[[], Sample]) -> None:
        self.sample = sample
        self._slow = slow
        self._slow_values: Sample = {}
        self._text = b""
        self._text_due = self._slow_due = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(namespace="sentineld", registry=self._registry)

    def text(self) -> bytes:
        """Return the page; it is made at most once a second, however many ask."""
        now = time.monotonic()
        if now >= self._text_due:
            if now >= self._slow_due:
                self._slow_values, self._slow_due = self._slow(), now + _SLOW_S
            self._text = generate_latest(self._registry)
            self._text_due = time.monotonic() + _TEXT_S
        return self._text

    def collect(self) -> Iterator[Family]:
        """Yield what prometheus_client writes down."""
        values = {**self.sample, **self._slow_values}
        for metric in METRICS:
            if metric.name in values:
                yield _family(metric, values[metric.name])


def _family(metric: Metric, values: Mapping[tuple[str, ...], Value]) -> Family:
    if metric.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values.items():
            if isinstance(value, Buckets):
                histogram.add_metric(labels, _cumulated(value), value.total)
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    make = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        if not isinstance(value, Buckets):
            family.add_metric(labels, value)
    return family


def _cumulated(value: Buckets) -> list[tuple[str, float]]:
    bounds: Iterable[str] = (*map(floatToGoString, value.bounds), "+Inf")
    return list(zip(bounds, accumulate(value.counts), strict=True))
