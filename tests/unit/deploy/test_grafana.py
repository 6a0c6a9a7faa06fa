"""The dashboard: every expression is PromQL and names what our services export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.promql import SCRAPED, asked, exported, wrong

FOLDER = Path(__file__).parents[3] / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboards" / "captionstream.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
NOT_SHOWN = {
    "captionstream_generator_kl_from_fp32",  # set once, when a model is loaded
    "captionstream_reuse_bytes",  # bounded by settings: for who changes them
    "captionstream_watched_skipped_total",  # what the monitor passes over: for its developers
    "captionstream_anomalies_total",  # captionstream_anomaly_standing shows the same as it lasts
}


def expressions() -> Iterator[str]:
    yield from (target["expr"] for _, target in TARGETS)
    yield from (note["expr"] for note in DASHBOARD["annotations"]["list"])


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_expression_asks_for_what_we_export(expression: str) -> None:
    """A parser reads it; each series and each label in it is exported with that label."""
    assert [] == wrong(expression)


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ("rate(captionstream_message_total[5m])", "nobody exports captionstream_message_total"),
        ("rate(captionstream_messages[5m])", "nobody exports captionstream_messages"),
        ("sum by (tenant) (captionstream_in_flight)", "captionstream_in_flight has no label tenant"),
        ('captionstream_work_seconds_sum{le="1"}', "captionstream_work_seconds_sum has no label le"),
    ],
)
def test_a_wrong_name_is_found(planted: str, complaint: str) -> None:
    """A name that was misspelt, a counter without its ending, a label that is not there."""
    assert [complaint] == wrong(planted)


def test_what_is_no_expression_is_found() -> None:
    """An open bracket is not read as something else."""
    with pytest.raises(ValueError, match="paren"):
        wrong("sum(rate(captionstream_messages_total[5m])")


def test_legends_name_labels_of_their_series() -> None:
    """A legend with an unknown label would be empty."""
    known = exported()
    for title, target in TARGETS:
        labels = {label for one in asked(target["expr"]) for label in known.get(one.series, frozenset())}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels | SCRAPED, title


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    """What is worth measuring is worth seeing; what is left out is named with its reason."""
    shown = {re.sub(r"_(bucket|sum|count)$", "", one.series) for each in expressions() for one in asked(each)}
    ours = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in exported() if name.startswith("captionstream_")
    }
    assert ours - NOT_SHOWN == {name for name in shown if name.startswith("captionstream_")}


def test_panels_and_provisioning_name_one_data_source() -> None:
    """The identifier is fixed, so that the dashboard finds its data wherever it is provisioned."""
    sources = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yml").read_text())
    [source] = sources["datasources"]
    assert {source["uid"]} == {panel["datasource"]["uid"] for panel in PANELS}
    assert {source["uid"]} == {target["datasource"]["uid"] for _, target in TARGETS}


def test_panels_have_a_place_of_their_own() -> None:
    """No two overlap, and each has an id of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
