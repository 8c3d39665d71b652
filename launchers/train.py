"""Trains a reference to its target and writes its records.

  python -m launchers.train --config=references/cifar/configs/digits.py --workdir=runs/digits

Any field of the config is a flag: --config.batch_size=256. The same command again resumes a run that was cut short.
Exit status: 0 target reached, 1 error, 2 malformed command line, 3 schedule ended below the target, 75
preempted and saved (SIGTERM), 76 another process of a pod was lost, 130 interrupted and saved (Ctrl-C).
"""
from scoring.tape import Tape, WallClock, process_start_seconds

NOW, STARTED = WallClock(), process_start_seconds()  # before the slow imports: they are on the clock

import contextlib
import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from absl import flags

from launchers import command, compilation, devices, distributed, memory, sinks
from launchers.header import header
from scoring import clocks, mlperf, record
from scoring import tape as tapes
from scoring.problem import Problem
from training.pod import Agreed

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
LOCKS, ASKED_TO_STOP = [], []


def make_workdir(config) -> Path:
  """The workdir, made and found writable, and not another config's."""
  workdir = Path(FLAGS.workdir).expanduser()
  if (workdir / 'ledger.jsonl').exists():
    raise Problem(f'--workdir={workdir}: holds a set of runs (its ledger.jsonl says so); --runs=N, N above 1, goes '
                  'on with it, or name another')
  if FLAGS.eval_only and not (workdir / 'tape.jsonl').exists():
    raise Problem(f'--workdir={workdir}: no run there, so no checkpoint to evaluate; train first')
  command.refuse_foreign(workdir, FLAGS.flag_values_dict())
  LOCKS.append(command.lock(workdir))  # held, and so kept open, until this process ends
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


def open_tape(workdir: Path, restored, checkpoints, config, task, devices, imported: float, pod) -> Tape:
  """The tape of this run, with what this process is and what it resumes from as its next line.

  Process 0 keeps the file; the others remember what the checkpoint has of it, all that the loop goes by.
  """
  saved = restored.tape if restored else ''
  if pod.index:
    tape = Tape(text=saved, now=NOW)
  else:
    path = workdir / 'tape.jsonl'
    kept = path.read_text(encoding='utf-8', errors='replace')
    if len(kept) < len(saved) and saved.startswith(kept[:kept.rfind('\n') + 1]):
      record.write_text(path, saved)  # the file lost lines that the checkpoint has
    tape = Tape(path, now=NOW)
  resumed = None
  if tape.events:
    command.check_config(tape.events[0]['config'], config, checkpoints.directory if checkpoints else workdir)
    if not tape.text().startswith(saved):
      raise Problem(f'{workdir}: the checkpoint of step {restored.step} is not of this tape; name another --workdir')
    resumed = {'step': restored.step if restored else 0, 'line': len(saved.splitlines()) or 1}
  before = tape.events[-1]['time'] if tape.events else 0.0
  started = max(STARTED, before)
  process = tape.event('process', time=started, **header(config, task, devices), resumed=resumed)
  tape.event('import', time=started, edge='start')
  tape.event('import', time=max(imported, started), edge='stop')
  with tape.span('init', start=max(imported, started)):
    if not pod.index:
      progress = sinks.Progress(task.num_steps, tape.events[0]['target'])
      tape.attach(mlperf.LiveLog(workdir / 'result_0.txt', tape.events), progress,
                  *sinks.tensorboard(workdir / 'tensorboard'))
      progress(process)
  return tape


def set_up(config, workdir: Path, pod):
  """(mesh, task, checkpoints or None, the newest checkpoint's Restored or None), alike in all processes."""
  from training import checkpoint, programs
  from training import mesh as meshes
  compilation.set_cache()
  distributed.check_alike(pod, config)
  mesh = meshes.make_mesh(devices.found())
  task = pod.check(lambda: config.make_task(os.path.expanduser(FLAGS.data_dir)))
  distributed.check_data_alike(pod, task)
  pod.check(lambda: programs.check_batches(task, mesh, config.gradient_accumulation_steps))
  if not FLAGS.checkpoints:
    return mesh, task, None, None
  directory = FLAGS.checkpoint_dir or workdir.absolute() / 'checkpoints'
  distributed.check_shared(pod, directory)
  checkpoints = checkpoint.Checkpoints(directory, FLAGS.keep_checkpoints)
  return mesh, task, checkpoints, checkpoints.restore_newest(
      programs.abstract_state(task, mesh), pod.agree, set_aside=not FLAGS.eval_only)


def train(config, workdir: Path, pod) -> int:
  """One run, from here to its records; the exit status."""
  from training import loop
  imported = NOW()
  mesh, task, checkpoints, restored = set_up(config, workdir, pod)
  command.at_ctrl_c(stop_and_save)
  tape = pod.check(lambda: open_tape(workdir, restored, checkpoints, config, task, list(mesh.devices.flat), imported,
                                     pod))
  pod.watch(tape)
  tape.deliver()  # before it compiles, which takes long
  cadence = loop.Cadence(FLAGS.log_every_steps, FLAGS.checkpoint_every_steps, profile_range(task.num_steps),
                         str(workdir / 'profile'))
  try:
    loop.run(task, config, mesh, tape, state=restored and restored.state, checkpoints=checkpoints, cadence=cadence,
             pod=pod)
    status = 'complete'
  except loop.Preempted as stopped:
    kept = f'saved at step {stopped.args[0]}' if checkpoints and stopped.args[0] else 'nothing to save'
    status = 'interrupted' if signal.SIGINT in ASKED_TO_STOP else 'preempted'
    tape.deliver()  # what is to be seen of the last steps comes before this line
    if not pod.index:
      print(f'{status}, {kept}; the same command {"resumes" if stopped.args[0] else "begins again"}', file=sys.stderr)
  except Problem as problem:
    if pod.count == 1:
      with contextlib.suppress(Problem):  # what can still be written; the first problem is the one to tell
        checkpoints and checkpoints.close()
    with contextlib.suppress(Problem):
      tape.deliver()
      tape.event('exit', status='failed', reason=str(problem))
      if not pod.index:
        record.write(tape.events, workdir)
    raise
  if checkpoints:
    with tape.span('checkpoint'):
      checkpoints.close()
  tape.deliver()
  tape.event('exit', status=status)
  return end(tape.events, workdir, status, pod)


