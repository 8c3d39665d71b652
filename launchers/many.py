"""Many runs of one config, one process each, so that every clock starts from nothing; none is dropped."""
import signal
import subprocess
import sys
import time
from pathlib import Path

from launchers import command
from scoring import ledger, record, statistics
from scoring import tape as tapes
from scoring.problem import Problem


def _child_flags(argv: list[str]) -> list[str]:
  """The command line without what differs from run to run."""
  kept, skip = [], False
  for argument in argv:
    name = argument.lstrip('-').split('=', 1)[0]
    if skip or name in ('runs', 'workdir', 'config.seed', 'checkpoint_dir'):
      skip = '=' not in argument and not skip  # `--runs 5`: the value is the next argument
      continue
    kept.append(argument)
  return kept


def train(config, runs_dir: Path, argv: list[str]) -> int:
  """Trains FLAGS.runs times, seeds counting up; the exit status.

  A run that fails is recorded and the next one begins; runs that are complete already are not repeated.
  """
  from absl import flags
  number_of_runs, checkpoint_dir = flags.FLAGS.runs, flags.FLAGS.checkpoint_dir
  if (runs_dir / 'tape.jsonl').exists():
    raise Problem(f'--workdir={runs_dir}: holds a single run; name another for a set of runs')
  try:
    runs_dir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise Problem(f'--workdir={runs_dir}: cannot write there ({error.strerror}); name another') from None
  worst = 0
  for number in range(number_of_runs):
    name, seed = ledger.run_name(number), config.seed + number
    workdir = runs_dir / name
    if (workdir / 'tape.jsonl').exists() and record.status(tapes.read(workdir) or [{'event': 'process'}]) == 'complete':
      continue
    flags_of_run = [*_child_flags(argv), f'--workdir={workdir}', f'--config.seed={seed}']
    if checkpoint_dir:
      flags_of_run.append(f'--checkpoint_dir={checkpoint_dir}/{name}')
    print(f'--- {name} of {number_of_runs}, seed {seed}', file=sys.stderr, flush=True)
    ledger.append(runs_dir, run=name, event='begin', seed=seed, time=time.time())
    status = _run(flags_of_run)
    ledger.append(runs_dir, run=name, event='end', exit_status=status, time=time.time())
    if status in (command.USAGE, command.PREEMPTED, command.INTERRUPTED, -signal.SIGINT):
      return abs(status)
    worst = max(worst, status not in (command.REACHED, command.NOT_REACHED))
  print(statistics.table(ledger.summarize(runs_dir)), end='')
  print(f'records   {runs_dir / "summary.json"}')
  return command.ERROR if worst else 0


def _run(arguments: list[str]) -> int:
  """Runs one training process, passing SIGTERM on to it."""
  child = subprocess.Popen([sys.executable, '-m', 'launchers.train', *arguments])
  signal.signal(signal.SIGTERM, lambda *_: child.terminate())
  while True:
    try:
      return child.wait()
    except KeyboardInterrupt:  # the terminal sent it to the child as well
      continue
