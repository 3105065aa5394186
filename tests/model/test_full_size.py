"""Published models at full size: figures that others have counted, without weights."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from growc.model import inspect
from tests.full_size import FULL_SIZE, KNOWN
from tests.model.test_cost import active_matmul_params

pytestmark = pytest.mark.share(3)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_parameter_is_reached_and_claimed(name: str) -> None:
    graph = inspect(FULL_SIZE[name], 4096)
    assert graph.unreached == ()
    assert graph.cost.linear_flops == pytest.approx(2 * active_matmul_params(graph), rel=1e-9)
    assert (graph.expert_field is not None) == bool(graph.moe)
    claimed = {d.tensor for axis in graph.axes for d in axis.dims}
    assert graph.tensors.keys() <= claimed


@pytest.mark.parametrize("name", KNOWN)
def test_figures_are_the_known_ones(name: str) -> None:
    cost, known = inspect(FULL_SIZE[name], 4096).cost, KNOWN[name]
    assert cost.total_params / 1e9 == pytest.approx(known.total, abs=0.006)
    assert cost.active_params / 1e9 == pytest.approx(known.active, abs=0.006)
    assert cost.linear_flops / 1e9 == pytest.approx(known.linear, abs=0.006)
    assert cost.attention_flops_per_position / 1e6 == pytest.approx(known.per_position, abs=0.0006)


SCRIPT = """
import json, sys
from growc.model import inspect
graph = inspect(json.load(sys.stdin), 4096)
# not ru_maxrss, which a child inherits from the process that started it
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
json.dump([int(peak) * 1024, len(graph.tensors)], sys.stdout)
"""


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("name", ["kimi-k2", "mixtral-8x7b", "qwen3-30b-a3b"])
def test_a_trillion_parameters_fit_a_laptop(name: str) -> None:
    given = json.dumps(FULL_SIZE[name])
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=given, capture_output=True, text=True, check=True)
    memory, tensors = json.loads(done.stdout)
    assert tensors > 200
    assert memory < 1e9
