"""What is sent to a model in each mode, and what is put down of it."""
import functools
import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scoring import accuracy_log, inference, inference_package, loadgen_log, record, scenarios
from scoring.problem import Problem, counted
from scoring.tape import Tape
from serving import loadgen, systems
from serving.engine import Engine
from serving.samples import Samples
from serving.served import Served

PROBE_SECONDS = 1.0
EXPECT_FASTER = {'offline': 1.5}  # than the probe, which prepares no batch while another is computed
SLOWEST = 64  # the search for a peak ends at so small a part of where it began
PEAK_PRECISION = 0.02  # of the rate: where the search for the highest one ends
LOG_BYTES = 2**18
CONFIRMATIONS = 12  # rates that are tried for holding twice, each 4 % below the one before


def drive(served: Served, sizes: tuple[int, ...], tape: Tape, folder: Path, rules: scenarios.Rules,
          scenario: scenarios.Scenario, flags):
  """Compiles, loads and runs what `flags` ask; LoadGen's logs are in `folder` then, and all else on the tape.

  flags: `mode`, `min_duration_seconds`, `target_qps`, `find_peak`.
  """
  print(f"compiling {counted(len(served.buckets) * len(sizes), 'program')}", flush=True)
  with tape.span('compile') as result:
    engine = Engine(served, sizes)
    engine.warm_up()
    result.update(num_executables=engine.num_executables, constants=engine.constants)
  samples = Samples(served)
  if flags.mode == 'dawnbench':
    return each_once(engine, samples, tape, folder)
  with tape.span('probe') as result:
    probed = probe(engine, samples)
    result.update(probed)
  accuracy = flags.mode == 'accuracy'
  answered = loadgen.Answered(keep=accuracy)
  conf = folder / 'user.conf'
  write_conf = functools.partial(configure, conf, rules, scenario, flags)
  # a server in accuracy mode has no limit to keep: at half of what it can do, nothing piles up
  expected = probed['samples_per_second'] * (0.5 if accuracy else EXPECT_FASTER.get(scenario.name, 1.0))
  write_conf(flags.target_qps or expected, probed['least_batch_seconds'])
  settings = loadgen.settings(conf, rules, scenario, accuracy=accuracy)
  system = systems.KINDS[scenario.name](engine, samples, answered)
  def run(target_qps: float | None = None) -> list[str]:
    if target_qps:
      write_conf(target_qps)
      settings.server_target_qps = target_qps
    loadgen.run(system, samples, settings, rules.performance_sample_count, folder)
    if shutil.disk_usage(folder).free < LOG_BYTES:
      raise Problem(f'{folder}: the disk is full, and LoadGen could not write its logs; free space and run again')
    return loadgen_log.faults(folder, mode=flags.mode, rules=rules, scenario=scenario, num_samples=served.num_samples)

  print(expectation(scenario, probed, flags), flush=True)
  with tape.span('loadgen'):
    if flags.find_peak:
      if probed['single_seconds'] * 1000 > scenario.latency_limit_ms:
        raise Problem(f'--find_peak: one sample alone takes {probed["single_seconds"] * 1000:.3g} ms, and the limit is '
                      f'{scenario.latency_limit_ms:g} ms: no rate can be valid')
      find_peak(run, tape, flags.target_qps or probed['samples_per_second'])
    else:
      run()
  system.close()
  if accuracy:
    measure(served, answered.kept, tape, accuracy_log.read(folder / loadgen_log.ACCURACY))


def expectation(scenario: scenarios.Scenario, probed: dict, flags) -> str:
  """How long it will take, about, for the person who waits."""
  rate = probed['samples_per_second']
  if flags.mode == 'accuracy':
    return f'answering every sample once, {rate:.3g} a second or fewer'
  if flags.find_peak:
    return f'searching from {rate:.3g} queries a second, {flags.min_duration_seconds:g} s or more a rate'
  least = (flags.min_queries or max(scenario.min_queries, scenario.min_samples)) * (scenario.samples_per_query or 1)
  rate = flags.target_qps if scenario.name == 'server' else rate
  seconds = max(flags.min_duration_seconds * (1.65 if scenario.name == 'offline' else 1), least / rate)
  return f'answering for {seconds:.0f} s, about'


def probe(engine: Engine, samples: Samples) -> dict:
  """What the largest batch takes: its least seconds of all buckets, and samples a second over the whole set."""
  served, size = samples.served, engine.batch_sizes[-1]
  numbers = np.searchsorted(served.buckets, served.lengths)
  seconds, weighted = [], 0.0
  for number in np.unique(numbers):
    of_bucket = np.flatnonzero(numbers == number)
    samples.load(of_bucket[:1])
    spent = []
    end = time.perf_counter() + PROBE_SECONDS / len(served.buckets)
    while time.perf_counter() < end or len(spent) < 3:
      begun = time.perf_counter()
      np.asarray(engine(*samples.batch([of_bucket[0]] * size, size)))
      spent.append(time.perf_counter() - begun)
    seconds.append(min(spent))
    weighted += min(spent) * len(of_bucket) / size
  begun = time.perf_counter()
  np.asarray(engine(*samples.batch([of_bucket[0]], engine.size(1))))
  single = time.perf_counter() - begun
  samples.unload()
  return {'batch_size': size, 'single_seconds': single, 'least_batch_seconds': min(seconds),
          'samples_per_second': served.num_samples / weighted}


