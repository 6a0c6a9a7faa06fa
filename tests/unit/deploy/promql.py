"""What a PromQL expression asks for, and whether a process of ours exports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import promql_parser as p
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from captionstream.telemetry import metrics

SCRAPED = frozenset({"job", "instance", "service"})  # labels that prometheus.yml adds to every series
PROMETHEUS: Mapping[str, frozenset[str]] = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}
PARTS = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


def exported() -> dict[str, frozenset[str]]:
    """Every series that a process exports, with its labels."""
    ours = {
        name + part: frozenset(metric._labelnames) | ({"le"} if part == "_bucket" else set())
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for name in (metric._name,)
        for part in PARTS[metric._type]
    }
    of_the_process = {
        sample.name: frozenset[str]()
        for family in REGISTRY.collect()
        if family.name.startswith("process_")
        for sample in family.samples
    }
    return {**of_the_process, **ours}


@dataclass(frozen=True)
class Asked:
    """A series by name, and every label that the expression uses with it."""

    series: str
    labels: frozenset[str]


def asked(expression: str) -> list[Asked]:
    """Raises ValueError for what is no PromQL."""
    parsed = p.parse(expression.replace("$__rate_interval", "5m"))
    return list(selectors(parsed, frozenset()))


def selectors(node: p.Expr, by: frozenset[str]) -> Iterator[Asked]:
    """Selectors below `node`; `by` is what the aggregations above keep."""
    if isinstance(node, p.VectorSelector):
        yield Asked(node.name, by | {matcher.name for matcher in node.matchers.matchers})
    elif isinstance(node, p.MatrixSelector):
        yield from selectors(node.vector_selector, by)
    elif isinstance(node, p.AggregateExpr):
        kept = frozenset(node.modifier.labels) if node.modifier else frozenset()
        yield from selectors(node.expr, by | kept)
    elif isinstance(node, p.BinaryExpr):
        yield from selectors(node.lhs, by)
        yield from selectors(node.rhs, by)
    elif isinstance(node, p.Call):
        for argument in node.args:
            yield from selectors(argument, by)
    elif isinstance(node, p.ParenExpr | p.UnaryExpr | p.SubqueryExpr):
        yield from selectors(node.expr, by)


def wrong(expression: str, recorded: Mapping[str, frozenset[str]] | None = None) -> list[str]:
    """A sentence for each name and label in `expression` that nobody exports. Empty is well."""
    known = {**exported(), **PROMETHEUS, **(recorded or {})}
    found = []
    for one in asked(expression):
        if one.series not in known:
            found.append(f"nobody exports {one.series}")
        elif strange := one.labels - known[one.series] - SCRAPED:
            found.append(f"{one.series} has no label {', '.join(sorted(strange))}")
    return found
