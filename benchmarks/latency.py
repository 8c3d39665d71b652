"""Seconds of one query, and of a sample offline, of each reference, against torch.compile and ONNX Runtime.

  python -m benchmarks.latency [--references=airbench,resnet50,bert_base_128,bert_base_384] [--dtypes=bfloat16,float32]
                               [--scenarios=single_stream,offline] [--batch_size=N] [--seconds=4] [--turns=5] [--quick]

Ours is measured as LoadGen sees it: from the call of a system's `issue` with a sample in host memory to the call of
`complete` with its answer in host memory. Peers get the same rows as one array and give the same kind of answer;
offline they get batches that lie ready, while ours gathers them. All are in the same process, take turns, and have one
thread for each core that the process may use. On a busy machine let that be one (taskset -c 0): threads that wait for
each other suffer most, torch's above all. One line of JSON a reference, type and scenario; what a peer cannot do is in
its `not_measured`. Nothing here is verified by MLCommons.
"""
import functools
import threading
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from benchmarks import progress, serving_cases, serving_peers
from benchmarks.report import report
from launchers import command
from serving import systems
from serving.engine import Engine
from serving.samples import Samples

FLAGS = flags.FLAGS
flags.DEFINE_list('references', ['airbench', 'resnet50', 'bert_base_128', 'bert_base_384'],
                  'which; and digits')
flags.register_validator('references', serving_cases.known, serving_cases.CHOICE)
flags.DEFINE_list('dtypes', ['bfloat16', 'float32'], 'of the computation; the recipes have bfloat16')
flags.register_validator('dtypes', {'bfloat16', 'float32'}.issuperset, 'must be of bfloat16 and float32')
flags.DEFINE_list('scenarios', ['single_stream', 'offline'], 'batch 1, or the largest batches')
flags.register_validator('scenarios', {'single_stream', 'offline'}.issuperset, 'must be of single_stream and offline')
flags.DEFINE_integer('batch_size', 0, 'of offline; 0: 16 on a CPU, 64 on an accelerator', lower_bound=0)
flags.register_validator('batch_size', lambda size: not size or serving_cases.NUM_SAMPLES % size == 0,
                         f'must divide {serving_cases.NUM_SAMPLES}')
flags.DEFINE_list('torch_modes', [], "of torch.compile; default: 'default' on a CPU, and on a GPU "
                  "'reduce-overhead' and 'max-autotune', which both use CUDA graphs")
flags.DEFINE_float('seconds', 4.0, 'of a turn, about', lower_bound=0)
flags.DEFINE_integer('turns', 5, 'turns of each', lower_bound=1)
flags.DEFINE_bool('quick', False, "two layers of BERT's twelve")
MOST = 2000  # queries a turn

Ask = Callable[[int], None]  # query number -> when it has been answered


class Ours:
  """Our systems, without LoadGen: `complete` keeps the last answer, and that is all."""
  name = 'ours'

  def __init__(self):
    self.answers = None

  def single_stream(self, case, dtype: str) -> Ask:
    def complete(ids, samples, answers):
      self.answers = answers
    system = systems.Inline(*self._loaded(case, dtype, 1), complete)
    return lambda n: system.issue((n,), (n % serving_cases.NUM_SAMPLES,))

  def offline(self, case, dtype: str, batch_size: int) -> Ask:
    done, left = threading.Event(), [0]

    def complete(ids, samples, answers):
      self.answers = answers
      left[0] -= len(ids)
      if not left[0]:
        done.set()
    system = systems.Pipelined(*self._loaded(case, dtype, batch_size), complete)

    def ask(n):
      done.clear()
      left[0] = serving_cases.NUM_SAMPLES
      system.issue(range(serving_cases.NUM_SAMPLES), range(serving_cases.NUM_SAMPLES))
      done.wait()
    return ask

  def _loaded(self, case, dtype, batch_size):
    engine = Engine(case.served(dtype), (batch_size,), buckets=(case.bucket,))
    engine.warm_up()
    samples = Samples(engine.served)
    samples.load(range(serving_cases.NUM_SAMPLES))
    return engine, samples


