"""ImageNet in small: 21 images to train and 9 to evaluate, of three classes, in every form that it comes in.

Also a module that re-packs images, for the processes that write: DAYBREAK_TEST_SLEEP is what an image takes there.
"""
import functools
import hashlib
import io
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from input_pipelines import imagenet2012

TRAIN = {'n01440764': 7, 'n01443537': 5, 'n01484850': 9}
WNIDS = tuple(TRAIN)
EVALUATED = [WNIDS[i] for i in (2, 0, 0, 1, 2, 1, 0, 2, 1)]  # by number of image
SHARDS = {'train': 4, 'validation': 2}
REPACKER = 'tests.input_pipelines.made_images'


def patch(setattr):
  """Puts the constants of the made set in place of the official ones, by builtin setattr or monkeypatch's."""
  setattr(imagenet2012, 'NUM_TRAIN', sum(TRAIN.values()))
  setattr(imagenet2012, 'NUM_EVAL', len(EVALUATED))
  setattr(imagenet2012, 'NUM_CLASSES', len(WNIDS))
  setattr(imagenet2012, 'SHARDS', SHARDS)
  setattr(imagenet2012, 'CLASSES_SHA256', sha256(WNIDS))
  setattr(imagenet2012, 'VALIDATION_SHA256', sha256(EVALUATED))


def sha256(names) -> str:
  return hashlib.sha256(''.join(f'{name}\n' for name in names).encode()).hexdigest()


@functools.cache
def jpeg(seed: int, mode: str = 'RGB', form: str = 'JPEG', **options) -> bytes:
  """A small image of noise, each seed of its own size; CMYK is stored inverted, as Adobe does and so ImageNet's are."""
  random = np.random.default_rng(seed)
  pixels = random.integers(0, 256, (8 + seed % 13, 9 + seed % 7, {'L': 1, 'RGB': 3, 'CMYK': 4}[mode]), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels.squeeze(), mode=None if mode != 'CMYK' else 'CMYK').save(file, form, **options)
  return file.getvalue()


def train() -> dict[str, bytes]:
  """'WNID/name' -> content."""
  return {f'{wnid}/{wnid}_{i}.JPEG': jpeg(100 * c + i) for c, (wnid, n) in enumerate(TRAIN.items()) for i in range(n)}


def evaluated() -> dict[str, bytes]:
  """'WNID/name' -> content."""
  return {f'{wnid}/ILSVRC2012_val_{i:08d}.JPEG': jpeg(1000 + i) for i, wnid in enumerate(EVALUATED, 1)}


def records(files: dict[str, bytes]) -> list[tuple[bytes, int, str]]:
  """(image, label, file name) in the order that they are to have: by class, then by name."""
  classes = sorted({path.split('/')[0] for path in train()} | {path.split('/')[0] for path in files})
  return [(content, classes.index(path.split('/')[0]), path.split('/')[1]) for path, content in sorted(files.items())]


def folders(where: Path, evaluation='val', train_files=None, evaluated_files=None) -> Path:
  """Writes the two folders of folders; returns `where`."""
  for split, files in (('train', train_files or train()), (evaluation, evaluated_files or evaluated())):
    for path, content in files.items():
      file = where / split / path
      file.parent.mkdir(parents=True, exist_ok=True)
      file.write_bytes(content)
  return where


def tar(files, form=tarfile.USTAR_FORMAT) -> bytes:
  """An archive of (name, content) or TarInfo without content."""
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode='w', format=form) as archive:
    for file in files:
      if isinstance(file, tarfile.TarInfo):
        archive.addfile(file)
      else:
        member = tarfile.TarInfo(file[0])
        member.size = len(file[1])
        member.mtime = 0.5 if form == tarfile.PAX_FORMAT else 0  # which takes a header of attributes
        archive.addfile(member, io.BytesIO(file[1]))
  return out.getvalue()


def train_tar(files=None, extra=(), inner_extra=(), form=tarfile.USTAR_FORMAT) -> bytes:
  """An archive of archives; its members in no order, as some copies have them."""
  files = train() if files is None else files
  inner = {}
  for path, content in reversed(files.items()):
    inner.setdefault(path.split('/')[0], []).append((path.split('/')[1], content))
  made = {wnid: tar([*own, *(inner_extra if wnid == WNIDS[1] else ())], form) for wnid, own in inner.items()}
  return tar([*((f'{wnid}.tar', content) for wnid, content in made.items()), *extra], form)


def val_tar(files=None, extra=(), form=tarfile.USTAR_FORMAT) -> bytes:
  files = evaluated() if files is None else files
  return tar([*((path.split('/')[1], content) for path, content in reversed(files.items())), *extra], form)


def devkit(labels=None, damage=None) -> bytes:
  """The development kit: numbers of classes in an order of their own, and of classes above these."""
  wnids = [*reversed(WNIDS), 'n00001740']
  synsets = np.zeros(len(wnids), [('ILSVRC2012_ID', 'O'), ('WNID', 'O'), ('words', 'O')])
  for i, wnid in enumerate(wnids):
    synsets[i] = (i + 1, wnid, 'a, b')
  table = io.BytesIO()
  scipy.io.savemat(table, {'synsets': synsets.reshape(-1, 1)})
  numbers = ''.join(f'{wnids.index(wnid) + 1}\n' for wnid in (EVALUATED if labels is None else labels))
  files = {imagenet2012.META: table.getvalue(), imagenet2012.GROUND_TRUTH: numbers.encode()}
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode='w:gz') as archive:
    for name, content in files.items():
      if damage != name:
        member = tarfile.TarInfo(f'{imagenet2012.DEVKIT_FOLDER}/{name}')
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
  return out.getvalue()


def archives(where: Path, **contents: bytes) -> Path:
  """Writes the official archives; train, val or devkit put another content, or None, in place of one."""
  where.mkdir(parents=True, exist_ok=True)
  for key, name, make in (('train', imagenet2012.TRAIN, train_tar), ('val', imagenet2012.VALIDATION, val_tar),
                          ('devkit', imagenet2012.DEVKIT, devkit)):
    content = contents.get(key, b'') if key in contents else make()
    if content is not None:
      (where / name).write_bytes(content)
  return where


def compiled() -> bool:
  return True


def repack(data: bytes) -> bytes | None:
  """Adds a comment to images of an even number of bytes, and leaves the others as they are."""
  time.sleep(float(os.environ.get('DAYBREAK_TEST_SLEEP', 0)))
  return data[:2] + b'\xff\xfe\x00\x04ok' + data[2:] if len(data) % 2 == 0 else None
