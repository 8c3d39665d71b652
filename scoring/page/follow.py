"""A tape read as it grows, or thousands of tapes at once."""
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from scoring import audit
from scoring import tape as tapes
from scoring.page import runs
from scoring.problem import Problem


class Follower:
  """The digest of one tape; what was read before is not read again while the run goes on.

  Events are kept only until the run has ended, so that thousands of finished runs fit into memory.
  """

  def __init__(self, path: Path):
    self.path, self.digest = path, None
    self._forget()

  def _forget(self):
    self._events, self._position, self._seen = [], 0, None

  def read(self) -> dict | None:
    """The digest as of now; None where the tape is missing or has no whole line yet.

    Raises:
      Problem: it cannot be read, or a line of it is broken.
    """
    try:
      tapes.refuse_device(self.path)
      stat = os.stat(self.path)
      seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
      if seen == self._seen:
        return self.digest
      if self._seen is None or stat.st_ino != self._seen[0] or stat.st_size < self._position or self._events is None:
        self._forget()
      with open(self.path, 'rb') as file:
        file.seek(self._position)
        text = file.read()
    except FileNotFoundError:
      self._forget()
      self.digest = None
      return None
    except OSError as error:
      raise Problem(f'{self.path}: cannot read the tape ({error.strerror}); make it readable') from None
    whole = text[:text.rfind(b'\n') + 1]
    self._events += tapes.parse(whole.decode('utf-8', 'surrogateescape'), str(self.path), after=len(self._events))
    self._position += len(whole)
    self._seen = seen
    self.digest = self._digested()
    if self.digest and self.digest['status'] == 'complete':
      self._events = None
    return self.digest

  def _digested(self) -> dict | None:
    try:
      return runs.digest(self.path.parent.name, self._events) if self._events else None
    except audit.BROKEN as error:
      self._forget()  # so that what was read before is not taken for what is there now
      self.digest = None
      why = error if isinstance(error, Problem) else f'{type(error).__name__}: {error!s:.200}'
      raise Problem(f'{self.path}: cannot be shown ({why}); restore it from its original, or, if it was written by '
                    'another version, let that one show it') from None


def followed(path: Path) -> Follower:
  """A Follower that has read its tape; what is wrong with that is said when it is asked again."""
  follower = Follower(path)
  with contextlib.suppress(*audit.BROKEN):
    follower.read()
  return follower


def _begin():
  """A worker leaves interrupts to the process that began it, and ends with it, however that ended."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


def read_ahead(paths: list[Path]) -> Iterator[Follower]:
  """`followed` of each in turn, by as many processes as there are cores; it ends early where these cannot be had."""
  with contextlib.suppress(concurrent.futures.BrokenExecutor, OSError, NotImplementedError):
    with concurrent.futures.ProcessPoolExecutor(  # spawned: a server that forks has threads
        mp_context=multiprocessing.get_context('spawn'), initializer=_begin) as pool:
      yield from pool.map(followed, paths, chunksize=64)
