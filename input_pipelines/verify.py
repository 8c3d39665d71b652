"""Whether a data set is still, to the byte, what was prepared; nothing is changed."""
import contextlib
import hashlib
from pathlib import Path

from input_pipelines import cifar10, cifar10_prepare, images, squad, squad_prepare
from scoring.problem import Problem

BATCH = 256  # records read at once
AGAIN = 'remove it and prepare it again'


def verify_cifar10(data_dir: Path) -> str:
  """What cifar10.npy is; raises Problem where it is missing or not what cifar10.json says."""
  array = cifar10.open_array(data_dir)
  cifar10.splits(array, cifar10.array_file(data_dir), data_dir)
  told = cifar10.fingerprint(data_dir)
  if told is None:
    raise Problem(f'{cifar10.directory(data_dir)}: nothing says what cifar10.npy should be; {AGAIN}')
  return _same(cifar10.array_file(data_dir), cifar10_prepare.array_sha256(array), told)


def verify_squad(data_dir: Path) -> str:
  """What SQuAD's arrays are; raises Problem where they are missing or not what squad.json says."""
  folder = squad.directory(data_dir)
  told = squad.told(data_dir)
  return _same(folder, squad_prepare.fingerprint(Path(folder)), told.get('fingerprint'))


def verify_images(data_dir: Path, name: str) -> str:
  """What a set of JPEGs is, every record read; raises Problem where a shard is missing or a record is another."""
  told, digest = images.provenance(data_dir, name).get('fingerprint'), hashlib.sha256()
  found = images.metadata(data_dir, name)
  if told is None:
    raise Problem(f'{images.directory(data_dir, name)}: was not written by launchers.prepare: nothing says what each '
                  'record should be')
  for split in ('train', 'validation'):
    for file, records in images.shards(data_dir, name, split) if split in found.num_examples else ():
      for record in _records(Path(file), records):
        digest.update(hashlib.sha256(record).digest())
  return _same(images.directory(data_dir, name), digest.hexdigest(), told)


def _records(file: Path, count: int):
  """The records of a shard, in order; raises Problem where they are not as many, or cannot be read."""
  from array_record.python import array_record_module
  if not file.is_file():
    raise Problem(f'{file}: is missing; {AGAIN}')
  reader = array_record_module.ArrayRecordReader(str(file))
  try:
    if not reader.ok() or reader.num_records() != count:
      raise Problem(f'{file}: is damaged or cut short; {AGAIN}')
    for start in range(0, count, BATCH):
      yield from reader.read(list(range(start, min(count, start + BATCH))))
  except (RuntimeError, IndexError, ValueError) as error:
    raise Problem(f'{file}: cannot be read ({error}); {AGAIN}') from None
  finally:
    with contextlib.suppress(RuntimeError):  # it tells again that the file is damaged
      reader.close()


def _same(where, found: str, told: str | None) -> str:
  if found != told:
    raise Problem(f'{where}: is not what was prepared there (fingerprint {found}, it should be {told}); {AGAIN}')
  return f'{where}: whole, to the byte\nfingerprint  {found}'
