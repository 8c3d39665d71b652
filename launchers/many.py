"""Many runs of one config, one process each, so that every clock starts from nothing; none is dropped."""
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

from launchers import checkout, command, header
from scoring import audit_set, clocks, ledger, record
from scoring import tape as tapes
from scoring.problem import Problem
from training import config as configs


def train(config, runs_dir: Path, argv: list[str], asked_to_stop: list) -> int:
  """Trains FLAGS.runs times, seeds counting up; the exit status.

  A run that fails is recorded and the next one begins; runs that are complete already are not repeated.
  """
  from absl import flags
  number_of_runs, checkpoint_dir = flags.FLAGS.runs, flags.FLAGS.checkpoint_dir
  if (runs_dir / 'tape.jsonl').exists() and (runs_dir / 'tape.jsonl').stat().st_size:
    raise Problem(f'--workdir={runs_dir}: holds a single run; name another for a set of runs')
  command.refuse_foreign(runs_dir, flags.FLAGS.flag_values_dict())
  begun = ledger.read(runs_dir) if (runs_dir / 'ledger.jsonl').exists() else []
  if begun:
    command.check_config(begun[0]['config'], config, runs_dir)
  ended = {e['run'] for e in begun if e['event'] == 'end'}
  try:
    runs_dir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise Problem(f'--workdir={runs_dir}: cannot write there ({error.strerror}); name another') from None
  worst, checked = 0, False  # checked: before the first run that is trained, if any is
  for number in range(number_of_runs):
    name, seed = ledger.run_name(number), config.seed + number
    workdir = runs_dir / name
    if (workdir / 'tape.jsonl').exists() and record.status(tapes.read(workdir) or [{'event': 'process'}]) == 'complete':
      if begun and (begun[-1]['run'], begun[-1]['event']) == (name, 'begin'):
        _end_late(runs_dir, name)
      continue
    if name in ended and not (workdir / 'tape.jsonl').exists():
      raise Problem(f'{workdir}: the ledger says that this run has ended, and its tape is gone; restore it or begin a '
                    'new set: a run that is made again hides the first')
    if (workdir / 'tape.jsonl').exists():
      command.lock(workdir).close()  # a launcher that was killed alone leaves its run at work
    if not checked:
      _check_alike(runs_dir, name)
      checked = True
    # of a flag given twice the last counts
    flags_of_run = [*argv, '--runs=1', f'--workdir={workdir}', f'--config.seed={seed}']
    if checkpoint_dir:
      flags_of_run.append(f'--checkpoint_dir={checkpoint_dir}/{name}')
    ledger.append(runs_dir, run=name, event='begin', seed=seed, config=configs.to_text(config), time=time.time())
    status = _run(flags_of_run, asked_to_stop)
    print(_line(workdir, seed, status), flush=True)
    ledger.append(runs_dir, run=name, event='end', exit_status=status, time=time.time())
    if asked_to_stop:
      return command.INTERRUPTED if signal.SIGINT in asked_to_stop else command.PREEMPTED
    if status in (command.USAGE, command.PREEMPTED, command.INTERRUPTED):
      return status
    worst = max(worst, status not in (command.REACHED, command.NOT_REACHED))
  summary = ledger.summarize(runs_dir)
  if not checked:
    print(f"nothing was trained: the {number_of_runs} runs asked for are complete; of all {summary['n']} there:")
  print(ledger.table(summary))
  print(f'records   {runs_dir / "summary.json"}')
  return command.ERROR if worst else 0


def _end_late(runs_dir: Path, name: str):
  """Adds the end of a run that completed after the launcher that began it was killed: as its tape has it."""
  events = tapes.read(runs_dir / name)
  status = command.REACHED if clocks.reached(events) else command.NOT_REACHED
  ledger.append(runs_dir, run=name, event='end', exit_status=status, time=events[-1]['time'], noted=time.time())


def _check_alike(runs_dir: Path, name: str):
  """Raises Problem where a run would not be like the first of its set: no review passes such a set."""
  begun = [run for run in audit_set.runs_of(runs_dir) if (run / 'tape.jsonl').exists()]
  first = next((events[0] for events in map(tapes.read, begun) if events), None)
  if first:
    before = {**first, audit_set.FOLDER: audit_set.folder_of(first)}
    own = {**header.on(first['hardware']), audit_set.FOLDER: (runs_dir / name).parent.name}
    for field in (field for field in audit_set.ALIKE if field in own):
      theirs, ours = before.get(field), own[field]
      if theirs != ours:
        raise Problem(f'--workdir={runs_dir}: the {field} of its runs is {_shortened(theirs, ours)}, that of {name} '
                      f'would be {_shortened(ours, theirs)}; go on with theirs, or begin a new set')
  if changed := checkout.changed():
    print(f'note: {changed.splitlines()[0].split()[-1]} is not as it was committed, and so no review will pass these '
          'runs; commit first if they are to be published', file=sys.stderr)


def _shortened(value, other) -> str:
  """A value in a line; of one with fields, those that another has not alike."""
  if isinstance(value, dict) and isinstance(other, dict):
    value = {name: part for name, part in value.items() if name not in other or part != other[name]}
  return f'{value!r:.80}'


def _line(workdir: Path, seed: int, status: int) -> str:
  """What became of a run, in one line."""
  events = tapes.read(workdir) if (workdir / 'tape.jsonl').exists() else []
  if not events:
    return f'{workdir.name}  seed {seed}  exit status {status}, no tape'
  made = record.record(events)
  value = 'no evaluation' if made['metric'] is None else f"{made['target']['metric']} {made['metric']:.4f}"
  seconds = made['seconds_to_target']['dawnbench']
  return (f"{workdir.name}  seed {seed}  {made['status']}  {'REACHED' if made['reached'] else 'NOT REACHED'}  {value}  "
          f"step {made['step']}  dawnbench " + ('-' if seconds is None else f'{seconds:.2f} s'))


def _run(arguments: list[str], asked_to_stop: list) -> int:
  """Runs one training process, which is asked to stop when this one is; its record is printed as one line later.

  By SIGTERM after Ctrl-C too: a terminal sends that to both, and a second one of it would end the run unsaved.
  """
  child = subprocess.Popen([sys.executable, '-m', 'launchers.train', *arguments], stdout=subprocess.DEVNULL)
  told = False
  while True:
    if asked_to_stop and not told:
      child.terminate()
      told = True
    with contextlib.suppress(subprocess.TimeoutExpired):
      return child.wait(timeout=0.2)