def configure(path: Path, rules: scenarios.Rules, scenario: scenarios.Scenario, flags, target_qps: float,
              least_seconds: float = 0.0):
  """Writes the run's user.conf; `least_seconds`: of a query, as the probe found it.

  LoadGen makes as many queries beforehand as speed and duration let it expect, and a run that uses them up is invalid:
  so it is told to expect more than the probe found.
  """
  if scenario.name in ('single_stream', 'multi_stream'):
    target = {'target_latency_ms': significant(least_seconds * 1000 / 2)}
  else:
    target = {'target_qps': significant(target_qps)}
  record.write_text(path, inference_package.user_conf(
      rules, scenario, **target, min_duration_ms=round(flags.min_duration_seconds * 1000),
      min_query_count=flags.min_queries))


def significant(value: float) -> float:
  """Rounded to the digits that LoadGen's log has."""
  return float(f'{value:.6g}')


def find_peak(run, tape: Tape, highest: float) -> float:
  """The highest rate that stays valid, by bisection on the logarithm of the rate, and then twice in a row.

  run: queries a second -> why the run does not stand. highest: a rate to begin from.

  Raises:
    Problem: no rate is valid.
  """
  def valid(rate: float) -> bool:
    rate = significant(rate)
    faults = run(rate)
    tape.event('tried', target_qps=rate, faults=faults)
    print(f'target_qps {rate:.2f}: {"VALID" if not faults else faults[0]}', flush=True)
    return not faults

  low, high = 0.0, highest
  while valid(high):  # the rate that the probe found may not be the limit
    low, high = high, 2 * high
  while not low or high / low > 1 + PEAK_PRECISION:
    middle = math.sqrt(low * high) if low else high / 2
    if middle < highest / SLOWEST:
      raise Problem(f'--find_peak: not even {high:g} queries a second stay within the limit of the scenario')
    low, high = (middle, high) if valid(middle) else (low, middle)
  for _ in range(CONFIRMATIONS):  # near the limit chance decides: what counts is a rate that holds again
    if valid(low) and valid(low):
      return low
    low *= 1 - 2 * PEAK_PRECISION
  raise Problem('--find_peak: no rate stayed valid when it was run again; is other work going on?')


def measure(served: Served, kept: list, tape: Tape, logged: Iterable[tuple[int, bytes]] | None = None):
  """Puts down what training's evaluation makes of the answers, and a digest of all of them by sample.

  logged: (sample, answer) as LoadGen has them.

  Raises:
    Problem: LoadGen has other answers than were given: memory was let go of too early, or the log is not of this run.
  """
  with tape.span('measure'):
    metrics, num_evaluated = served.measure(each_first(kept))
  found = accuracy_log.digest((sample, row.tobytes()) for samples, answers in kept
                              for sample, row in zip(samples, answers))
  if logged is not None and accuracy_log.digest(logged) != found:
    raise Problem("the answers in LoadGen's log are not those that were given; run again")
  tape.event('measured', metrics=metrics, num_evaluated=num_evaluated, answers_sha256=found)


def each_first(kept: list) -> Iterable[tuple[list[int], np.ndarray]]:
  """The kept answers without repeated samples: LoadGen fills up the last query of a multi-stream with some."""
  seen = set()
  for samples, answers in kept:
    rows = [row for row, sample in enumerate(samples) if sample not in seen]
    seen.update(samples)
    if rows:
      yield [samples[row] for row in rows], answers[rows]


class Reading(systems.Inline):
  """Answers one sample at a time, which it first reads, decodes and crops: preprocessing on the clock."""

  @systems.aborts
  def issue(self, ids, samples):
    served = self.engine.served
    for one, sample in zip(ids, samples):
      bucket = served.bucket([sample])
      dims, dtype = served.row(bucket)
      rows = np.zeros((1, *dims), dtype)
      served.read([sample], rows)
      self.complete((one,), (sample,), np.asarray(self.engine(bucket, rows)))


def each_once(engine: Engine, samples: Samples, tape: Tape, folder: Path):
  """DAWNBench's two passes over the test set: with preprocessing on the clock, and without, whose logs stay."""
  served = engine.served
  for timed, kind in ((True, Reading), (False, systems.Inline)):
    answered = loadgen.Answered(keep=not timed)
    library, place = (Untouched(served), folder / inference.READING) if timed else (samples, folder)
    place.mkdir(exist_ok=True)
    with tape.span('loadgen', preprocessing=timed):
      loadgen.run(kind(engine, library, answered), library, loadgen.each_once(served.num_samples), served.num_samples,
                  place)
  measure(served, answered.kept, tape)


class Untouched(Samples):
  """Samples that are read when they are due."""

  def load(self, samples):
    pass
