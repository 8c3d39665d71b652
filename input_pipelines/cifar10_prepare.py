"""Prepares CIFAR-10: from the official archive, a copy of it, or its unpacked files, to what `cifar10.load` reads."""
import contextlib
import gzip
import hashlib
import importlib.util
import json
import os
import shlex
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from input_pipelines import cifar10, download, staging
from scoring.problem import Problem

URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
ARCHIVE_SIZE, ARCHIVE_SHA256 = 170_052_171, 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'
ARCHIVE, FOLDER, META = 'cifar-10-binary.tar.gz', 'cifar-10-batches-bin', 'batches.meta.txt'
# sha256 of each file's 10,000 labels: these tell a file that is shuffled, or under another's name
FILE_LABELS_SHA256 = {
    'data_batch_1.bin': 'd829dbdf32167c9d7b3687cee66d92d80d46c441308b5aca0d11e8b69e27dac9',
    'data_batch_2.bin': '5d18f7371ed35ea9ade77952fe958b0660a45cd6c8b8a8970030f21612cfd7e3',
    'data_batch_3.bin': '32cf77b0ee2e790b1c4384d2d82e42dc1571b87e67f6da8f444b2725b2973f65',
    'data_batch_4.bin': 'd2815e3f8f656272864920fc0edde56b04ec9cf81bf397c0dd3069f4aea51aeb',
    'data_batch_5.bin': '2ddf3ab27d5d04409c94ce7b56849c243129c10de1058ae0bfe14c77e934800c',
    'test_batch.bin': 'cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5'}
FILES = tuple(FILE_LABELS_SHA256)  # each holds as many records as there are to evaluate
TFDS_RECORD_BYTES = 2600  # about, of a PNG with its label and id: for the space needed
AGAIN = 'get it again, or leave --from_dir out to download it'


def prepare(data_dir: Path, from_dir: Path | None, tfds: bool) -> str:
  """Writes cifar10.npy and cifar10.json, and TFDS's files if `tfds` wants them and none are there: what to print.

  Raises:
    Problem: a source that is not CIFAR-10, whole and in order; no network; no space; TFDS is not installed.
  """
  tfds = tfds and not cifar10.tfds_info_file(data_dir).exists()
  valid = is_prepared(data_dir)
  if valid and not tfds:
    return _report(data_dir, 'already there and whole, nothing to do; remove the folder to prepare it anew')
  missing = [name for name in ('tensorflow_datasets', 'array_record', 'importlib_resources', 'PIL')
             if importlib.util.find_spec(name) is None] if tfds else []
  if missing:
    raise Problem(f"--tfds: {', '.join(missing)} not installed; pip install -e '.[data]', or --notfds to write "
                  'only what training reads')
  source = None if valid else _find(from_dir) if from_dir else URL
  num_records = cifar10.NUM_TRAIN + cifar10.NUM_EVAL
  with staging.folder(data_dir, 'cifar10') as folder:
    staging.check_space(data_dir, (0 if valid else num_records * cifar10.ROW) +
                        (ARCHIVE_SIZE if source == URL else 0) + (num_records * TFDS_RECORD_BYTES if tfds else 0))
    if not valid:
      made = _make(source, folder)
    staged = folder / 'cifar10' / cifar10.VERSION
    if tfds:
      print(f'writing {num_records:,} PNGs for TFDS', flush=True)
      _write_tfds(cifar10.open_array(data_dir) if valid else np.load(folder / 'cifar10.npy', mmap_mode='r'), folder)
    staged.mkdir(parents=True, exist_ok=True)
    if not valid:
      os.replace(folder / 'cifar10.npy', staged / 'cifar10.npy')
      (staged / 'cifar10.json').write_text(json.dumps(made, indent=1) + '\n', encoding='utf-8')
      with contextlib.suppress(FileNotFoundError):
        cifar10.provenance_file(data_dir).unlink()  # it tells of another array
    written = ', '.join(p.name for p in sorted(staged.iterdir()))
    staging.publish(staged, cifar10.directory(data_dir), ('dataset_info.json', 'cifar10.npy', 'cifar10.json'))
  return _report(data_dir, f'written: {written}')


def is_prepared(data_dir: Path) -> bool:
  """Whether cifar10.npy is there, whole, in order, and byte for byte what cifar10.json says; prints why not."""
  if not cifar10.array_file(data_dir).exists():
    return False
  try:
    array = cifar10.open_array(data_dir)
    cifar10.splits(array, cifar10.array_file(data_dir), data_dir)
    valid = array_sha256(array) == cifar10.fingerprint(data_dir)
  except Problem:
    valid = False
  if not valid:
    print(f'{cifar10.array_file(data_dir)}: damaged, or nothing says what it is; preparing it again', flush=True)
  return valid


