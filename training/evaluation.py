"""Evaluation that counts each example exactly once."""
import collections
import math

import jax

from scoring.problem import Problem
from training.task import Task

IN_FLIGHT = 2  # steps dispatched ahead of the device; more only costs memory


def outputs(state, programs, feed):
  """The outputs of each evaluation batch on the host, in order, a few batches behind the device."""
  in_flight = collections.deque()
  for program, inputs in zip(programs, feed):
    in_flight.append(program(state, *inputs))
    if len(in_flight) > IN_FLIGHT:
      yield jax.device_get(in_flight.popleft())
  yield from map(jax.device_get, in_flight)


def exact_metrics(task: Task, batches) -> tuple[dict[str, float], int]:
  """(metric -> value, examples counted) from the outputs of all batches.

  Raises:
    Problem: the target's metric is missing, did not count each example once, or a metric is not finite.
  """
  target, sums = task.target, task.finish(batches)
  if target.metric not in sums:
    raise Problem(f'{task.benchmark}: evaluation gave {sorted(sums)}, and the target is {target.metric}')
  counted = int(sums[target.metric][1])
  if counted != target.num_examples:
    raise Problem(f'{task.benchmark}: evaluation counted {counted} examples of {target.num_examples}: an evaluation '
                  'must count each one once: look at where its mask goes, or prepare the data again')
  metrics = {name: float(total) / float(count) for name, (total, count) in sums.items()}
  broken = [name for name, value in metrics.items() if not math.isfinite(value)]
  if broken:
    raise Problem(f'{task.benchmark}: evaluation gave a {broken[0]} that is not finite: training has diverged; '
                  'lower the learning rate or look at the data, and use another --workdir')
  return metrics, counted
