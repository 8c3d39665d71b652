"""Trains one of our recipes again and again in one process, as the author's file does its own: compiled once.

  python -m benchmarks.airbench_ours --config=references/cifar/configs/fastest.py --data_dir=DIR --workdir=DIR
                                    [--runs=25]

The loop is the launcher's, and the tapes are in WORKDIR/run_000 and so on, without checkpoints. Prints one line of JSON
a run: its accuracy, and its seconds on the WARM clock. Other clocks begin with a process, and a set that is to be
published has a ledger: those need `launchers.train --runs=N`.
"""
import dataclasses
import json
from pathlib import Path

from absl import flags

from benchmarks import runs
from launchers import command, compilation, header
from scoring import ledger
from scoring import tape as tapes
from scoring.problem import Problem

FLAGS = flags.FLAGS


def train(config, data_dir: str, workdir: Path, count: int):
  """Yields {run, accuracy, seconds, device, dtype} of each run, seeds counting up from the config's."""
  from training import loop, mesh, programs
  compilation.set_cache()
  devices, compiled = mesh.make_mesh(), []

  def compile_once(*args, **kwargs):  # a seed is an input of a program: all seeds share it
    if not compiled:
      compiled.append(programs.compile_all(*args, **kwargs))
    return compiled[0]

  for number in range(count):
    folder = workdir / ledger.run_name(number)
    if folder.exists():
      raise Problem(f'--workdir={workdir}: holds {folder.name} already; name another')
    folder.mkdir(parents=True)
    own = dataclasses.replace(config, seed=config.seed + number)
    task, tape = own.make_task(data_dir), tapes.Tape(folder / 'tape.jsonl')
    tape.event('process', **header.header(own, task, list(devices.devices.flat)), resumed=None)
    loop.run(task, own, devices, tape, cadence=loop.Cadence(log_every_steps=0), compile_all=compile_once)
    tape.event('exit', status='complete')
    tape.close()
    yield {'run': number, **runs.told(tape.events)}


def main(argv: list[str], doc: str) -> int:
  if command.help_wanted(argv):
    return command.print_help(doc)
  command.parse(argv, known_only=True)
  for name in ('config', 'workdir'):
    if not getattr(FLAGS, name):
      command.fail(f'--{name} is missing; --help shows how to call this')
      return command.USAGE
  config = dataclasses.replace(command.parse_config(argv), stop='end')
  workdir = Path(FLAGS.workdir).expanduser()
  for run in train(config, str(Path(FLAGS.data_dir).expanduser()), workdir, FLAGS.runs):
    print(json.dumps({**run, 'dtype': config.compute_dtype}), flush=True)
  return 0


if __name__ == '__main__':
  flags.DEFINE_string('config', '', 'config file')
  flags.DEFINE_string('workdir', '', 'where the tapes go: a new folder')
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'where launchers.prepare put CIFAR-10')
  flags.DEFINE_integer('runs', 25, 'how many', lower_bound=1)
  command.run(main, __doc__)
