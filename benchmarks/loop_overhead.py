"""What the loop costs: seconds of our loop against the same step called in a bare Python loop under jax.jit.

  python -m benchmarks.loop_overhead

The peer is what a script would do: one jitted, donated step, batches gathered on the host with numpy in the same
order, one synchronisation at the end of each epoch. Both train digits for the same number of steps from the same
state; evaluation is left out of both. No flags but --help; one line on stderr after each of the seven repetitions.
"""
import dataclasses
import time

import jax
import numpy as np

from benchmarks import progress
from benchmarks.report import report
from launchers import command
from references.cifar.configs.digits import get_config
from scoring import clocks
from scoring.tape import Tape
from training import loop, mesh
from training.step import init_state, make_train_step

EPOCHS, REPETITIONS = 15, 7


def ours(config) -> float:
  """Seconds of the train spans and of the host's wait for input."""
  task, tape = config.make_task(''), Tape()
  tape.event('process', target={'metric': 'accuracy', 'value': 1.0}, division='closed')
  loop.run(task, config, mesh.make_mesh(), tape)
  assert int(clocks.evaluations(tape.events)[-1]['step']) == task.num_steps
  start = next(e['time'] for e in tape.events if e['event'] == 'train')
  from_start = [e for e in tape.events if e['time'] >= start or e['event'] == 'process']
  spent = clocks.seconds_by_span(from_start)
  return spent['train'] + spent.get('data', 0.0)


def bare(config) -> float:
  """Seconds of the training loop that a script would have."""
  task = config.make_task('')
  state = jax.jit(lambda: init_state(task, np.uint32(config.seed)))()
  step = jax.jit(make_train_step(task), donate_argnums=0)
  data, order = task.data['train'].load(), task.data['train'].order
  per_epoch = task.num_steps // config.num_epochs

  def batch(number):
    index, epoch = (x[0] for x in order.rows(number, number + 1))
    return {**{name: x[index] for name, x in data.items()}, 'index': index, 'epoch': epoch, 'mask': index >= 0}
  spare = jax.tree.map(lambda x: x.copy(), state)
  jax.block_until_ready(step(spare, batch(0), np.uint32(config.seed)))
  begin = time.perf_counter()
  for number in range(task.num_steps):
    state, sums = step(state, batch(number), np.uint32(config.seed))
    if (number + 1) % per_epoch == 0:
      float(sums['loss'][0])
  jax.block_until_ready(state)
  return time.perf_counter() - begin


def main() -> int:
  config = dataclasses.replace(get_config(), num_epochs=EPOCHS, stop='end')
  mine, theirs = [], []
  for _ in progress.told(REPETITIONS, 'repetition'):
    mine.append(ours(config))
    theirs.append(bare(config))
  report('loop_overhead', ours=mine, peer=theirs, peer_name='bare jax.jit loop over numpy batches', unit='s')
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
