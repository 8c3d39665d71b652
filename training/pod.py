"""Several processes that train as one: how they find each other, agree, and notice that one is lost.

All of it is asked of JAX's coordination service, which a pod has anyway, except the roll call before it: the service
waits for everybody and then aborts, without a word of who was missing.
"""
import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from scoring.problem import Problem
from training.roll_call import GRACE_SECONDS, roll_call
from training.watch import BEAT_SECONDS, BROKEN_BEATS, LOST, RESUMES, Watch, names

HANDLERS = []
LONG_SECONDS = 24 * 3600  # a wait that is ended by the watch, not by a limit of its own


class Agreed(Problem):
  """A problem that all processes of a pod know of."""


class Pod:
  """This process among those that train as one. Alone, as here, it answers every question itself."""
  index, count = 0, 1

  def __init__(self, asked_to_stop: Sequence[Any] = ()):
    self._asked_to_stop, self.ticks = asked_to_stop, 0

  def tick(self):
    """Says that the host got on: called for each step and each batch that is evaluated."""
    self.ticks += 1

  def preempted(self, step: int) -> bool:
    """Whether to stop here, after `step` updates; asked alike by all processes, and answered alike."""
    self.tick()
    return bool(self._asked_to_stop)

  def agree(self, problem: str | None = None) -> str | None:
    """Waits for all processes; the first problem that any of them gave, with its name, or None."""
    return problem

  def first_says(self, value: Any = None) -> Any:
    """The value that process 0 gave, JSON, in all processes."""
    return value

  def check(self, action: Callable[[], Any]) -> Any:
    """What `action()` returns, once it went well in every process; raises everywhere the Problem of any of them."""
    try:
      result, problem = action(), None
    except Problem as found:
      result, problem = None, str(found)
    problem = self.agree(problem)
    if problem:
      raise Agreed(problem)
    return result

  def alike(self, what: dict[str, str]):
    """Raises Problem, in all processes, unless each gave the same; the message names who differs, and in what."""
    first = self.first_says(what)
    differs = [f'{name} was {first.get(name)!r} in process 0, is {value!r} here' for name, value in what.items()
               if first.get(name) != value]
    self.check(lambda: _refuse(f'this process has another start than process 0: {"; ".join(differs)}; give all '
                               'processes the same command, code and packages') if differs else None)

  def watch(self, tape):
    """From now on what the other processes do shows on this tape, and where this one stands is read off it."""

  def explain(self, error: BaseException):
    """Does not return if another process's loss is why `error` came up."""

  def fail(self, problem: str):
    """Lets the others know why this process ends."""

  def leave(self):
    """Waits for all processes to come this far, so that none takes the others' end for a loss."""


def _refuse(text: str):
  raise Problem(text)


