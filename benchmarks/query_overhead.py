"""What a query costs beside the executable: LoadGen, our system, samples and the call, for each reference.

  python -m benchmarks.query_overhead [--references=airbench,resnet50,bert_base_384] [--dtype=bfloat16]
                                      [--queries=3000] [--repetitions=7] [--quick]

The real LoadGen sends single-stream queries to our system, whose executable takes the same arguments and gives an
answer of the same shape, and of each argument reads one number. The peer is LoadGen with a system that answers at once,
which is the least that a query costs: the ratio says what share of ours that is. Nothing here is verified by MLCommons.
LoadGen needs the extra `inference`.
"""
import dataclasses
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import progress, serving_cases
from benchmarks.report import report
from launchers import command
from scoring import loadgen_log
from serving import loadgen, systems
from serving.engine import Engine
from serving.samples import Samples
from serving.served import Served

FLAGS = flags.FLAGS
flags.DEFINE_list('references', ['airbench', 'resnet50', 'bert_base_384'], 'which')
flags.register_validator('references', serving_cases.known, serving_cases.CHOICE)
flags.DEFINE_enum('dtype', 'bfloat16', ['float32', 'bfloat16'], 'of the weights')
flags.DEFINE_integer('queries', 3000, 'a repetition', lower_bound=64)
flags.DEFINE_integer('repetitions', 7, 'of both, in turn', lower_bound=1)
flags.DEFINE_bool('quick', False, "two layers of BERT's twelve")


def idle(served: Served, bucket: int) -> Served:
  """The same arguments and the same shape of answers, and next to no work."""
  dims, dtype = served.row(bucket)
  answer = jax.eval_shape(served.answer, served.weights, jax.ShapeDtypeStruct((1, *dims), dtype))

  def nothing(weights, rows):
    # A number of each: what is not read is no argument of the executable any more.
    read = sum(x[(0,) * x.ndim].astype(jnp.float32) for x in (*jax.tree.leaves(weights), rows))
    return jnp.full(answer.shape, read, answer.dtype)
  return dataclasses.replace(served, answer=nothing)


class AtOnce:
  """Answers with an array that lies ready."""

  def __init__(self, answers: np.ndarray, complete: systems.Complete):
    self.answers, self.complete = answers, complete

  def issue(self, ids, samples):
    self.complete(ids, samples, self.answers)


def microseconds(system, samples: Samples, folder: Path) -> dict[str, float]:
  """{'mean', 'p50', 'p99'} of a query, as LoadGen measured them."""
  settings = loadgen.each_once(samples.served.num_samples)
  settings.performance_issue_unique = False
  settings.min_query_count = settings.max_query_count = FLAGS.queries
  loadgen.run(system, samples, settings, samples.served.num_samples, folder)
  found = loadgen_log.read(folder)['latency_ns']
  return {name: found[name] / 1000 for name in ('mean', 'p50', 'p99')}


def main() -> int:
  loadgen.module()  # told before anything is compiled
  cases = serving_cases.cases(quick=FLAGS.quick)
  for name in FLAGS.references:
    case = cases[name]
    served = idle(case.served(FLAGS.dtype), case.bucket)
    # Both of BERT's lengths, as when it is served: it is their number that decides whether weights are arguments.
    engine = Engine(served, (1,), buckets=(case.bucket,) if not case.bucket else (128, case.bucket))
    engine.warm_up()
    samples, answered = Samples(served), loadgen.Answered(keep=False)
    answers = np.asarray(engine(case.bucket, case.rows(1)))
    pair = systems.Inline(engine, samples, answered), AtOnce(answers, answered)
    kept = [[], []]
    with tempfile.TemporaryDirectory() as folder:
      for _ in progress.told(FLAGS.repetitions, f'{name}, repetition'):
        for system, found in zip(pair, kept):
          found.append(microseconds(system, samples, Path(folder)))
    means = [[found['mean'] for found in each] for each in kept]
    report('query_overhead', ours=means[0], peer=means[1], peer_name='LoadGen and a system that answers at once',
           unit='us/query', reference=name, dtype=FLAGS.dtype, constants=engine.constants,
           arguments=1 if engine.constants else 1 + len(jax.tree.leaves(served.weights)),
           percentiles={key: round(float(np.median([found[key] for found in kept[0]])), 2) for key in ('p50', 'p99')},
           queries=FLAGS.queries, device=jax.devices()[0].device_kind)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
