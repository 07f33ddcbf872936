"""Prometheus' rule tests by promtool, with a server's recorded metrics as input."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.places import ROOT
from tests.ports import free_port
from tests.servers import Json

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
OBJECTIVES = RULES.with_name("slo.yml")
"""Made by `rag slo rules` from the default settings."""
UNPACKED = Path(sys.prefix) / "prometheus"
"""The folder into which `make promtool` unpacks promtool."""
SCRAPE, EVALUATION = 15, 60
"""Seconds between scrapes and between evaluations, as in deploy/prometheus/prometheus.yml."""
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=UNPACKED)
PROMETHEUS = shutil.which("prometheus", path=UNPACKED)
needs_prometheus = pytest.mark.skipif(
    None in (PROMTOOL, PROMETHEUS),
    reason="there is no Prometheus: `make promtool` unpacks Debian's",
)
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool: `make promtool` unpacks Debian's"
)


def promtool(*arguments: str | Path) -> None:
    """Runs promtool and checks that it succeeds."""
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@contextlib.contextmanager
def prometheus_server(folder: Path, samples: str, rules: str) -> Iterator[str]:
    """Runs Prometheus over samples in OpenMetrics' format, with these rules; yields its address."""
    assert PROMETHEUS is not None
    (folder / "samples.txt").write_text(samples + "# EOF\n")
    promtool("tsdb", "create-blocks-from", "openmetrics", folder / "samples.txt", folder / "data")
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text("rule_files: [rules.yml]\n")
    port = free_port()
    command = [
        *(PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}"),
        *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class Recording:
    """The samples of `/metrics` in each scrape, the first at second 0."""

    def __init__(self) -> None:
        self._scrapes: list[dict[str, float]] = []

    def add(self, exposition: str) -> None:
        families = text_string_to_metric_families(exposition)
        self._scrapes.append(
            {
                _series(sample.name, sample.labels): sample.value
                for family in families
                for sample in family.samples
            }
        )

    def rule_test(self, folder: Path, *looks: Json) -> Path:
        """Writes a promtool test of these expectations on the recorded series; returns its file."""
        names = dict.fromkeys(name for scrape in self._scrapes for name in scrape)
        series = [{"series": name, "values": " ".join(self._values(name))} for name in names]
        test = {"interval": f"{SCRAPE}s", "input_series": series, "promql_expr_test": list(looks)}
        whole = {
            "rule_files": [str(RULES), str(OBJECTIVES)],
            "evaluation_interval": f"{EVALUATION}s",
            "tests": [test],
        }
        file = folder / "recorded_test.yml"
        file.write_text(yaml.safe_dump(whole))
        return file

    def _values(self, name: str) -> Iterator[str]:
        for scrape in self._scrapes:
            yield repr(scrape[name]) if name in scrape else "_"


def silent(second: int) -> Json:
    """Expects that no alarm fires."""
    return {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{second}s", "exp_samples": []}


def fires(alarm: str, second: int) -> Json:
    """Expects that this alarm fires; others may fire too."""
    return gives(f'count(ALERTS{{alertstate="firing", alertname="{alarm}"}})', 1, second)


def gives(expression: str, value: float, second: int) -> Json:
    """Expects this value of an expression without labels."""
    samples = [{"labels": "{}", "value": value}]
    return {"expr": expression, "eval_time": f"{second}s", "exp_samples": samples}


def _series(name: str, labels: Mapping[str, str]) -> str:
    """Returns a series in PromQL notation, with the job label that a scrape adds."""
    all_labels = {"job": "plumbline", **labels}
    return f"{name}{{{', '.join(f'{key}={json.dumps(all_labels[key])}' for key in all_labels)}}}"