class Members(Pod):
  """One of several processes, which have been called up.

  Args:
    client: of JAX's coordination service.
    address: of process 0, which runs that service.
    timeout_seconds: how long a process may be silent before it counts as lost.
    stall_seconds: how long nothing may move before it is reported; three times the longest pause so far if longer.
  """

  def __init__(self, client, address: str, index: int, count: int, *, timeout_seconds: float, stall_seconds: float,
               asked_to_stop: Sequence[Any] = ()):
    super().__init__(asked_to_stop)
    self.index, self.count, self.address = index, count, address
    self.timeout_seconds, self.stall_seconds = timeout_seconds, stall_seconds
    self._client, self._questions = client, itertools.count()
    self._stopping = self._passed_on = self._broken = False
    self._asked = 2**31  # the step that was asked about last
    self._tape, self._gone = None, threading.Event()
    explain_abort(lambda: '' if self._gone.is_set() else self._contact_lost())  # a verdict is told already
    self._watcher = threading.Thread(target=self._watch, daemon=True, name='pod')
    self._watcher.start()

  # -- agreement

  def preempted(self, step):
    """By JAX's preemption service: SIGTERM in one process becomes the same later step in all of them.

    It is told the step and no count of our own, since orbax tells it the step of each save.
    """
    from jax.experimental import multihost_utils
    self.tick()
    if self._asked_to_stop and not self._passed_on:  # Ctrl-C, or a SIGTERM before initialize()
      self._passed_on = True
      os.kill(os.getpid(), signal.SIGTERM)  # by now this reaches the service, not Python
    for each in range(min(self._asked + 1, step), step + 1):  # none left out: the service waits for one step exactly
      self._stopping |= multihost_utils.reached_preemption_sync_point(each)
    self._asked = step
    return self._stopping

  def agree(self, problem=None):
    question = f'daybreak/agree/{next(self._questions)}'
    self._client.key_value_set(f'{question}/{self.index}', f'process {self.index}: {problem}' if problem else '')
    self._barrier(question)
    answers = ()
    if not self.index:
      given = dict(self._client.key_value_dir_get(question))
      answers = [text for _, text in sorted(given.items(), key=lambda pair: int(pair[0].rpartition('/')[2])) if text]
    return self.first_says(answers[0] if answers else None)

  def first_says(self, value=None):
    question = f'daybreak/first/{next(self._questions)}'
    if not self.index:
      self._client.key_value_set(question, json.dumps(value))
    return json.loads(self._client.blocking_key_value_get(question, LONG_SECONDS * 1000))

  def _barrier(self, name: str, seconds: float = LONG_SECONDS):
    try:
      self._client.wait_at_barrier(name, int(seconds * 1000))
    except Exception as error:
      missing = sorted(set(re.findall(r'task:(\d+)', str(error).partition('timed out task')[2])), key=int)
      raise Problem(f'process {", ".join(missing) or "?"} of {self.count} did not come to {name} within {seconds:.0f} '
                    f's; look at its output; {RESUMES}') from error

  # -- the watch

  def watch(self, tape):
    self._tape = tape

  def _where(self) -> tuple[str, int]:
    """(what this process is at, the step)."""
    events = reversed(self._tape.events if self._tape else ())
    event = next((e for e in events if e['event'] != 'stall'), {'event': 'start'})
    return event['event'], event.get('step') or 0

  def _watch(self):
    """Each second: say that this process lives and where it stands; look whether the pod has come to an end."""
    watch = Watch(self.count, self.timeout_seconds, self.stall_seconds, self._report_stall)
    beats = itertools.count()
    while not self._gone.wait(BEAT_SECONDS):
      try:
        beat = json.dumps([next(beats), self.ticks, *self._where(), self._broken])
        self._client.key_value_set(f'daybreak/beat/{self.index}', beat, allow_overwrite=True)
        verdict = ''.join(text for _, text in self._client.key_value_dir_get('daybreak/verdict'))
        if not self.index and not verdict:
          told = self._client.key_value_dir_get('daybreak/beat')
          verdict = watch.look({int(key.rpartition('/')[2]): text for key, text in told})
        if verdict and not self._gone.is_set():
          self._end(verdict)
      except Exception as error:  # the service answers no more
        if not self._gone.is_set():
          self._end(self._contact_lost(str(error).splitlines()[0]))

  def _report_stall(self, who: list[int], where: str, step: int, seconds: float):
    text = f'all {self.count} processes' if len(who) == self.count else f'{names(who)}, for which the others wait:'
    print(f'warning: nothing has moved for {seconds:.0f} s in {text} at step {step} ({where}); look at machine, disk '
          'and data', file=sys.stderr, flush=True)
    if self._tape:
      with contextlib.suppress(Problem):
        self._tape.event('stall', processes=who, at=where, step=step, seconds=round(seconds, 1))

  def _end(self, verdict: str):
    """Ends this process with the verdict, process 0 last, since the service ends with it."""
    self._gone.set()
    with contextlib.suppress(Exception):
      self._client.key_value_set('daybreak/verdict/0', verdict)  # the first one stands
    if self._tape and not self.index and RESUMES not in verdict:
      with contextlib.suppress(Problem):
        self._tape.event('exit', status='failed', reason=verdict)
    os.write(2, f'\nerror: {verdict}\n'.encode())  # a line of its own, whatever XLA was saying
    if not self.index:
      time.sleep(3 * BEAT_SECONDS)  # until the others have read it
    os._exit(LOST if RESUMES in verdict else 1)

  def _contact_lost(self, reason: str = "XLA's reason is above") -> str:
    host, _, port = self.address.rpartition(':')
    try:
      socket.create_connection((host.strip('[]'), int(port)), 2).close()
      return f'process 0 at {self.address} answers no more, or another process is lost ({reason}); {RESUMES}'
    except OSError:
      return f'process 0 of {self.count} is lost: nothing answers at {self.address} any more; {RESUMES}'

  # -- the end

  def explain(self, error):
    self._broken = True  # the beat says so, and the lost one is found sooner
    self._gone.wait(BROKEN_BEATS * BEAT_SECONDS + GRACE_SECONDS)
    if self._gone.is_set():
      time.sleep(LONG_SECONDS)  # the watch is about to end this process with the verdict

  def fail(self, problem):
    if not self._gone.is_set():
      self._end(f'process {self.index}: {problem}' if self.count > 1 else problem)

  def leave(self):
    import jax
    self._barrier('daybreak/leave')
    self._gone.set()
    self._watcher.join()
    jax.distributed.shutdown()