def end(events, workdir: Path, status: str, pod) -> int:
  """Writes the records, in process 0; the exit status."""
  if status != 'complete':
    if not pod.index:
      record.write(events, workdir)
    return command.INTERRUPTED if status == 'interrupted' else command.PREEMPTED
  if pod.index:
    return command.REACHED if clocks.reached(events) else command.NOT_REACHED
  return write_records(events, workdir)


def ask_to_stop(number, frame):
  ASKED_TO_STOP.append(number)


def stop_and_save(number, frame):
  """What Ctrl-C does: the run ends as by SIGTERM; the second time it ends at once."""
  if number in ASKED_TO_STOP:
    command.stop_at_once(number, frame)
  ask_to_stop(number, frame)
  os.write(2, f'{command.STOPPING}\n'.encode())


def write_records(events, workdir: Path) -> int:
  """Writes and prints the records; the exit status."""
  made, refused = command.write_records(events, workdir)
  if refused and made['reached']:
    print(f'dawnbench {refused}')
  return command.REACHED if made['reached'] else command.NOT_REACHED


def evaluate(config, workdir: Path, pod) -> int:
  """Evaluates the latest checkpoint and prints its metrics as JSON."""
  from training import loop
  mesh, task, _, restored = set_up(config, workdir, pod)
  if restored is None:
    raise Problem(f'{FLAGS.checkpoint_dir or workdir / "checkpoints"}: no checkpoint to evaluate; train first')
  command.check_config(tapes.parse(restored.tape)[0]['config'], config, workdir)
  metrics, counted = loop.evaluate(task, config, mesh, restored.state)
  if not pod.index:
    print(json.dumps({'step': restored.step, 'num_evaluated': counted, **metrics}))
  return command.REACHED


def one_run(config, pod) -> int:
  """Trains, or evaluates, or shows what is complete already; the exit status."""
  workdir = Path(FLAGS.workdir).expanduser()
  pod.check(lambda: None if pod.index else make_workdir(config))
  if FLAGS.eval_only:
    return evaluate(config, workdir, pod)
  events = [] if pod.index else tapes.read(workdir)
  if pod.first_says(bool(events) and record.status(events) == 'complete'):
    if not pod.index:
      print('this run is complete; its records:')
    return pod.first_says(None if pod.index else write_records(events, workdir))
  try:
    return train(config, workdir, pod)
  except Problem:
    if not pod.index:
      take_back(workdir)
    raise


def take_back(workdir: Path):
  """Removes what a run has made that ended before its tape began; what was there before stays."""
  tape = workdir / 'tape.jsonl'
  if tape.exists() and not tape.stat().st_size:
    tape.unlink()
    for folder in (workdir / 'checkpoints', workdir):
      with contextlib.suppress(OSError):  # not there, or not empty
        folder.rmdir()


def together(config, pod) -> int:
  """`one_run`, with the other processes told how this one ends; the exit status."""
  try:
    status = one_run(config, pod)
  except Agreed:
    pod.leave()
    raise
  except Problem as problem:
    cause = problem.__cause__ or problem.__context__
    if cause and not isinstance(cause, OSError):  # what looks like a full disk may be a collective that broke
      pod.explain(cause)
    pod.fail(str(problem))
    raise
  except Exception as error:
    pod.explain(error)
    if pod.count > 1:  # which fail() ends; else it is printed later
      traceback.print_exc()
    pod.fail(f'{type(error).__name__}: {error}')
    raise
  pod.leave()
  return status


def main(argv: list[str], doc: str) -> int:
  signal.signal(signal.SIGTERM, ask_to_stop)
  command.at_ctrl_c(command.stop_at_once)
  if command.config_help_wanted(argv, doc):
    return command.REACHED
  command.parse(argv, known_only=True)
  for name in ('config', 'workdir'):
    if not getattr(FLAGS, name):
      command.fail(f'--{name} is missing; e.g. python -m launchers.train '
                   '--config=references/cifar/configs/digits.py --workdir=runs/digits')
      return command.USAGE
  if FLAGS.runs == 1:
    gc.disable()  # until programs are compiled: what is imported and traced stays, and looking at it took a tenth
  config = command.parse_config(argv)
  if FLAGS.runs > 1 and (FLAGS.eval_only or FLAGS.distributed):
    command.fail('--eval_only looks at one run: leave --runs out and name its workdir' if FLAGS.eval_only else
                 '--runs begins one run after the other by itself: launch each run of a pod, with its own --workdir')
    return command.USAGE
  if FLAGS.runs > 1:
    from launchers import many
    command.at_ctrl_c(ask_to_stop)  # the run saves, and this process waits for it
    return many.train(config, Path(FLAGS.workdir).expanduser(), argv[1:], ASKED_TO_STOP)
  memory.keep_freed()
  return together(config, distributed.pod(ASKED_TO_STOP))


if __name__ == '__main__':
  command.run(main, __doc__)
