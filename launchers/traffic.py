"""What is sent to a model in each mode, and what is put down of it."""
import hashlib
import time
from pathlib import Path

import numpy as np

from scoring import inference_package, loadgen_log, scenarios
from scoring.problem import Problem
from scoring.tape import Tape
from serving import loadgen, systems
from serving.engine import Engine
from serving.samples import Samples
from serving.served import Served

PROBE_SECONDS = 1.0
PEAK_PRECISION = 0.02  # of the rate: where the search for the highest one ends


def drive(served: Served, sizes: tuple[int, ...], tape: Tape, folder: Path, rules: scenarios.Rules,
          scenario: scenarios.Scenario, flags):
  """Compiles, loads and runs what `flags` ask; LoadGen's logs are in `folder` then, and all else on the tape.

  flags: `mode`, `min_duration_seconds`, `target_qps`, `find_peak`.
  """
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
  settings = configure(folder, rules, scenario, probed, flags)
  system = systems.KINDS[scenario.name](engine, samples, answered)
  with tape.span('loadgen'):
    if flags.find_peak:
      find_peak(system, samples, settings, tape, folder, rules, scenario, probed)
    else:
      loadgen.run(system, samples, settings, rules.performance_sample_count, folder)
  system.close()
  if accuracy:
    measure(served, answered.kept, tape, folder)


def probe(engine: Engine, samples: Samples) -> dict:
  """Seconds of the largest batch of one sample that is of the longest bucket, the median of a second's worth."""
  longest = int(samples.served.lengths.argmax())
  samples.load([longest])
  size, spent, end = engine.batch_sizes[-1], [], time.perf_counter() + PROBE_SECONDS
  while time.perf_counter() < end or len(spent) < 3:
    begun = time.perf_counter()
    np.asarray(engine(*samples.batch([longest] * size, size)))
    spent.append(time.perf_counter() - begun)
  return {'batch_size': size, 'batch_seconds': float(np.median(spent)), 'least_batch_seconds': min(spent)}