def explain_abort(why: Callable[[], str]):
  """Turns XLA's abort() into a line: it ends a process so where its service is gone, out of Python's reach.

  A handler in C, since Python's own run between bytecodes of the main thread, which waits for the devices.
  """
  @ctypes.CFUNCTYPE(None, ctypes.c_int)
  def handler(number):
    text = why()
    if text:
      os.write(2, f'\nerror: {text}\n'.encode())
    os._exit(LOST)
  HANDLERS.append(handler)  # kept alive
  library = ctypes.CDLL(None)
  library.signal.argtypes, library.signal.restype = [ctypes.c_int, type(handler)], ctypes.c_void_p
  library.signal(int(signal.SIGABRT), handler)


def join(address: str = '', count: int | None = None, index: int | None = None, *, start_seconds: float = 300,
         timeout_seconds: float = 30, stall_seconds: float = 120, asked_to_stop: Sequence[Any] = ()) -> Members:
  """Joins this process to the others; before anything else is asked of JAX's devices.

  Args:
    address, count, index: HOST:PORT of process 0, how many there are, which one this is; what is not given JAX reads
      off Slurm, Kubernetes, Open MPI or Cloud TPU's metadata.
    start_seconds: how long to wait for all of them.

  Raises:
    Problem: no pod here, or a process that did not come, by its number.
  """
  import jax
  from jax._src import clusters, distributed  # JAX has no public way to ask where a pod is
  try:
    address, count, index, _ = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        address or os.environ.get('JAX_COORDINATOR_ADDRESS'), count, index, None, None, int(start_seconds))
  except Exception as error:  # whatever a cluster's metadata service, or its absence, raises
    raise Problem(f'--distributed: cannot read this cluster ({type(error).__name__}: {error}); give '
                  '--coordinator_address, --num_processes and --process_id') from error
  if None in (address, count, index):
    raise Problem('--distributed: JAX finds no Slurm, Kubernetes, Open MPI or Cloud TPU pod here; give '
                  '--coordinator_address=HOST:PORT, --num_processes and --process_id, or leave --distributed out')
  if not (0 <= index < count and re.fullmatch(r'.+:\d+', address)):
    raise Problem(f'--coordinator_address={address}, --num_processes={count}, --process_id={index}: HOST:PORT and a '
                  'number from 0 to one below the count, please')
  if count > 1:
    roll_call(address, count, index, start_seconds)
  explain_abort(lambda: f'one of {count} processes ended between the roll call and the start of JAX (its words are '
                        f'above); look at the outputs of the others; {RESUMES}')
  try:
    # not the local devices found above: JAX_LOCAL_DEVICE_IDS, which JAX asks first, may name others
    jax.distributed.initialize(address, count, index, initialization_timeout=int(start_seconds),
                               heartbeat_timeout_seconds=int(timeout_seconds + GRACE_SECONDS))
  except Exception as error:
    raise Problem(f'--distributed: JAX cannot start among {count} processes ({str(error).splitlines()[0]})') from error
  return Members(distributed.global_state.client, address, index, count, timeout_seconds=timeout_seconds,
                 stall_seconds=stall_seconds, asked_to_stop=asked_to_stop)