class Theirs:
  """A peer, which answers arrays of rows."""

  def __init__(self, peer):
    self.peer, self.name, self.answers = peer, peer.name, None

  def single_stream(self, case, dtype: str) -> Ask:
    return self._ask(case, dtype, 1, lambda n, batches: batches[n % len(batches):][:1])

  def offline(self, case, dtype: str, batch_size: int) -> Ask:
    return self._ask(case, dtype, batch_size, lambda n, batches: batches)

  def _ask(self, case, dtype, batch_size, chosen) -> Ask:
    answer = self.peer.prepare(case, dtype, batch_size)
    batches = np.split(case.rows(serving_cases.NUM_SAMPLES), serving_cases.NUM_SAMPLES // batch_size)

    def ask(n):
      for rows in chosen(n, batches):
        self.answers = answer(rows)
    return ask


def prepared(prepare: Callable[[object], Ask], contenders) -> tuple[dict[str, Ask], dict[str, str]]:
  """(by name what asks, by name why not), after a first query that compiles; the first contender is ours."""
  asks, failed = {}, {}
  for contender in contenders:
    progress.say(f'compiling: {contender.name}')
    try:
      ask = prepare(contender)
      ask(0)
      if contender is not contenders[0]:
        serving_peers.agree(contenders[0].answers, contender.answers)
    except Exception as error:  # a peer that is missing, or cannot do this, must not stop the others
      if contender is contenders[0]:
        raise
      failed[contender.name] = f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0][:200]
    else:
      asks[contender.name] = ask
  return asks, failed


def measured(asks: dict[str, Ask], least: int) -> tuple[dict[str, list[np.ndarray]], dict[str, float]]:
  """(by name seconds of the queries of each turn, by name CPU seconds a query); as many for each, at least `least`."""
  def spent(ask, queries):
    seconds = np.empty(queries)
    for n in range(queries):
      start = time.perf_counter()
      ask(n)
      seconds[n] = time.perf_counter() - start
    return seconds
  longest = max(float(np.median(spent(ask, least))) for ask in asks.values())
  queries = int(np.clip(FLAGS.seconds / longest, least, MOST))
  turns, cpu = {name: [] for name in asks}, dict.fromkeys(asks, 0.0)
  for _ in progress.told(FLAGS.turns, 'turn'):
    for name, ask in asks.items():
      spent(ask, min(2, least))  # wakes its threads, and lets those of the one before fall asleep
      start = time.process_time()
      turns[name].append(spent(ask, queries))
      cpu[name] += (time.process_time() - start) / queries / FLAGS.turns
  return turns, cpu


def line(reference: str, dtype: str, scenario: str, asks, failed, samples: int, **more):
  """Measures and reports; `samples` are in a query."""
  turns, cpu = measured(asks, least=3 if samples == 1 else 1)  # offline a query is many samples
  medians = {name: [float(np.median(turn)) / samples for turn in kept] for name, kept in turns.items()}
  best = min((name for name in medians if name != Ours.name), key=lambda name: np.median(medians[name]), default=None)
  together = {name: np.concatenate(kept) / samples for name, kept in turns.items()}
  percentiles = {name: {f'p{p}': round(1000 * float(np.percentile(x, p)), 4) for p in (50, 90, 99)}
                 for name, x in together.items()}
  report('latency', ours=medians[Ours.name], peer=medians.get(best), peer_name=best,
         unit='s/query' if samples == 1 else 's/sample', reference=reference, dtype=dtype, scenario=scenario,
         milliseconds=percentiles, cpu_milliseconds={name: round(1000 * x / samples, 4) for name, x in cpu.items()},
         queries=len(together[Ours.name]), not_measured=failed, device=jax.devices()[0].device_kind,
         threads=serving_peers.THREADS, **more)


def main() -> int:
  on_cpu = jax.default_backend() == 'cpu'
  batch_size = FLAGS.batch_size or (16 if on_cpu else 64)
  modes = FLAGS.torch_modes or (['default'] if on_cpu else ['reduce-overhead', 'max-autotune'])
  peers = [*map(serving_peers.TorchCompiled, modes), serving_peers.OnnxRuntime()]
  cases = serving_cases.cases(quick=FLAGS.quick)
  for reference in FLAGS.references:
    case = cases[reference]
    for dtype in FLAGS.dtypes:
      ready = functools.partial(prepared, contenders=[Ours(), *map(Theirs, peers)])
      progress.say(f'{reference} {dtype}')
      if 'single_stream' in FLAGS.scenarios:
        line(reference, dtype, 'single_stream', *ready(lambda x: x.single_stream(case, dtype)), 1)
      if 'offline' in FLAGS.scenarios:
        line(reference, dtype, 'offline', *ready(lambda x: x.offline(case, dtype, batch_size)),
             serving_cases.NUM_SAMPLES, batch_size=batch_size)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
