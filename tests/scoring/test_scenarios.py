"""What each benchmark is asked, held against MLPerf's figures, and the seeds against the wheel that is installed."""
import json
import subprocess
import sys
from importlib import metadata

import pytest

from scoring.problem import Problem
from scoring.scenarios import ROUND, ROUNDS, SCENARIOS, rules
from tests.scoring.loadgen_runs import REASON

CONFIGURED = """
import json, sys
import mlperf_loadgen as loadgen
settings = loadgen.TestSettings()
status = settings.FromConfig(sys.argv[1], sys.argv[2], sys.argv[3])
names = ('qsl_rng_seed', 'sample_index_rng_seed', 'schedule_rng_seed', 'performance_sample_count_override',
         'server_target_latency_ns', 'server_target_latency_percentile', 'single_stream_target_latency_percentile',
         'multi_stream_target_latency_percentile', 'multi_stream_samples_per_query', 'min_duration_ms',
         'min_query_count')
print(json.dumps([status, {name: getattr(settings, name) for name in names}]))
"""


def configured(tmp_path, model: str, scenario: str) -> dict:
  """What LoadGen makes of no user.conf, in a process of its own."""
  (tmp_path / 'user.conf').write_text('')
  told = subprocess.run([sys.executable, '-c', CONFIGURED, str(tmp_path / 'user.conf'), model, scenario], check=True,
                        capture_output=True, text=True).stdout
  status, values = json.loads(told)
  assert status == 0
  return values


@pytest.mark.parametrize('benchmark, model, directory, official, scenarios', [
    ('imagenet', 'ResNet-50', 'resnet50', True, SCENARIOS),
    ('imagenet', 'airbench-64', 'imagenet', False, SCENARIOS),
    ('cifar10', 'airbench-64-256-256', 'cifar10', False, SCENARIOS),
    ('my.photos_1', 'ResNet-18', 'my-photos-1', False, SCENARIOS),
    ('squad', 'BERT 12x768', 'bert-99', True, ('single_stream', 'server', 'offline')),
    ('squad', 'QANet-like 64x1x2', 'squad', False, ('single_stream', 'server', 'offline'))])
def test_who_is_asked_what(benchmark, model, directory, official, scenarios):
  asked = rules(benchmark, model)
  assert (asked.directory, asked.official, tuple(asked.scenarios)) == (directory, official, scenarios)
  assert '.' not in asked.model  # LoadGen's keys are model.scenario.key
  assert asked.scenario('server').latency_limit_ms == (130 if benchmark == 'squad' else 15)
  assert [s.latency_limit_ms for s in asked.scenarios.values() if s.name != 'server'] == [None] * (len(scenarios) - 1)


def test_a_scenario_that_is_not_in_the_table_is_refused_with_those_that_are():
  with pytest.raises(Problem, match="BERT 12x768.*'multi_stream'.*single_stream, server, offline"):
    rules('squad', 'BERT 12x768').scenario('multi_stream')


def test_the_targets_are_the_rules_own():
  assert rules('imagenet', 'ResNet-50').quality_targets == {'resnet50': pytest.approx(0.7569540)}
  assert rules('squad', 'BERT').quality_targets == {'bert-99': pytest.approx(0.8996526),
                                                   'bert-99.9': pytest.approx(0.90783126)}


def test_no_wheel_and_no_seed_belongs_to_two_rounds():
  wheels = [wheel for told in ROUNDS.values() for wheel in told.wheels]
  seeds = [seed for told in ROUNDS.values() for seed in told.seeds.values()]
  assert len(set(wheels)) == len(wheels) and len(set(seeds)) == len(seeds) == 15


@pytest.mark.parametrize('benchmark, model', [('imagenet', 'ResNet-50'), ('squad', 'BERT 24x1024'), ('cifar10', 'toy')])
def test_the_installed_loadgen_is_the_rounds_and_has_the_tables_figures(tmp_path, benchmark, model):
  pytest.importorskip('mlperf_loadgen', reason=REASON)
  assert metadata.version('mlcommons-loadgen') in ROUNDS[ROUND].wheels
  asked = rules(benchmark, model)
  for scenario in asked.scenarios.values():
    told = configured(tmp_path, asked.model, scenario.loadgen)
    assert {name: told[name] for name in ROUNDS[ROUND].seeds} == ROUNDS[ROUND].seeds
    assert told['min_duration_ms'] == 600_000
    if scenario.percentile:
      assert told[f'{scenario.name}_target_latency_percentile'] == scenario.percentile / 100
    if scenario.name == 'multi_stream':
      assert told['multi_stream_samples_per_query'] == scenario.samples_per_query
    if scenario.name in ('single_stream', 'multi_stream'):
      assert told['min_query_count'] == scenario.min_queries
    if asked.official:
      assert told['performance_sample_count_override'] == asked.performance_sample_count
      assert scenario.name != 'offline' or told['min_query_count'] == scenario.min_samples
      assert scenario.name != 'server' or told['server_target_latency_ns'] == scenario.latency_limit_ms * 1e6
