"""Where a data set is prepared before it takes its place: a kill at any time leaves nothing that looks finished."""
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from scoring.problem import Problem


@contextlib.contextmanager
def folder(data_dir: Path, name: str, *, resumable: bool = False) -> Iterator[Path]:
  """A folder DATA_DIR/NAME.preparing of this process alone; it goes when this ends, unless it is to be resumed.

  resumable: what was left there stays, and stays again if this ends with an exception; otherwise the folder is empty
  at first, and goes however this ends. An OSError inside is told as a Problem of writing to `data_dir`.
  """
  path = data_dir / f'{name}.preparing'
  keep = False
  try:
    path.mkdir(parents=True, exist_ok=True)
    with open(path / 'lock', 'w') as lock:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock.fileno()), os.stat(path / 'lock')):
          raise BlockingIOError  # it was opened just before its owner, now done, removed it
      except (BlockingIOError, FileNotFoundError):
        raise Problem(f'{path}: another process is preparing {name} there; wait for it or stop it') from None
      try:
        if not resumable:
          _clear(path)
        yield path
      except BaseException:
        keep = resumable and any(file.name != 'lock' for file in path.iterdir())
        raise
      finally:
        if not keep:
          shutil.rmtree(path, ignore_errors=True)
  except OSError as error:
    raise Problem(f'{data_dir}: cannot prepare {name} there ({error.strerror or error}); free space, or name another '
                  '--data_dir') from None


def _clear(path: Path):
  for left in path.iterdir():
    if left.is_dir():
      shutil.rmtree(left)
    elif left.name != 'lock':
      left.unlink()


def check_space(data_dir: Path, need: int):
  """Raises Problem unless the disk has room for `need` bytes and a twentieth more."""
  free = shutil.disk_usage(data_dir).free
  if free < 1.05 * need:
    raise Problem(f'{data_dir}: No space left for {need / 1e6:.0f} MB ({free / 1e6:.0f} MB are free); free space, or '
                  'name another --data_dir')


def publish(staged: Path, goal: Path, last: Sequence[str]):
  """Moves what `staged` holds to `goal`: at once where that is new, else file by file, those named in `last` last."""
  goal.parent.mkdir(parents=True, exist_ok=True)
  if not goal.exists():
    os.rename(staged, goal)
    return
  order = ['', *last]
  for file in sorted(staged.iterdir(), key=lambda p: (order.index(p.name) if p.name in order else 0, p.name)):
    os.replace(file, goal / file.name)
