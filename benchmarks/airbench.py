"""Seconds to train CIFAR-10 to 94 %, ours against airbench94_muon or airbench94 as their author wrote them.

  python -m benchmarks.airbench --peer_dir=DIR --data_dir=DIR [--config=references/cifar/configs/fastest.py,...]
                               [--peer=airbench94] [--runs=25] [--dtype=bfloat16] [--workdir=DIR] [--one_process]
                               [--more=--config.compute_dtype=float32]

Each side trains --runs times, one side after the other, the peer in one process (`benchmarks.airbench_peer`), ours in
one each (`launchers.train --runs=N`) or, with --one_process, in one too (`benchmarks.airbench_ours`). Prints a line for
each config of ours, beside the same runs of the peer, with both commands. The ratio is of median seconds of the WARM
clock, the peer's own: setting up from data, training, and the last evaluation with its views. A recipe with a fixed
schedule hits or misses: both accuracies are there, with the mean's 95 % interval, and how many runs reached 94 %. On a
GPU compiling takes most of it: ours a minute, the peer's search for kernels five. The peer needs the extra `peers` and
torchvision.
"""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from benchmarks import airbench_peer, progress, runs
from benchmarks.report import report, shown
from input_pipelines import cifar10
from launchers import command as commands
from references.cifar.cifar10 import Config
from scoring import clocks, ledger, statistics
from scoring import tape as tapes
from scoring.problem import Problem
from training.config import load

FLAGS = flags.FLAGS
TARGET = 0.94


def ours(config: str, workdir: Path) -> tuple[list[str], list[dict]]:
  """(command, runs), a run being accuracy, seconds by clock, and the device."""
  where = [f'--config={config}', f'--data_dir={FLAGS.data_dir}', f'--workdir={workdir}', f'--runs={FLAGS.runs}']
  if FLAGS.one_process:
    command = [sys.executable, '-m', 'benchmarks.airbench_ours', *where, *FLAGS.more]
    return command, [{**run, 'clocks': {clocks.WARM.name: run['seconds']}} for run in lines(command)]
  command = [sys.executable, '-m', 'launchers.train', *where, '--config.stop=end', *FLAGS.more]
  check(command, subprocess.run(command, stdout=sys.stderr).returncode)
  made = []
  for name in ledger.names(workdir) if FLAGS.runs > 1 else ['']:  # a single run has no folder of its own
    events = tapes.read(workdir / name)
    seconds = {clock.name: clocks.seconds(events, clock, 'end') for clock in clocks.CLOCKS}
    made.append({**runs.told(events), 'clocks': seconds,
                 'dtype': re.search(r"^compute_dtype = '(\w+)'", events[0]['config'], re.M)[1]})
  return command, made


def theirs() -> tuple[list[str], list[dict]]:
  command = [sys.executable, '-m', 'benchmarks.airbench_peer', f'--peer_dir={FLAGS.peer_dir}', f'--runs={FLAGS.runs}',
             f'--data_dir={FLAGS.data_dir}', f'--dtype={FLAGS.dtype}', f'--peer={FLAGS.peer}']
  return command, [{**run, 'dtype': FLAGS.dtype if run['device'] == 'cpu' else 'float16'} for run in lines(command)]


def lines(command: list[str]) -> list[dict]:
  """The lines of JSON, one a run, that a command prints; all that it prints is shown meanwhile."""
  found = []
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    try:
      for line in process.stdout:
        progress.say(line.rstrip())  # a run takes minutes on a CPU
        if line.startswith('{"run"'):
          found.append(json.loads(line))
    except BaseException:
      process.kill()  # else it would train on
      raise
  check(command, process.returncode)
  return found


def check(command: list[str], status: int):
  """Raises Problem unless it trained; a run that missed the target is a result."""
  if status not in (commands.REACHED, commands.NOT_REACHED):
    raise Problem(f'ended with status {status}; see what it printed: {shown(command[1:])}')


def folders(workdir: Path) -> dict[str, Path]:
  """Each config of ours, with the folder for its tapes; raises Problem for what would stop a training later on."""
  found = {}
  if not FLAGS.config:
    raise Problem('--config= names none: choose from references/cifar/configs')
  for config in FLAGS.config:
    if not isinstance(load(config), Config):
      raise Problem(f'--config={config}: not a config of CIFAR-10; choose from references/cifar/configs')
    folder = workdir.expanduser() / Path(config).stem
    if folder in found.values():
      raise Problem(f'--config={config}: a second one of that name; lines and tapes go by it')
    found[config] = folder
    if FLAGS.one_process and folder.exists():  # launchers.train goes on with what was cut short
      raise Problem(f'--workdir={workdir}: holds {folder.name} already; name another')
  cifar10.check_present(FLAGS.data_dir)
  return found


def main() -> int:
  airbench_peer.check(FLAGS.peer_dir, FLAGS.peer)
  with tempfile.TemporaryDirectory() as spare:
    made = [(config, ours(config, folder)) for config, folder in folders(Path(FLAGS.workdir or spare)).items()]
  try:
    peer = theirs()
  except Problem as problem:  # what ours took was not for nothing
    for config, mine in made:
      tell(config, mine, None, f'{problem}')
    raise
  for config, mine in made:
    tell(config, mine, peer)
  return 0


def tell(config: str, mine: tuple[list[str], list[dict]], peer: tuple[list[str], list[dict]] | None, why: str = ''):
  """Prints the line of one config of ours; `why`: there is no peer beside it."""
  told = {}
  sides = {'ours': mine, **({'peer': peer} if peer else {})}
  for side, (command, made) in sides.items():
    accuracy = statistics.describe([run['accuracy'] for run in made])
    told[side] = {'command': shown(command[1:]), 'accuracy': accuracy['mean'],
                  'accuracy_interval': accuracy['interval'], 'device': made[0]['device'], 'dtype': made[0]['dtype'],
                  'reached': sum(run['accuracy'] >= TARGET for run in made)}
  told['ours']['clocks'] = {name: statistics.describe([run['clocks'][name] for run in mine[1]])['mean']
                            for name in mine[1][0]['clocks']}
  seconds = {side: [run['seconds'] for run in made] for side, (_, made) in sides.items()}
  name = Path(airbench_peer.FILES[FLAGS.peer]).name
  report('airbench', **{'peer': None, **seconds}, peer_name=name if peer else None, unit='s', what=Path(config).stem,
         kind=f'against {FLAGS.peer}', dtype=told['ours']['dtype'], sides=told, not_measured={name: why} if why else {})


if __name__ == '__main__':
  airbench_peer.define_flags()
  flags.DEFINE_list('config', 'references/cifar/configs/airbench94_muon.py', 'ours, one or more')
  flags.DEFINE_multi_string('more', [], 'a flag for the command that trains ours, as\n'
                            '--more=--config.compute_dtype=float32; may be given again')
  flags.DEFINE_bool('one_process', False, 'train ours in one process too: WARM clock only, and less time for many runs')
  flags.DEFINE_string('workdir', '', 'keeps our tapes there, and goes on with\n'
                      'those of a comparison that was cut short; default: a folder that is removed')
  commands.script(main, __doc__)
