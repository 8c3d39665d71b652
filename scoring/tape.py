"""The tape: everything that happened in a run, in order, once.

`WORKDIR/tape.jsonl` holds one JSON object a line. A line is an event: `event` (its name), `time` (Unix seconds),
`file` and `line` (where in the source it was recorded), and fields of its own. An event with `edge` `start` or `stop`
is one end of a span; spans never nest. The first line of each process is named `process`: its time is when the
operating system started the process, and it says what ran. A process that resumed carries
`resumed: {"step": s, "line": n}`: it continues from the checkpoint of step s, which was made when the tape had n lines,
so that all time since line n is lost. Every clock and every record is a function of these lines and nothing else.
"""
import contextlib
import errno
import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from scoring.problem import Problem

ROOT = Path(__file__).resolve().parent.parent
_decode = json.JSONDecoder(parse_constant=int).scan_once  # NaN and Infinity, which no tape holds, are errors


class Span(NamedTuple):
  """A stretch of wall time under one name; `was` is what a `lost` stretch was spent on, where that is known."""
  name: str
  start: float
  stop: float
  line: int
  was: str | None = None

  @property
  def seconds(self) -> float:
    return self.stop - self.start


class WallClock:
  """Unix time that never runs backwards, neither within a process nor, by `not_before`, from one to the next."""

  def __init__(self):
    self.offset = time.time() - time.perf_counter()

  def not_before(self, seconds: float):
    self.offset = max(self.offset, seconds - time.perf_counter())

  def __call__(self) -> float:
    return self.offset + time.perf_counter()


def process_start_seconds() -> float:
  """Unix time at which the operating system started this process; to 10 ms, from Linux's process table.

  Elsewhere it falls back on `ps`, which rounds to a second.
  """
  try:
    after_name = Path('/proc/self/stat').read_text().rpartition(')')[2].split()
    started = int(after_name[19]) / os.sysconf('SC_CLK_TCK')
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - started)
  except (OSError, AttributeError, IndexError):
    import subprocess
    text = subprocess.run(['ps', '-o', 'lstart=', '-p', str(os.getpid())], capture_output=True, text=True,
                          env={**os.environ, 'LC_ALL': 'C'}).stdout
    return time.mktime(time.strptime(text.strip()))


def parse(text: str, where: str = 'tape', *, after: int = 0) -> list[dict]:
  """The events of a tape's text, or of what follows its first `after` lines; a torn last line is dropped.

  Raises:
    Problem: a line before the last is not an event, or the tape does not begin with a process.
  """
  lines = text.split('\n')[:-1]  # whatever follows the last newline was torn by a crash
  events = []
  for number, line in enumerate(lines, after + 1):
    try:
      event, end = _decode(line := line.strip(), 0)
      if end != len(line) or not math.isfinite(event['time'] + 0.0) or not isinstance(event['event'], str):
        raise ValueError
    except (StopIteration, ValueError, TypeError, KeyError, OverflowError, RecursionError):
      raise Problem(f'{where}, line {number}: not an event of a tape; restore the file from its original') from None
    events.append(event)
  if events and not after and events[0]['event'] != 'process':
    raise Problem(f'{where}, line 1: a tape begins with a process event; restore the file from its original')
  return events


def refuse_device(path):
  """Raises OSError for a device or a pipe: reading /dev/zero, or a pipe that nobody writes to, never ends."""
  path = Path(path)
  if path.exists() and not path.is_file() and not path.is_dir():
    raise OSError(errno.EINVAL, 'a device or pipe, not a file')


def read(path) -> list[dict]:
  """The events of the tape at `path` (a file, or a workdir that holds `tape.jsonl`)."""
  path = Path(path)
  path = path / 'tape.jsonl' if path.is_dir() else path
  try:
    refuse_device(path)
    return parse(path.read_text(encoding='utf-8', errors='surrogateescape'), str(path))
  except OSError as error:
    raise Problem(f'{path}: cannot read the tape ({error.strerror}); name the workdir of a run') from None


