"""Trains a reference to its target and writes its records.

  python -m launchers.train --config=references/cifar/configs/digits.py --workdir=runs/digits

Any field of the config is a flag: --config.batch_size=256. The same command again resumes a run that was cut short.
Exit status: 0 target reached, 1 error, 2 wrong flag, 3 schedule ended below the target, 75 preempted and
saved (SIGTERM), 130 interrupted and saved (Ctrl-C).
"""
from scoring.tape import Tape, WallClock, process_start_seconds

NOW, STARTED = WallClock(), process_start_seconds()  # before the slow imports: they are on the clock

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

from absl import flags

from launchers import command, sinks
from scoring import cost, mlperf, record
from scoring import tape as tapes
from scoring.problem import Problem
from training import config as configs

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'config file: references/TASK/configs/NAME.py')
flags.DEFINE_string('workdir', None, 'folder of this run: tape, checkpoints, records')
flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets; embedded ones need none')
flags.DEFINE_integer('runs', 1, 'train so many times, seeds counting up from the config\'s, into WORKDIR/run_000 ...',
                     lower_bound=1)
flags.DEFINE_bool('eval_only', False, 'evaluate the latest checkpoint, change nothing')
flags.DEFINE_string('profile', '', 'START:STOP, steps to trace into WORKDIR/profile')
flags.DEFINE_bool('checkpoints', True, 'keep checkpoints, so that a run cut short resumes')
flags.DEFINE_string('checkpoint_dir', '', 'where to keep them, e.g. gs://bucket/run; default WORKDIR/checkpoints')
flags.DEFINE_integer('checkpoint_every_steps', None, 'save so often; default: after each evaluation', lower_bound=1)
flags.DEFINE_integer('keep_checkpoints', 2, 'how many to keep', lower_bound=1)
flags.DEFINE_integer('log_every_steps', 100, 'progress between evaluations; 0: none', lower_bound=0)
flags.DEFINE_string('compilation_cache_dir', '~/.cache/daybreak/programs', 'keeps compiled programs; empty: no cache')
flags.DEFINE_float('usd_per_hour', None, 'price of the whole machine or cluster; default: from scoring/prices.csv')
flags.DEFINE_string('price', None, 'name of a row of scoring/prices.csv')
flags.DEFINE_string('author', '', 'for DAWNBench entries')
flags.DEFINE_string('author_email', '', 'for DAWNBench entries')
flags.DEFINE_string('organization', 'unnamed', 'for MLPerf logs')
flags.DEFINE_string('hardware', '', 'how to name this machine in records; default: as the machine says')
flags.DEFINE_enum('status', 'onprem', ['cloud', 'onprem', 'preview', 'research'], 'of the machine, for MLPerf')
flags.DEFINE_enum('division', 'closed', ['closed', 'open'], 'MLPerf\'s division')
LOCKS, ASKED_TO_STOP = [], []
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'daybreak')


def versions() -> dict[str, str]:
  found = {'python': platform.python_version()}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found


def git(*args: str) -> str | None:
  """What git says of this checkout; None where there is no git or no checkout."""
  try:
    done = subprocess.run(['git', *args], cwd=tapes.ROOT, capture_output=True, text=True)
  except OSError:
    return None
  return done.stdout.strip() if done.returncode == 0 else None


def hardware(devices) -> dict:
  """The machine, as the header of a tape names it."""
  try:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    cpu = next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
  except (OSError, StopIteration):
    cpu = platform.processor() or platform.machine()
  import jax
  return {'platform': devices[0].platform, 'device_kind': devices[0].device_kind, 'device_count': len(devices),
          'process_count': jax.process_count(), 'host': cpu, 'host_cores': len(os.sched_getaffinity(0))
          if hasattr(os, 'sched_getaffinity') else os.cpu_count()}


def header(config, task, devices) -> dict:
  """What ran: the first line of a tape."""
  machine, status = hardware(devices), git('status', '--porcelain')
  return {
      'tape_version': 1, 'benchmark': task.benchmark, 'model': task.model_name,
      'target': {'metric': task.target.metric, 'value': task.target.value, 'num_examples': task.target.num_examples},
      'num_train_examples': task.data['train'].order.num_examples, 'batch_size': config.batch_size,
      'hyperparameters': {**task.hyperparameters, 'gradient_accumulation_steps': config.gradient_accumulation_steps},
      'tricks': dict(task.tricks), 'config': configs.to_text(config), 'seed': config.seed, 'command': sys.argv[1:],
      'git_commit': git('rev-parse', 'HEAD'), 'git_dirty': None if status is None else bool(status),
      'versions': versions(), 'hardware': machine, 'xla_flags': os.environ.get('XLA_FLAGS', ''),
      'price': cost.price_for(machine, usd_per_hour=FLAGS.usd_per_hour, name=FLAGS.price),
      'division': FLAGS.division,
      'submitter': {'organization': FLAGS.organization, 'author': FLAGS.author, 'author_email': FLAGS.author_email,
                    'hardware': FLAGS.hardware, 'status': FLAGS.status}}


