"""What the tape and what hangs on it cost: as a share of a digits run, and an event against MLPerf's own logger.

  python -m benchmarks.tape_overhead

The share is the time inside Tape.event and Tape.deliver, with the live MLPerf log, a progress line and TensorBoard
attached, over the wall time of the run in the same process (from compilation to the end of the schedule). The peer
needs the extra `mlperf`. No flags but --help.
"""
import dataclasses
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import extras, progress
from benchmarks.report import report
from launchers import command, sinks
from references.cifar.configs.digits import get_config
from scoring import mlperf
from scoring.tape import Tape
from training import loop, mesh

RUNS, EVENTS, REPETITIONS = 5, 2000, 7


class Stopwatch:
  """Adds up the time inside a function; calls of one such function inside another count once."""
  inside = 0
  seconds = 0.0

  def __call__(self, function):
    def timed(*args, **kwargs):
      Stopwatch.inside += 1
      begin = time.perf_counter()
      try:
        return function(*args, **kwargs)
      finally:
        Stopwatch.inside -= 1
        if not Stopwatch.inside:
          Stopwatch.seconds += time.perf_counter() - begin
    return timed


def share_of_a_run(folder: Path) -> float:
  """Seconds spent on the tape and its sinks over seconds of the run."""
  config = dataclasses.replace(get_config(), stop='end')
  task = config.make_task('')
  tape = Tape(folder / 'tape.jsonl')
  target = {'metric': 'accuracy', 'value': config.target_accuracy, 'num_examples': task.target.num_examples}
  header = {'benchmark': task.benchmark, 'target': target, 'division': 'closed', 'hyperparameters': {}, 'seed': 0,
            'hardware': {'device_count': 1, 'device_kind': 'cpu'}, 'batch_size': config.batch_size,
            'submitter': {'organization': 'x', 'status': 'onprem'}, 'num_train_examples': 1433, 'config': ''}
  tape.event('process', **header)
  tape.attach(mlperf.LiveLog(folder / 'result_0.txt', tape.events),
              sinks.Progress(task.num_steps, target, stream=open(os.devnull, 'w')),
              *sinks.tensorboard(folder / 'tensorboard'))
  watch = Stopwatch()
  Stopwatch.seconds = 0.0
  tape.event, tape.deliver = watch(tape.event), watch(tape.deliver)
  begin = time.perf_counter()
  loop.run(task, config, mesh.make_mesh(), tape)
  return Stopwatch.seconds / (time.perf_counter() - begin)


def microseconds_per_event(write) -> float:
  begin = time.perf_counter()
  for number in range(EVENTS):
    write(number)
  return (time.perf_counter() - begin) / EVENTS * 1e6


def main() -> int:
  extras.need('mlperf', 'mlperf_logging')
  from mlperf_logging import mllog
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    shares = []
    for number in progress.told(RUNS, 'run of digits'):
      (folder / str(number)).mkdir()
      shares.append(share_of_a_run(folder / str(number)))
    print(f'tape and sinks: {statistics.median(shares):.2%} of a digits run (median of {RUNS}; goal under 0.50%); '
          f'each: {", ".join(f"{s:.2%}" for s in shares)}')
    logger = mllog.get_mllogger()
    mllog.config(filename=str(folder / 'mllog.txt'), default_namespace='')
    logging.getLogger(logger.logger.name).propagate = False
    for handler in list(logger.logger.handlers):
      if type(handler) is logging.StreamHandler:
        logger.logger.removeHandler(handler)  # the peer writes to its file only, as we do
    tape = Tape(folder / 'events.jsonl')
    metadata = {'epoch_num': 3, 'samples_count': 4224}
    ours, peer = [], []
    for _ in range(REPETITIONS):
      ours.append(microseconds_per_event(lambda n: tape.event('eval_accuracy', value=n, **metadata)))
      peer.append(microseconds_per_event(lambda n: logger.event('eval_accuracy', value=n, metadata=dict(metadata))))
    tape.events.clear()
  report('tape_overhead', ours=ours, peer=peer, peer_name='mlperf_logging.mllog event to a file', unit='us/event',
         share_of_run=round(statistics.median(shares), 5))
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
