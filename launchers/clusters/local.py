"""A pod in miniature: several processes on this machine, CPU devices, gloo's collectives; for tests and learning."""
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from launchers import command
from launchers.clusters.plan import Command, Plan, flag_value
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_integer('num_processes', 2, 'of a local pod', lower_bound=1)
flags.DEFINE_integer('local_devices', 1, 'CPU devices of each process', lower_bound=1)
flags.DEFINE_integer('local_port', 0, 'for the processes to find each other; 0: any that is free', lower_bound=0,
                     upper_bound=65535)
END_SECONDS = 60  # how long, beyond the time after which they notice, the others may take to end once one was lost
ASKED_SECONDS = 10  # as long where all were asked to end anyway, and one did so without a checkpoint
LOCKS = []  # held until this process ends


def plan(flags_of_train: Sequence[str]) -> Plan:
  """The processes, side by side; process 0 prints, and the others write to WORKDIR/pod/process_N.log."""
  port = FLAGS.local_port
  if not port and not FLAGS.dry_run:
    with socket.socket() as probe:
      probe.bind(('127.0.0.1', 0))
      port = probe.getsockname()[1]
  env = {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(FLAGS.local_devices)}
  return SideBySide({}, [Command(
      [sys.executable, '-m', 'launchers.train', *flags_of_train, '--distributed',
       f'--coordinator_address=127.0.0.1:{port or "PORT"}', f'--num_processes={FLAGS.num_processes}',
       f'--process_id={number}'], env) for number in range(FLAGS.num_processes)])


class SideBySide(Plan):
  """A plan whose commands are the processes of one pod."""

  def run(self) -> int:
    """Runs the processes until all have ended; the exit status of train.

    Ctrl-C and SIGTERM are passed on, so that all save at the same step; a second Ctrl-C ends all at once. Once one was
    killed, the others have the time to say so, and are ended after it.
    """
    asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, lambda number, frame: asked.append(number))
    flags_of_train = self.commands[0].argv
    logs = Path(flag_value(flags_of_train, 'workdir')).expanduser() / 'pod'
    processes = _start(self, logs)
    passed_on, lost_at = 0, None
    limit = float(flag_value(flags_of_train, 'peer_timeout_seconds') or 30) + END_SECONDS
    while any(process.poll() is None for process in processes):
      time.sleep(0.05)
      if len(asked) > passed_on:
        passed_on += 1
        if asked.count(signal.SIGINT) > 1:
          _end(processes)
          command.fail(command.GOES_ON)
          return command.INTERRUPTED
        if asked[-1] == signal.SIGINT:
          print(command.STOPPING, file=sys.stderr, flush=True)
        with contextlib.suppress(ProcessLookupError):
          next(p for p in processes if p.poll() is None).send_signal(asked[passed_on - 1])
      if lost_at is None and any(p.poll() not in (None, command.REACHED, command.NOT_REACHED, command.PREEMPTED)
                                 for p in processes):
        lost_at = time.monotonic()
      if lost_at is not None and time.monotonic() > lost_at + (ASKED_SECONDS if asked else limit):
        _end(processes)
    status = _conclude(processes, logs)
    if signal.SIGINT in asked and status == command.LOST:  # asked so early that one could not save, or so late
      command.fail(command.GOES_ON)
      return command.INTERRUPTED
    return status


def _start(plan: Plan, logs: Path) -> list[subprocess.Popen]:
  """Each in a session of its own: a terminal's Ctrl-C goes to this process, which passes it on to one of them."""
  processes = []
  try:
    logs.mkdir(parents=True, exist_ok=True)
    LOCKS.append(open(logs / 'lock', 'w'))
    fcntl.flock(LOCKS[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    for number, one in enumerate(plan.commands):
      output = open(logs / f'process_{number}.log', 'w') if number else None
      processes.append(subprocess.Popen(one.argv, env={**os.environ, **one.env}, start_new_session=True, stdout=output,
                                        stderr=output and subprocess.STDOUT))
  except BlockingIOError:
    raise Problem(f'--workdir: another pod is at work in {logs.parent}; wait for it or stop it') from None
  except OSError as error:
    _end(processes)
    raise Problem(f'--workdir: cannot write to {logs} ({error.strerror}); name another') from None
  return processes


def _end(processes):
  for process in processes:
    process.kill()
    process.wait()


def _conclude(processes, logs: Path) -> int:
  """Prints what the logs of the others say that process 0 did not; the exit status."""
  told, heard = set(), processes[0].returncode in (command.ERROR, command.USAGE, command.LOST)  # process 0 said it
  for number, process in enumerate(processes):
    if process.returncode < 0:
      command.fail(f'process {number} was ended by {signal.Signals(-process.returncode).name}')
    log = logs / f'process_{number}.log'
    for line in log.read_text(errors='replace').splitlines() if number and not heard else ():
      if line.startswith('error: ') and line not in told:
        told.add(line)
        print(f'process {number}: {line}', file=sys.stderr, flush=True)
  statuses = [p.returncode for p in processes]
  good = (command.REACHED, command.NOT_REACHED, command.PREEMPTED)
  wrong = [command.LOST if status < 0 else status for status in statuses if status not in good]
  return wrong[0] if wrong else statuses[0]