def make_workdir(config) -> Path:
  """The workdir, made and found writable, and not another config's."""
  workdir = Path(FLAGS.workdir).expanduser()
  if (workdir / 'ledger.jsonl').exists():
    raise Problem(f'--workdir={workdir}: holds a set of runs (its ledger.jsonl says so); add --runs or name another')
  if FLAGS.eval_only and not (workdir / 'tape.jsonl').exists():
    raise Problem(f'--workdir={workdir}: no run there, so no checkpoint to evaluate; train first')
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = open(workdir / 'tape.jsonl', 'a')
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise Problem(f'--workdir={workdir}: another process is at work on this run; wait for it or stop it') from None
  except OSError as error:
    raise Problem(f'--workdir={workdir}: cannot write there ({error.strerror}); name another') from None
  LOCKS.append(lock)  # held, and so kept open, until this process ends
  events = tapes.read(workdir)
  if events:
    command.check_config(events[0]['config'], config, workdir)
  if not FLAGS.checkpoints and (workdir / 'checkpoints').exists():
    raise Problem(f'--workdir={workdir}: has checkpoints to resume from; leave --nocheckpoints out or name another')
  return workdir


def profile_range(num_steps: int) -> tuple[int, int] | None:
  if not FLAGS.profile:
    return None
  start, _, stop = FLAGS.profile.partition(':')
  if not (start.isdigit() and stop.isdigit() and int(start) < int(stop) <= num_steps):
    raise Problem(f'--profile={FLAGS.profile}: write START:STOP with 0 <= START < STOP <= {num_steps}, the last step')
  return int(start), int(stop)


def set_compilation_cache():
  import jax
  if FLAGS.compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', str(Path(FLAGS.compilation_cache_dir).expanduser()))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def open_tape(workdir: Path, checkpoints, config, task, devices, imported: float) -> Tape:
  """The tape of this run, with what this process is and what it resumes from as its next line."""
  step = checkpoints.latest_step() if checkpoints else None
  saved = checkpoints.restore_tape(step) if step else ''
  path = workdir / 'tape.jsonl'
  kept = path.read_text(encoding='utf-8', errors='replace')
  if len(kept) < len(saved) and saved.startswith(kept[:kept.rfind('\n') + 1]):
    record.write_text(path, saved)  # the file lost lines that the checkpoint has
  tape = Tape(path, now=NOW)
  resumed = None
  if tape.events:
    command.check_config(tape.events[0]['config'], config, checkpoints.directory if checkpoints else workdir)
    if not tape.text().startswith(saved):
      raise Problem(f'{workdir}: the checkpoint of step {step} is not of this tape; name another --workdir')
    resumed = {'step': step or 0, 'line': len(saved.splitlines()) or 1}
  before = tape.events[-1]['time'] if tape.events else 0.0
  started = max(STARTED, before)
  process = tape.event('process', time=started, **header(config, task, devices), resumed=resumed)
  tape.event('import', time=started, edge='start')
  tape.event('import', time=max(imported, started), edge='stop')
  with tape.span('init', start=max(imported, started)):
    progress = sinks.Progress(task.num_steps, tape.events[0]['target'])
    tape.attach(mlperf.LiveLog(workdir / 'result_0.txt', tape.events), progress,
                *sinks.tensorboard(workdir / 'tensorboard'))
    progress(process)
  return tape


