"""Sets of JPEGs in folders as TFDS lays them out, in array_record format: what they hold, and their records.

DATA_DIR/NAME/VERSION/ as launchers.prepare wrote it, or TFDS itself; beside TFDS's files ours has
  NAME.json   fingerprint: sha256 over the sha256 of each record, train first; where the images came from, and more
DATA_DIR may be remote, gs://...: the json files are then read by etils, and the records by array_record.
"""
import bisect
import dataclasses
import hashlib
import itertools
import json
import os
import re
import resource
import shlex
import threading
from collections.abc import Sequence

from etils import epath

from input_pipelines import example
from scoring.problem import Problem

READER_OPTIONS = 'readahead_buffer_size:0,max_parallelism:0'  # for reading a record here and there
READER_BYTES = 1 << 15
TEMPLATE = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'  # TFDS's
SPARE_FILES = 256  # that a process may have open beside the shards
_VERSION = re.compile(r'(\d+)\.(\d+)\.(\d+)', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Metadata:
  """What a set holds.

  class_names: by label; num_examples: split -> images
  fingerprint: of the records where launchers.prepare wrote them; else 'tfds-' and the sha256 of dataset_info.json
  """
  name: str
  version: str
  class_names: tuple[str, ...]
  num_examples: dict[str, int]
  fingerprint: str


def prepare_command(data_dir, name: str) -> str:
  what = f'{name} --manual_dir=DIR' if name == 'imagenet2012' else f'image_folder --name={name} --from_dir=DIR'
  return f'python -m launchers.prepare --dataset={what} --data_dir={shlex.quote(str(data_dir))}'


def directory(data_dir, name: str) -> epath.Path | None:
  """DATA_DIR/NAME/VERSION of the newest version that is whole; None where there is none."""
  folder = epath.Path(data_dir).expanduser() / name
  try:
    versions = sorted((tuple(map(int, found.groups())), path) for path in (folder.iterdir() if folder.is_dir() else ())
                      if (found := _VERSION.fullmatch(path.name)))
    return next((path for _, path in reversed(versions) if (path / 'dataset_info.json').exists()), None)
  except (OSError, ImportError) as error:
    raise Problem(f"{folder}: cannot be read ({error}); gs:// needs pip install -e '.[gcs]'") from None


def metadata(data_dir, name: str) -> Metadata:
  """What DATA_DIR/NAME holds, from its json files and list of labels alone.

  Raises:
    Problem: nothing is prepared there, its files are damaged, or it is in a format that only TensorFlow reads.
  """
  where, info = _info(data_dir, name)
  classes = _classes(where, data_dir, name)
  told = provenance(data_dir, name)
  fingerprint = told.get('fingerprint')
  if not isinstance(fingerprint, str):
    fingerprint = 'tfds-' + hashlib.sha256((where / 'dataset_info.json').read_bytes()).hexdigest()
  return Metadata(name, where.name, classes, {split: sum(lengths) for split, (lengths, _) in info.items()}, fingerprint)


def provenance(data_dir, name: str) -> dict:
  """What NAME.json says; empty where it is missing or broken, and so of sets that TFDS prepared."""
  where = directory(data_dir, name)
  try:
    found = json.loads((where / f'{name}.json').read_text()) if where else None
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def shards(data_dir, name: str, split: str) -> list[tuple[str, int]]:
  """(file, records) of each shard of a split, in order.

  Raises:
    Problem: as metadata; or there is no such split.
  """
  where, info = _info(data_dir, name)
  if split not in info:
    raise Problem(f"{where}: has no split {split!r}, but {', '.join(sorted(info))}; name one of them")
  lengths, template = info[split]
  digits = max(5, len(str(len(lengths))))
  files = (template.format(DATASET=name, SPLIT=split, FILEFORMAT='array_record', SHARD_INDEX=f'{i:0{digits}d}',
                           NUM_SHARDS=f'{len(lengths):0{digits}d}',
                           SHARD_X_OF_Y=f'{i:0{digits}d}-of-{len(lengths):0{digits}d}') for i in range(len(lengths)))
  return [(os.fspath(where / file), length) for file, length in zip(files, lengths)]


def _info(data_dir, name: str) -> tuple[epath.Path, dict[str, tuple[list[int], str]]]:
  """(folder, split -> (records of each shard, template of their names)) that dataset_info.json tells."""
  where = directory(data_dir, name)
  if where is None:
    raise Problem(f'{epath.Path(data_dir) / name}: no {name} there; get it with: {prepare_command(data_dir, name)}')
  file = where / 'dataset_info.json'
  try:
    told = json.loads(file.read_text())
    found = {split['name']: ([int(length) for length in split.get('shardLengths', ())],
                             split.get('filepathTemplate', TEMPLATE)) for split in told['splits']}
    form = told.get('fileFormat', 'tfrecord')
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise Problem(f'{file}: damaged ({error!r}); remove {where} and prepare again: {prepare_command(data_dir, name)}'
                  ) from None
  if form != 'array_record':
    raise Problem(f'{where}: in {form} format, which needs TensorFlow to read; prepare it in another --data_dir: '
                  f"{prepare_command('DIR', name)}")
  return where, found


def _classes(where: epath.Path, data_dir, name: str) -> tuple[str, ...]:
  """The class names by label."""
  again = f'remove {where} and prepare again: {prepare_command(data_dir, name)}'
  try:
    told = json.loads((where / 'features.json').read_text())
    features = told['featuresDict']['features'] if 'featuresDict' in told else told['content']
    if 'image' not in features or 'label' not in features:
      raise Problem(f"{where}: has {', '.join(sorted(features))}, and not image and label; name another set")
    names = tuple(line for line in (where / 'label.labels.txt').read_text().split('\n') if line)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise Problem(f'{where}: features.json or label.labels.txt is missing or damaged ({error!r}); {again}') from None
  if not names:
    raise Problem(f'{where}: label.labels.txt names no class; {again}')
  return names


class Records:
  """The records of a split by their number: 0, ..., len - 1; may be read by many threads at once."""

  def __init__(self, data_dir, name: str, split: str):
    """Raises Problem as metadata does, or if there is no such split; opens no file of records yet."""
    self._num_classes = len(metadata(data_dir, name).class_names)
    self._shards = shards(data_dir, name, split)
    self._again = f'remove the folder and prepare again: {prepare_command(data_dir, name)}'
    self._ends = list(itertools.accumulate(length for _, length in self._shards))
    self._readers = [None] * len(self._shards)
    self._lock = threading.Lock()
    _allow_open_files(len(self._shards) + SPARE_FILES)

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def read(self, indices: Sequence[int]) -> list[tuple[bytes, int]]:
    """(bytes of the image file, label) of each.

    Raises:
      Problem: a file is missing or damaged, or a label is not that of a class; names file and record.
    """
    found = []
    for index in indices:
      image, label, _ = self._parsed(int(index))
      if not 0 <= label < self._num_classes:
        raise Problem(f'{self.where(index)}: its label is {label}, and there are {self._num_classes} classes; '
                      f'{self._again}')
      found.append((image, label))
    return found

  def where(self, index: int) -> str:
    """'FILE record N (NAME OF THE IMAGE FILE)', for a message; without the name where it cannot be read."""
    try:
      name = self._parsed(int(index))[2]
    except Problem:
      name = ''
    return self._place(int(index)) + (f' ({name})' if name else '')

  def _find(self, index: int) -> tuple[int, int]:
    """(shard, number within it)."""
    if not 0 <= index < len(self):
      raise IndexError(f'record {index} of {len(self)}')
    shard = bisect.bisect_right(self._ends, index)
    return shard, index - self._ends[shard] + self._shards[shard][1]

  def _place(self, index: int) -> str:
    shard, number = self._find(index)
    return f'{self._shards[shard][0]} record {number}'

  def _parsed(self, index: int) -> tuple[bytes, int, str]:
    shard, number = self._find(index)
    reader = self._readers[shard] or self._open(shard)
    try:
      return example.parse(reader.read([number])[0])
    except (RuntimeError, ValueError) as error:
      raise Problem(f'{self._place(index)}: damaged ({_first_sentence(error)}); {self._again}') from None

  def _open(self, shard: int):
    try:
      from array_record.python import array_record_module
    except ImportError:
      raise Problem("array_record is not installed, which reads photographs; pip install -e '.[data]'") from None
    file, length = self._shards[shard]
    with self._lock:
      if self._readers[shard] is None:
        reader = array_record_module.ArrayRecordReader(file, READER_OPTIONS, file_reader_buffer_size=READER_BYTES)
        if not reader.ok() or reader.num_records() != length:
          raise Problem(f'{file}: {_why(reader, length)}; {self._again}')
        self._readers[shard] = reader
      return self._readers[shard]


def _why(reader, length: int) -> str:
  """What is wrong with a shard that did not open as one of `length` records."""
  if reader.ok():
    return f'holds {reader.num_records()} records, not {length}'
  try:
    reader.read([0])
  except RuntimeError as error:
    return f'missing, damaged or cut short ({_first_sentence(error)})'
  return 'damaged'


def _first_sentence(error: Exception) -> str:
  return str(error).partition(';')[0]


def _allow_open_files(count: int):
  """Raises the soft limit of open files towards `count`; ImageNet has as many shards as many systems allow files."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  if soft != resource.RLIM_INFINITY and soft < count:
    want = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if want > soft:
      resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
