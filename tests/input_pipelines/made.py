"""CIFAR-10 in small: made-up files, thirty records each, in the official layout, and constants that go with them."""
import hashlib
import io
import tarfile

import numpy as np

from input_pipelines import cifar10, cifar10_prepare

RECORDS = 30
FILES = cifar10_prepare.FILES
FOLDER = cifar10_prepare.FOLDER


def records(name: str) -> np.ndarray:
  """uint8 [30, 3073], as in the official files: label, red, green, blue."""
  random = np.random.default_rng(FILES.index(name))
  made = random.integers(0, 256, (RECORDS, cifar10.ROW), np.uint8)
  made[:, 0] = random.permutation(np.arange(RECORDS) % 10)
  return made


def contents() -> dict[str, bytes]:
  return {name: records(name).tobytes() for name in FILES}


def rows() -> np.ndarray:
  """The records, train first: the label, then the pixels by height, width, channel."""
  official = np.concatenate([records(name) for name in FILES])
  images = official[:, 1:].reshape(-1, 3, 32, 32)
  return np.concatenate([official[:, :1], np.moveaxis(images, 1, 3).reshape(len(official), -1)], axis=1)


def array() -> np.ndarray:
  """What cifar10.npy is to hold: all pixels, then all labels."""
  return np.concatenate([rows()[:, 1:].reshape(-1), rows()[:, 0]])


def patch(setattr, url=None, archive: bytes = b''):
  """Puts the constants of the made files in place of the official ones, by builtin setattr or monkeypatch's."""
  setattr(cifar10, 'NUM_TRAIN', 5 * RECORDS)
  setattr(cifar10, 'NUM_EVAL', RECORDS)
  setattr(cifar10, 'LABELS_SHA256', hashlib.sha256(rows()[:, 0].tobytes()).hexdigest())
  setattr(cifar10_prepare, 'FILE_LABELS_SHA256',
          {name: hashlib.sha256(records(name)[:, 0].tobytes()).hexdigest() for name in FILES})
  if url:
    setattr(cifar10_prepare, 'URL', url)
    setattr(cifar10_prepare, 'ARCHIVE_SIZE', len(archive))
    setattr(cifar10_prepare, 'ARCHIVE_SHA256', hashlib.sha256(archive).hexdigest())


def archive(files=None, *, classes=cifar10.CLASSES, extra=()) -> bytes:
  """A .tar.gz of the files, out of order as the official one; `extra` are further members, TarInfo or (name, bytes)."""
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w:gz') as out:
    folder = tarfile.TarInfo(FOLDER)
    folder.type = tarfile.DIRTYPE
    out.addfile(folder)
    for name, content in [(f'{FOLDER}/{n}', c) for n, c in reversed((contents() if files is None else files).items())] \
        + [(f'{FOLDER}/batches.meta.txt', '\n'.join((*classes, '\n')).encode()), (f'{FOLDER}/readme.html', b'<html>')]:
      _add(out, name, content)
    for member in extra:
      out.addfile(member) if isinstance(member, tarfile.TarInfo) else _add(out, *member)
  return file.getvalue()


def unpack(folder, files=None):
  """Writes the files into `folder`; returns it."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, content in (contents() if files is None else files).items():
    (folder / name).write_bytes(content)
  return folder


def _add(out, name, content):
  member = tarfile.TarInfo(name)
  member.size = len(content)
  out.addfile(member, io.BytesIO(content))