def train(config, workdir: Path) -> int:
  """One run, from here to its records; the exit status."""
  from training import checkpoint, loop
  from training import mesh as meshes
  imported = NOW()
  set_compilation_cache()
  mesh, task = meshes.make_mesh(), config.make_task(os.path.expanduser(FLAGS.data_dir))
  checkpoints = checkpoint.Checkpoints(FLAGS.checkpoint_dir or workdir / 'checkpoints', FLAGS.keep_checkpoints) \
      if FLAGS.checkpoints else None
  tape = open_tape(workdir, checkpoints, config, task, list(mesh.devices.flat), imported)
  cadence = loop.Cadence(FLAGS.log_every_steps, FLAGS.checkpoint_every_steps, profile_range(task.num_steps),
                         str(workdir / 'profile'))
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_and_save)
  try:
    loop.run(task, config, mesh, tape, checkpoints=checkpoints, cadence=cadence,
             preempted=lambda: bool(ASKED_TO_STOP))
    status = 'complete'
  except loop.Preempted as stopped:
    kept = f'saved at step {stopped.args[0]}' if checkpoints and stopped.args[0] else 'nothing to save'
    status = 'interrupted' if signal.SIGINT in ASKED_TO_STOP else 'preempted'
    tape.deliver()  # what is to be seen of the last steps comes before this line
    print(f'{status}, {kept}; the same command {"resumes" if stopped.args[0] else "begins again"}', file=sys.stderr)
  except Problem as problem:
    with contextlib.suppress(Problem):  # what can still be written; the first problem is the one to tell
      checkpoints and checkpoints.close()
    with contextlib.suppress(Problem):
      tape.deliver()
      tape.event('exit', status='failed', reason=str(problem))
      record.write(tape.events, workdir)
    raise
  if checkpoints:
    with tape.span('checkpoint'):
      checkpoints.close()
  tape.deliver()
  tape.event('exit', status=status)
  if status != 'complete':
    record.write(tape.events, workdir)
    return command.INTERRUPTED if status == 'interrupted' else command.PREEMPTED
  return write_records(tape.events, workdir)


def stop_and_save(number, frame):
  """What Ctrl-C does: the run ends as by SIGTERM; the second time it ends at once.

  At once means without raising: Python drops an exception that a handler raises inside a finaliser or a callback.
  """
  if number in ASKED_TO_STOP:
    os.write(2, f'error: {command.GOES_ON}\n'.encode())
    os._exit(command.INTERRUPTED)
  ASKED_TO_STOP.append(number)
  os.write(2, b'stopping after this step, and saving; Ctrl-C again: at once, back to the last checkpoint\n')


def write_records(events, workdir: Path) -> int:
  """Writes and prints the records; the exit status."""
  made, refused = command.write_records(events, workdir)
  if refused and made['reached']:
    print(f'dawnbench {refused}')
  return command.REACHED if made['reached'] else command.NOT_REACHED


def evaluate(config, workdir: Path) -> int:
  """Evaluates the latest checkpoint and prints its metrics as JSON."""
  import json

  from training import checkpoint, loop
  from training import mesh as meshes
  set_compilation_cache()
  checkpoints = checkpoint.Checkpoints(FLAGS.checkpoint_dir or workdir / 'checkpoints', FLAGS.keep_checkpoints)
  step = checkpoints.latest_step()
  if not step:
    raise Problem(f'{checkpoints.directory}: no checkpoint to evaluate; train first')
  saved = tapes.parse(checkpoints.restore_tape(step))
  command.check_config(saved[0]['config'], config, checkpoints.directory)
  metrics, counted = loop.evaluate_checkpoint(config.make_task(os.path.expanduser(FLAGS.data_dir)), config,
                                              meshes.make_mesh(), checkpoints, step)
  print(json.dumps({'step': step, 'num_evaluated': counted, **metrics}))
  return command.REACHED


def main(argv: list[str], doc: str) -> int:
  signal.signal(signal.SIGTERM, lambda number, frame: ASKED_TO_STOP.append(number))
  given = next((a.split('=', 1)[1] for a in argv if a.startswith('--config=')), None)
  if command.help_wanted(argv):
    if given:
      configs.define_flags(configs.load(given))
    return command.print_help(doc)
  command.parse(argv, known_only=True)
  for name in ('config', 'workdir'):
    if not getattr(FLAGS, name):
      command.fail(f'--{name} is missing; e.g. python -m launchers.train '
                   '--config=references/cifar/configs/digits.py --workdir=runs/digits')
      return command.USAGE
  config = configs.load(FLAGS.config)
  configs.define_flags(config)
  command.parse(argv)
  config = configs.from_flags(config)
  if FLAGS.runs > 1 and FLAGS.eval_only:
    command.fail('--eval_only looks at one run: leave --runs out and name its workdir')
    return command.USAGE
  if FLAGS.runs > 1:
    from launchers import many
    return many.train(config, Path(FLAGS.workdir).expanduser(), argv[1:], ASKED_TO_STOP)
  workdir = make_workdir(config)
  if FLAGS.eval_only:
    return evaluate(config, workdir)
  events = tapes.read(workdir)
  if events and record.status(events) == 'complete':
    print('this run is complete; its records:')
    return write_records(events, workdir)
  return train(config, workdir)


if __name__ == '__main__':
  command.run(main, __doc__)