def array_sha256(array: np.ndarray) -> str:
  """sha256 of bytes, uint8 [N], block by block: they may be mapped, and need not fit into memory."""
  digest = hashlib.sha256()
  for start in range(0, len(array), 1 << 20):
    digest.update(array[start:start + (1 << 20)])
  return digest.hexdigest()


def _find(from_dir: Path) -> Path:
  """The archive, or the folder of .bin files, that --from_dir means."""
  try:
    for archive in (from_dir, from_dir / ARCHIVE):
      if archive.is_file():
        return archive.absolute()
    for folder in (from_dir, from_dir / FOLDER):
      if any((folder / name).exists() for name in FILES):
        return folder.absolute()
  except OSError as error:
    raise Problem(f'--from_dir={from_dir}: cannot be read ({error.strerror}); name another') from None
  raise Problem(f'--from_dir={from_dir}: neither {ARCHIVE} nor {FILES[0]} there; name the folder that holds one of '
                'them, or leave --from_dir out to download the archive')


def _make(source: Path | str, folder: Path) -> dict:
  """Makes folder/cifar10.npy out of `source`: an archive, a folder, or URL. What cifar10.json is to say."""
  archive = source if source != URL and source.is_file() else None
  if source == URL:
    archive = folder / ARCHIVE
    download.fetch(URL, archive, size=ARCHIVE_SIZE, sha256=ARCHIVE_SHA256,
                   otherwise=f'get {ARCHIVE} elsewhere and name its folder with --from_dir')
  sums = write_array(_from_archive(archive) if archive else _from_folder(source), folder / 'cifar10.npy', source)
  archive_sha256 = _file_sha256(archive) if archive else None
  if source == URL:
    archive.unlink()  # its space goes to TFDS's files
  return {'sha256': array_sha256(np.load(folder / 'cifar10.npy', mmap_mode='r')), 'source': str(source),
          'official_archive': archive_sha256 == ARCHIVE_SHA256, 'archive_sha256': archive_sha256, 'files_sha256': sums}


def _file_sha256(file: Path) -> str:
  try:
    with open(file, 'rb') as content:
      return hashlib.file_digest(content, 'sha256').hexdigest()
  except OSError as error:
    raise Problem(f'{file}: cannot be read ({error.strerror}); {AGAIN}') from None


def _check_size(where: str, size: int):
  right = cifar10.NUM_EVAL * cifar10.ROW
  if size != right:
    raise Problem(f'{where}: {size} bytes, not {right} ({cifar10.NUM_EVAL} records of {cifar10.ROW}); {AGAIN}')


def _from_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
  """(name, content) of each file."""
  for name in FILES:
    try:
      _check_size(f'{folder / name}', os.stat(folder / name).st_size)
      content = (folder / name).read_bytes()
    except FileNotFoundError:
      continue  # write_array names what is missing
    except OSError as error:
      raise Problem(f'{folder / name}: cannot be read ({error.strerror}); {AGAIN}') from None
    yield name, content


def _from_archive(file: Path) -> Iterator[tuple[str, bytes]]:
  """(name, content) of each file of ours in the archive, read in passing: nothing is unpacked to disk."""
  try:
    with gzip.open(file) as unzipped, tarfile.open(fileobj=unzipped, mode='r|') as members:
      for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or '..' in path.parts or not (member.isfile() or member.isdir()):
          kind = f'a link to {member.linkname!r}' if member.issym() or member.islnk() else 'no plain file below it'
          raise Problem(f'{file}: its member {member.name!r} is {kind}; no archive of CIFAR-10 has such: {AGAIN}')
        if not member.isfile() or path.parent.name not in ('', FOLDER):
          continue
        if path.name in FILES:
          _check_size(f'{file}: {member.name}', member.size)
          yield path.name, members.extractfile(member).read()
        elif path.name == META and tuple(members.extractfile(member).read(4096).decode(errors='replace').split()) \
            != cifar10.CLASSES:
          raise Problem(f'{file}: {member.name} does not name the ten classes of CIFAR-10; {AGAIN}')
      while unzipped.read(1 << 20):
        pass  # to its end, where gzip's own checksum is
  except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
    raise Problem(f'{file}: cut short, or no .tar.gz ({error}); {AGAIN}') from None


