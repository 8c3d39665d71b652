"""MLPerf's traffic generator, on our systems: its settings, one test of it, and the answers."""
import gc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scoring import scenarios
from scoring.problem import Problem
from serving.samples import Samples
from serving.systems import aborts


def module():
  """mlperf_loadgen; raises Problem where it is not installed."""
  try:
    import mlperf_loadgen
  except ImportError:
    raise Problem("mlcommons-loadgen, MLPerf's traffic generator, is not installed: pip install -e '.[inference]' "
                  '(it has wheels for Linux on x86-64 and macOS on arm64, up to Python 3.13)') from None
  return mlperf_loadgen


def settings(user_conf: Path, rules: scenarios.Rules, scenario: scenarios.Scenario, *, accuracy: bool):
  """LoadGen's settings by its own configuration and `user_conf`; once in a process, since it drops the second silently.

  Raises:
    Problem: LoadGen refuses the file, or the seeds that it brings are not those of the round.
  """
  lg = module()
  made = lg.TestSettings()
  status = made.FromConfig(str(user_conf), rules.model, scenario.loadgen)
  if status:
    raise Problem(f'{user_conf}: LoadGen does not take it (status {status})')
  found = {name: getattr(made, name) for name in scenarios.ROUNDS[rules.round].seeds}
  if found != scenarios.ROUNDS[rules.round].seeds:
    raise Problem(f'the seeds in the installed mlcommons-loadgen are not those of round {rules.round}: install '
                  f'{" or ".join(scenarios.ROUNDS[rules.round].wheels)}')
  made.scenario = getattr(lg.TestScenario, scenario.loadgen)
  made.mode = lg.TestMode.AccuracyOnly if accuracy else lg.TestMode.PerformanceOnly
  return made


def each_once(num_samples: int):
  """Settings of DAWNBench's traffic: every sample once, the next when the one before is answered."""
  lg = module()
  made = lg.TestSettings()
  made.scenario, made.mode = lg.TestScenario.SingleStream, lg.TestMode.PerformanceOnly
  made.performance_issue_unique, made.performance_sample_count_override = True, num_samples
  made.min_query_count = made.max_query_count = num_samples
  made.min_duration_ms = 0
  made.single_stream_expected_latency_ns = 1000
  return made


class Answered:
  """Tells LoadGen what has been answered; with `keep`, remembers it too.

  Attributes:
    kept: (samples, answers [n, ...]) of each batch.
  """

  def __init__(self, *, keep: bool):
    lg = module()
    self._complete, self._response, self._keep, self.kept = lg.QuerySamplesComplete, lg.QuerySampleResponse, keep, []

  def __call__(self, ids: Sequence[int], samples: Sequence[int], answers: np.ndarray):
    # One array for all, which `answers` holds here: LoadGen copies raw addresses before the call returns, and arrays of
    # single answers would be gone by then (mlcommons/inference issue 1565).
    answers = np.ascontiguousarray(answers)
    size, base = answers.nbytes // len(answers), answers.__array_interface__['data'][0]
    self._complete([self._response(one, base + k * size, size) for k, one in enumerate(ids)])
    if self._keep:
      self.kept.append((list(samples), answers.copy()))


def run(system, samples: Samples, test_settings, performance_sample_count: int, folder: Path):
  """Runs one test; LoadGen's logs are in `folder` afterwards. The garbage collector stands still meanwhile."""
  lg = module()
  output = lg.LogOutputSettings()
  output.outdir = str(folder)
  logs = lg.LogSettings()
  logs.log_output, logs.enable_trace = output, False
  load = aborts(samples.load)
  sut = lg.ConstructFastSUT(system.issue, lambda: None)
  library = lg.ConstructQSL(samples.served.num_samples, min(performance_sample_count, samples.served.num_samples), load,
                            aborts(samples.unload))
  gc.collect()
  gc.freeze()
  gc.disable()
  try:
    # '': not the file audit.config that may lie in the current folder
    lg.StartTestWithLogSettings(sut, library, test_settings, logs, '')
  finally:
    gc.enable()
    gc.unfreeze()
    lg.DestroyFastSUT(sut)
    lg.DestroyQSL(library)
