"""Seconds to train CIFAR-10 to 94 %, ours against airbench94_muon as its author wrote it, on this machine.

  python -m benchmarks.airbench --peer_dir=DIR --data_dir=DIR [--config=references/cifar/configs/fastest.py,...]
                               [--runs=25] [--dtype=bfloat16] [--workdir=DIR] [--one_process]
                               [--more=--config.compute_dtype=float32]

Each side trains --runs times, one side after the other, the peer in one process (`benchmarks.airbench_peer`), ours in
one each (`launchers.train --runs=N`) or, with --one_process, in one too (`benchmarks.airbench_ours`). Prints a line for
each config of ours, beside the same runs of the peer, with both commands. The ratio is of median seconds of the WARM
clock, the peer's own: setting up from data, training, and the last evaluation with its views. A recipe with a fixed
schedule hits or misses: both accuracies are there, with the mean's 95 % interval, and how many runs reached 94 %. The
peer needs the extra `peers` and torchvision.
"""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from benchmarks import airbench_ours, airbench_peer, progress
from benchmarks.report import report, shown
from launchers import command as commands
from scoring import clocks, ledger, statistics
from scoring import tape as tapes
from scoring.problem import Problem

FLAGS = flags.FLAGS
TARGET = 0.94


def ours(config: str, workdir: Path) -> tuple[list[str], list[dict]]:
  """(command, runs), a run being accuracy, seconds by clock, and the device."""
  where = [f'--config={config}', f'--data_dir={FLAGS.data_dir}', f'--workdir={workdir}', f'--runs={FLAGS.runs}']
  if FLAGS.one_process:
    command = [sys.executable, '-m', 'benchmarks.airbench_ours', *where, *FLAGS.more]
    return command, [{**run, 'clocks': {clocks.WARM.name: run['seconds']}} for run in lines(command)]
  command = [sys.executable, '-m', 'launchers.train', *where, '--config.stop=end', *FLAGS.more]
  subprocess.run(command, stdout=sys.stderr, check=False)  # 3: a run missed the target, which is a result
  runs = []
  for name in ledger.names(workdir) if FLAGS.runs > 1 else ['']:  # a single run has no folder of its own
    events = tapes.read(workdir / name)
    if not clocks.evaluations(events):
      raise Problem(f'{workdir / name}: the run ended before it was evaluated; see what it printed')
    seconds = {clock.name: clocks.seconds(events, clock, 'end') for clock in clocks.CLOCKS}
    runs.append({**airbench_ours.told(events), 'clocks': seconds,
                 'dtype': re.search(r"^compute_dtype = '(\w+)'", events[0]['config'], re.M)[1]})
  return command, runs


def theirs() -> tuple[list[str], list[dict]]:
  command = [sys.executable, '-m', 'benchmarks.airbench_peer', f'--peer_dir={FLAGS.peer_dir}', f'--runs={FLAGS.runs}',
             f'--data_dir={FLAGS.data_dir}', f'--dtype={FLAGS.dtype}']
  return command, [{**run, 'dtype': FLAGS.dtype if run['device'] == 'cpu' else 'float16'} for run in lines(command)]


def lines(command: list[str]) -> list[dict]:
  """The lines of JSON, one a run, that a command prints; all that it prints is shown meanwhile."""
  runs = []
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    try:
      for line in process.stdout:
        progress.say(line.rstrip())  # a run takes minutes on a CPU
        if line.startswith('{"run"'):
          runs.append(json.loads(line))
    except BaseException:
      process.kill()  # else it would train on
      raise
  if process.returncode:
    raise Problem(f'ended with status {process.returncode}; see what it printed: {shown(command[1:])}')
  return runs


def main(argv: list[str], doc: str) -> int:
  if commands.help_wanted(argv):
    return commands.print_help(doc)
  commands.parse(argv)
  airbench_peer.check(FLAGS.peer_dir)  # before ours trains, and for long
  with tempfile.TemporaryDirectory() as spare:
    workdir = Path(FLAGS.workdir or spare).expanduser()
    made = [(config, ours(config, workdir / Path(config).stem)) for config in FLAGS.config]
    peer = theirs()
  for config, mine in made:
    tell(config, mine, peer)
  return 0


def tell(config: str, mine: tuple[list[str], list[dict]], peer: tuple[list[str], list[dict]]):
  """Prints the line of one config of ours."""
  told = {}
  for side, (command, runs) in {'ours': mine, 'peer': peer}.items():
    accuracy = statistics.describe([run['accuracy'] for run in runs])
    told[side] = {'command': shown(command[1:]), 'accuracy': accuracy['mean'],
                  'accuracy_interval': accuracy['interval'], 'device': runs[0]['device'], 'dtype': runs[0]['dtype'],
                  'reached': sum(run['accuracy'] >= TARGET for run in runs)}
  told['ours']['clocks'] = {name: statistics.describe([run['clocks'][name] for run in mine[1]])['mean']
                            for name in mine[1][0]['clocks']}
  report('airbench', **{side: [run['seconds'] for run in runs] for side, (_, runs) in (('ours', mine), ('peer', peer))},
         peer_name=airbench_peer.FILE, unit='s', what=Path(config).stem, dtype=told['ours']['dtype'], sides=told)


if __name__ == '__main__':
  airbench_peer.define_flags()
  flags.DEFINE_list('config', 'references/cifar/configs/airbench94_muon.py', 'ours, one or more')
  flags.DEFINE_list('more', [], 'flags for launchers.train, as --more=--config.compute_dtype=float32')
  flags.DEFINE_bool('one_process', False, 'train ours in one process too: WARM clock only, and less time for many runs')
  flags.DEFINE_string('workdir', '', 'keeps our tapes there; default: a folder that is removed')
  commands.run(main, __doc__)
