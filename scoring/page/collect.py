"""All entries under a folder: found, read, and read again where they changed."""
import os
import time
from pathlib import Path

from scoring import audit, audit_set
from scoring.page import entries
from scoring.page.follow import Follower, read_ahead
from scoring.problem import Problem

MANY = 500  # tapes that are worth other processes, which take half a second to begin
INNER = ('checkpoints', 'profile', 'tensorboard', 'dawnbench', 'inference')  # folders of a run in which no run is


def find(root: Path) -> list[tuple[Path, str]]:
  """(folder, 'set' or 'run') of all entries at or below `root`, by path; no symbolic link is followed."""
  found = []

  def walk(folder: Path):
    try:
      with os.scandir(folder) as listing:
        names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in listing}
    except OSError:
      return  # it went away, or is not ours to read
    if 'ledger.jsonl' in names or 'tape.jsonl' in names:
      found.append((folder, 'set' if 'ledger.jsonl' in names else 'run'))
      return
    for name in sorted(names):
      if names[name] and not name.startswith('.') and name not in INNER:
        walk(folder / name)

  walk(root)
  return found


def _tapes(folder: Path, kind: str) -> list[Path]:
  """The tapes of an entry, as far as names tell."""
  return [folder / 'tape.jsonl'] if kind == 'run' else list(folder.glob('run_*/tape.jsonl'))


def name_of(folder: Path) -> str:
  """The name of an entry: that of its folder, or of the submission whose `runs` it is (`scoring.packages`)."""
  folder = folder.resolve()
  return folder.parent.name if (folder.parent / 'submission.json').is_file() else folder.name


class Collection:
  """What the page shows of a folder; `refresh` brings it up to date.

  `rows`, and `details` as JSON, are by id, the path relative to the folder; `problems` says by id what has no row.
  `changed` is the version, in milliseconds of Unix time and counting up, at which an id last changed.
  """

  def __init__(self, root):
    self.root = Path(root)
    self.rows, self.details, self.problems, self.changed = {}, {}, {}, {}
    self._followers, self._seen, self._found, self._version, self._next_walk = {}, {}, [], 0, 0.0
    self._ahead = iter(())  # Followers that other processes are making, in the order of `_found`
    if not self.root.is_dir():
      raise Problem(f'{self.root}: is not a folder; name the folder of a run, of a set of runs, or of many of both')

  def follower(self, path: Path) -> Follower:
    while path not in self._followers and (other := next(self._ahead, None)):
      self._followers[other.path] = other
    return self._followers.setdefault(path, Follower(path))

  def empty(self) -> list[Path]:
    """Tapes of runs without a whole line, of which there is nothing to show: one has just begun, or is broken."""
    return [folder / 'tape.jsonl' for folder, _ in self._found if self._id(folder) not in {*self.rows, *self.problems}]

  def _id(self, folder: Path) -> str:
    return folder.relative_to(self.root).as_posix() if folder != self.root else folder.resolve().name

  def version(self) -> int:
    return self._version

  def refresh(self) -> set[str]:
    """Reads what is new; returns the ids that changed, gone ones included."""
    began = time.monotonic()
    if began >= self._next_walk:  # a walk over thousands of folders is not made every second
      self._found = find(self.root)
      new = [path for folder, kind in self._found for path in _tapes(folder, kind) if path not in self._followers]
      if len(new) >= MANY:
        self._ahead = read_ahead(new)
      self._next_walk = time.monotonic() + 5 * (time.monotonic() - began)
    changed, present = set(), set()
    for folder, kind in self._found:
      id_, name = self._id(folder), name_of(folder)
      records = sorted(folder.glob('inference/*/*/record.json')) if (folder / 'inference').is_dir() else []
      present.add(id_)
      changed |= self._read(id_, self._signature(folder, kind), lambda: self._training(id_, name, folder, kind))
      for path in records:
        inner = f'{id_}/{path.parent.relative_to(folder).as_posix()}'
        present.add(inner)
        changed |= self._read(inner, _stat(path), lambda: entries.inference(inner, name, path))
    self._followers |= {other.path: other for other in self._ahead}
    for id_ in set(self._seen) - present:
      changed.add(id_)
      for where in (self.rows, self.details, self.problems, self._seen):
        where.pop(id_, None)
    if changed:
      self._version = max(self._version + 1, int(time.time() * 1000))
      self.changed.update(dict.fromkeys(changed, self._version))
    return changed

  def _signature(self, folder: Path, kind: str):
    if kind == 'run':
      return _stat(folder / 'tape.jsonl')
    try:
      runs = sorted(name for name in os.listdir(folder) if name.startswith('run_'))
    except OSError:  # it went away, or is not ours to read: reading it will say so
      return None
    return [_stat(folder / 'ledger.jsonl'), *((name, _stat(folder / name / 'tape.jsonl')) for name in runs)]

  def _training(self, id_: str, name: str, folder: Path, kind: str):
    if kind == 'set':
      found, faults = entries.of_set(folder, self.follower)
      return entries.training(id_, name, found, is_set=True, **faults) if found else (None, None)
    digest = self.follower(folder / 'tape.jsonl').read()
    if not digest:  # a run that has just begun has an empty tape: there is nothing to show yet
      return None, None
    if folder != self.root or not (folder.resolve().parent / 'ledger.jsonl').exists():  # below a ledger is a set
      digest = {**digest, 'refused': digest['refused'] + audit.guarded(audit_set.torn_out, [digest['first']])}
    return entries.training(id_, name, {folder.name: digest}, is_set=False)

  def _read(self, id_: str, signature, make) -> set[str]:
    """Makes an entry again if its files changed; the ids that changed."""
    if id_ in self._seen and self._seen[id_] == signature:
      return set()
    self._seen[id_] = signature
    try:
      row, detail = make()
      text = entries.checked(row, detail) if row else None
      self.problems.pop(id_, None)
    except audit.BROKEN as error:
      row, self.problems[id_] = None, _why(id_, error)
    if row is None:
      self.rows.pop(id_, None)
      self.details.pop(id_, None)
    else:
      self.rows[id_], self.details[id_] = row, text
    return {id_}


def _why(id_: str, error: Exception) -> str:
  """The line that says which entry cannot be shown, and why."""
  if isinstance(error, OSError):
    return f'{id_}: cannot be read ({error.strerror or error}); make it readable, or leave it out'
  if isinstance(error, Problem):
    return str(error) if id_ in str(error) else f'{id_}: {error}'
  why = f'{type(error).__name__}: {error!s:.200}'
  return str(Problem(f'{id_}: cannot be shown ({why}); restore it from its original, or leave it out'))


def _stat(path: Path):
  try:
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
  except OSError:
    return None