class Tape:
  """Records a run's events to a file, as they happen, and hands them on to sinks.

  Every line is written and flushed before the next thing happens, so that a killed process loses at most a torn last
  line. Sinks are called by `deliver`, inside a span of its own, so that what showing progress costs is measured too.

  Args:
    path: the file; None keeps the tape in memory (processes of a pod other than the first).
    text: lines to begin from where the file is missing: the tape as a checkpoint saved it.
    now: () -> Unix seconds; tests pass simulated time.
  """

  def __init__(self, path=None, *, text: str = '', now=None):
    self.now = now or WallClock()
    self.sinks = []
    self._file = None
    self._open_span = None
    self._lock = threading.Lock()  # a pod's watch records from a thread of its own
    if path is not None:
      try:
        refuse_device(path)
        self._file = open(path, 'a+', encoding='utf-8', errors='surrogateescape', newline='\n')
        self._file.seek(0)
        kept = self._file.read()
        kept = kept[:kept.rfind('\n') + 1]
        self._file.truncate(len(kept.encode('utf-8', 'surrogateescape')))
        if not kept and text:
          self._file.write(text)
          self._file.flush()
        text = kept or text
      except OSError as error:
        raise Problem(f'{path}: cannot write the tape ({error.strerror}); '
                      'free space or name another --workdir') from None
    self._lines = text.splitlines(keepends=True)
    self.events = parse(text, str(path))
    self._delivered = 0
    if self.events and isinstance(self.now, WallClock):
      self.now.not_before(self.events[-1]['time'])

  def text(self) -> str:
    """The whole tape, as it stands in the file."""
    return ''.join(self._lines)

  def event(self, name: str, *, time: float | None = None, depth: int = 1, **fields) -> dict:
    """Appends one event and returns it; `depth` is how many callers up the source line to record is."""
    frame = sys._getframe(depth)
    where = os.path.relpath(frame.f_code.co_filename, ROOT)
    with self._lock:
      event = {'event': name, 'time': round(self.now() if time is None else time, 6), 'file': where,
               'line': frame.f_lineno, **fields}
      self._write(event)
    return event

  def _write(self, event: dict):
    text = json.dumps(event, allow_nan=False) + '\n'
    if self._file is not None:
      try:
        self._file.write(text)
        self._file.flush()
      except OSError as error:
        raise Problem(f'{self._file.name}: cannot write the tape ({error.strerror}); free space, then run the same '
                      'command again') from None
    self._lines.append(text)
    self.events.append(event)

  @contextlib.contextmanager
  def span(self, name: str, *, start: float | None = None, **fields):
    """Times what happens inside; yields a dict whose entries go onto the span's stop event."""
    assert self._open_span is None, f'span {name} inside span {self._open_span}: spans partition time'
    self._open_span = name
    self.event(name, time=start, depth=3, edge='start', **fields)
    results = {}
    try:
      yield results
    finally:
      self._open_span = None
    self.event(name, depth=3, edge='stop', **{**fields, **results})

  def attach(self, *sinks):
    """From now on, hands each event to each of `sinks`, callables that take one."""
    self.sinks.extend(sinks)
    self._delivered = len(self.events)

  def deliver(self):
    """Hands the events since the last call to the sinks, within a span named `log`."""
    if self.sinks and self._delivered < len(self.events):
      pending, self._delivered = self.events[self._delivered:], len(self.events) + 2
      with self.span('log'):
        for event in pending:
          for sink in self.sinks:
            sink(event)

  def close(self):
    """Closes the file; the tape stays readable in memory."""
    if self._file is not None:
      self._file.close()

  def sync(self):
    """Makes the tape durable against loss of power, not only of the process."""
    if self._file is not None:
      os.fsync(self._file.fileno())


def effective(events) -> list[dict]:
  """The events without those that a restart superseded: what the run did, told once.

  The start of the clock is never superseded: data were touched then, whatever was lost later.
  """
  restarts = [n for n, e in enumerate(events) if e['event'] == 'process' and e.get('resumed')]
  if not restarts:
    return list(events)
  kept = list(enumerate(events))
  for number in restarts:
    line = events[number]['resumed']['line']
    kept = [(n, e) for n, e in kept if not line <= n < number or e['event'] in ('process', 'run_start')]
  return [event for _, event in kept]


def spans(events) -> list[Span]:
  """Wall time from the first process's start to the last event, partitioned: no overlap, no gap.

  A stretch that no span covers is `unattributed`. A train span's host-side wait for input, `data_seconds`, is carved
  out of its end as `data`: the waits were spread over it, and their sum is what counts. After a restart, all time since
  the restored checkpoint is `lost`.
  """
  found, opened = [], None
  cursor = events[0]['time']

  def fill(until, line, name='unattributed'):
    if until > cursor:
      found.append(Span(name, cursor, until, line))

  for line, event in enumerate(events):
    if event['event'] == 'process' and line:
      fill(event['time'], line - 1, 'lost')
      resumed = (event.get('resumed') or {'line': 1})['line']
      found = [s if s.line < resumed or s.name == 'lost' else s._replace(name='lost', was=s.name) for s in found]
      cursor, opened = max(cursor, event['time']), None
    elif event.get('edge') == 'start':
      fill(event['time'], line)
      cursor, opened = max(cursor, event['time']), line
    elif event.get('edge') == 'stop' and opened is not None:
      stop = max(cursor, event['time'])
      data = min(event.get('data_seconds', 0.0), stop - cursor)
      if stop - data > cursor:
        found.append(Span(event['event'], cursor, stop - data, opened))
      if data:
        found.append(Span('data', stop - data, stop, opened))
      cursor, opened = stop, None
  fill(events[-1]['time'], len(events) - 1)
  return found