def write_array(contents: Iterator[tuple[str, bytes]], file: Path, source) -> dict[str, str]:
  """Writes cifar10.npy out of the official files: name -> sha256 of each.

  Raises:
    Problem: a file is missing or there twice, or its labels are not the official ones in the official order.
  """
  labels, sums, count = {}, {}, cifar10.NUM_TRAIN + cifar10.NUM_EVAL
  with open(file, 'wb') as out:  # written, not mapped: a full disk is then an error, not a signal
    np.lib.format.write_array_header_1_0(out, {'descr': '|u1', 'fortran_order': False,
                                                  'shape': (count * cifar10.ROW,)})
    start = out.tell()
    for name, content in contents:
      if name in labels:
        raise Problem(f'{source}: {name} is there twice; {AGAIN}')
      records = np.frombuffer(content, np.uint8).reshape(-1, cifar10.ROW)
      labels[name], sums[name] = records[:, 0].copy(), hashlib.sha256(content).hexdigest()
      wrong = np.flatnonzero(labels[name] >= len(cifar10.CLASSES))
      if wrong.size:
        raise Problem(f'{source}: {name}: record {wrong[0]} has the label {labels[name][wrong[0]]}, and labels are '
                      f'0 to 9; {AGAIN}')
      first = FILES.index(name) * cifar10.NUM_EVAL
      out.seek(start + first * cifar10.PIXELS)
      out.write(np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)))
      out.seek(start + count * cifar10.PIXELS + first)
      out.write(labels[name])
    out.flush()
    os.fsync(out.fileno())
  missing = [name for name in FILES if name not in labels]
  if missing:
    raise Problem(f"{source}: {', '.join(missing)} missing; {AGAIN}")
  _check_labels(labels, source)
  return sums


def _check_labels(labels: dict[str, np.ndarray], source):
  """Raises Problem for the first file whose labels are not the official ones in the official order."""
  for name in FILES:
    found = hashlib.sha256(labels[name]).hexdigest()
    other = next((n for n in FILES if FILE_LABELS_SHA256[n] == found), None)
    if other == name:
      continue
    if other:
      raise Problem(f'{source}: {name} holds the records of {other}; {AGAIN}')
    split = [n for n in FILES if n.startswith('data') == name.startswith('data')]
    counts = np.bincount(np.concatenate([labels[n] for n in split]), minlength=len(cifar10.CLASSES))
    even = len(split) * cifar10.NUM_EVAL // len(cifar10.CLASSES)
    off = np.flatnonzero(counts != even)
    why = (f"{', '.join(f'{counts[c]} of class {c} ({cifar10.CLASSES[c]})' for c in off[:2])} in its split, where each "
           f'has {even}' if off.size else 'the right number of each class, in another order')
    raise Problem(f'{source}: {name} does not have the official labels: {why}; {AGAIN}')


def _write_tfds(array: np.ndarray, folder: Path):
  from input_pipelines import cifar10_tfds  # here, since it needs what only the extra `data` installs
  try:
    cifar10_tfds.write(array, folder)
  except RuntimeError as error:  # what array_record raises where it cannot write
    raise Problem(f"{folder}: TFDS's files cannot be written ({error}); free space, or name another "
                  '--data_dir') from None


def _report(data_dir: Path, what: str) -> str:
  """What was done, what is there, and how to go on."""
  told, default = cifar10.provenance(data_dir), Path('~/tensorflow_datasets').expanduser()
  lines = [f'cifar10      {cifar10.NUM_TRAIN:,} images to train, {cifar10.NUM_EVAL:,} to evaluate; labels and their '
           'order are the official ones',
           f'folder       {cifar10.directory(data_dir)}', f'             {what}', f"from         {told.get('source')}"]
  if told.get('archive_sha256'):
    lines.append(f"archive      sha256 {told['archive_sha256']}, " +
                 ('the official one' if told.get('official_archive') else f'not the official one ({ARCHIVE_SHA256})'))
  else:
    lines += [f'             {name} sha256 {value}' for name, value in (told.get('files_sha256') or {}).items()]
  return '\n'.join(lines + [
      f'fingerprint  {cifar10.fingerprint(data_dir)}',
      'train with   python -m launchers.train --config=references/cifar/configs/no_tta.py --workdir=runs/no_tta' +
      ('' if data_dir == default else f' --data_dir={shlex.quote(str(data_dir))}'),
      '             (on a machine without an accelerator take cpu.py instead of no_tta.py)'])
