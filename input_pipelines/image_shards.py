"""Writes the shards of a data set by several processes, and keeps those that a killed one has finished.

Only the process that holds the folder's lock gives a shard its name, after its content is on the disk; what it holds is
told by a file beside it, in `state`, that comes last. So a shard with such a file is whole, whoever was killed when.
"""
import contextlib
import dataclasses
import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from input_pipelines import image_source
from scoring.problem import Problem

MODULE = 'input_pipelines.image_worker'
ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Shard:
  """Records [start, stop) of a split, and the file for them."""
  name: str
  split: image_source.Split
  start: int
  stop: int


def plan(name: str, splits: dict[str, image_source.Split], counts: dict[str, int]) -> list[Shard]:
  """The shards of all splits, in order: as even as whole records allow, named as TFDS names them."""
  return [Shard(f'{name}-{split}.array_record-{i:05d}-of-{counts[split]:05d}', of, len(of) * i // counts[split],
                len(of) * (i + 1) // counts[split]) for split, of in splits.items() for i in range(counts[split])]


def resume(folder: Path, asked: dict, shards: Sequence[Shard]) -> dict[str, dict]:
  """What is told of each shard that an earlier process finished, if it was asked the same; else the folder is emptied.

  asked: all that decides what the shards hold
  """
  asked_file = folder / 'asked.json'
  if _read_json(asked_file) != asked:
    left = any((folder / 'state').glob('*.json'))
    for path in (folder / 'state', folder / 'shards'):
      shutil.rmtree(path, ignore_errors=True)
    if left:
      print('the source or a flag has changed since this was interrupted: beginning anew', flush=True)
    _write_json(asked_file, asked)
  for path in (folder / 'state', folder / 'shards'):
    path.mkdir(exist_ok=True)
  whole = {shard.name: told for shard in shards if (told := _finished(folder, shard)) is not None}
  for file in (folder / 'shards').iterdir():
    if file.name not in whole:
      file.unlink()
  if whole:
    print(f'going on where an earlier process stopped: {len(whole):,} of {len(shards):,} files are there', flush=True)
  return whole


def _finished(folder: Path, shard: Shard) -> dict | None:
  told, file = _read_json(folder / 'state' / f'{shard.name}.json'), folder / 'shards' / shard.name
  return told if told and file.is_file() and num_records(file) == shard.stop - shard.start else None


def num_records(file: Path) -> int:
  """How many records a shard holds by its own count; 0 where it is damaged at its end."""
  from array_record.python import array_record_module
  reader = array_record_module.ArrayRecordReader(str(file))
  try:
    return reader.num_records() if reader.ok() else 0
  finally:
    with contextlib.suppress(RuntimeError):  # it tells again that the file is damaged
      reader.close()


def write(folder: Path, shards: Sequence[Shard], whole: dict[str, dict], workers: int, repacker: str | None,
          progress) -> dict[str, dict]:
  """Writes the shards that are not in `whole` to folder/shards: what is told of each, by its name.

  repacker: module whose function `repack` goes over every image, or None
  progress: called with numbers of images and bytes

  Raises:
    Problem: the first that a worker told; all workers have ended by then.
  """
  told, waiting = dict(whole), [shard for shard in shards if shard.name not in whole]
  for shard, answer in _answers(folder, waiting, workers, repacker):
    if 'problem' in answer:
      raise Problem(answer['problem'])
    if 'done' in answer:
      os.replace(_part(folder, shard), folder / 'shards' / shard.name)
      _write_json(folder / 'state' / f'{shard.name}.json', answer['done'])
      told[shard.name] = answer['done']
    else:
      progress(answer['images'], answer['bytes'])
  return told


def _answers(folder: Path, shards: Sequence[Shard], workers: int, repacker) -> Iterator[tuple[Shard, dict]]:
  """Each answer of the workers, with the shard that it is about, as they come."""
  waiting, running = list(reversed(shards)), []

  def give(worker):
    worker.shard = waiting.pop() if waiting else None
    if worker.shard:
      members = worker.shard.split.members(worker.shard.start, worker.shard.stop)
      worker.send({'file': str(_part(folder, worker.shard)), 'members': members, 'repacker': repacker})
  try:
    with selectors.DefaultSelector() as selector:
      for _ in range(min(workers, len(shards))):
        running.append(_Worker())
        selector.register(running[-1].process.stdout, selectors.EVENT_READ, running[-1])
        give(running[-1])
      while any(worker.shard for worker in running):
        for key, _ in selector.select():
          for answer in key.data.answers():
            yield key.data.shard, answer
            if 'done' in answer:
              give(key.data)
  finally:
    for worker in running:
      worker.process.kill()
    for worker in running:
      worker.close()


class _Worker:
  """A process of image_worker, and the shard that it is writing."""

  def __init__(self):
    self.shard: Shard | None = None
    self._rest = b''
    # a group of its own: Ctrl-C goes to this process alone, which then ends the others
    self.process = subprocess.Popen(
        [sys.executable, '-P', '-m', MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))})

  def send(self, task: dict):
    left = memoryview(json.dumps(task).encode() + b'\n')
    try:
      while left:
        left = left[self.process.stdin.write(left):]
    except BrokenPipeError:
      pass  # answers() says how it ended

  def answers(self) -> list[dict]:
    content = os.read(self.process.stdout.fileno(), 1 << 20)
    if not content:
      raise Problem(f'a process that wrote {self.shard.name if self.shard else "nothing"} ended with status '
                    f'{self.process.wait()}; with -9 the memory may be short: try fewer --workers; the same command '
                    'goes on')
    *lines, self._rest = (self._rest + content).split(b'\n')
    return [json.loads(line) for line in lines]

  def close(self):
    self.process.wait()
    self.process.stdin.close()
    self.process.stdout.close()


def _part(folder: Path, shard: Shard) -> Path:
  """Named by this process, so that what a worker of a killed one still writes is not taken for it."""
  return folder / 'shards' / f'{shard.name}.{os.getpid()}.part'


def _read_json(file: Path):
  try:
    return json.loads(file.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None


def _write_json(file: Path, content):
  part = file.with_name(f'{file.name}.part')
  part.write_text(json.dumps(content), encoding='utf-8')
  os.replace(part, file)
