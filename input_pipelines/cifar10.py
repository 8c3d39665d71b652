"""CIFAR-10 as launchers.prepare left it: 60,000 colour images, 32 x 32, of ten classes (A. Krizhevsky, 2009).

DATA_DIR/cifar10/3.0.2/ is a directory of TFDS's cifar10 in array_record format; beside its files lie
  cifar10.npy   uint8 [60000 * 3073]: all images, [60000, 32, 32, 3], then all labels, [60000], each a block of its own
                that goes to a device as it lies; train first, in the official order
  cifar10.json  sha256 of that array's bytes, and where they came from
"""
import hashlib
import json
import re
import shlex
import tokenize
from pathlib import Path

import numpy as np

from scoring.problem import Problem

NUM_TRAIN, NUM_EVAL = 50_000, 10_000
IMAGE = (32, 32, 3)
PIXELS = 32 * 32 * 3  # bytes of an image
ROW = 1 + PIXELS  # bytes of a record: the label, the pixels
CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
VERSION = '3.0.2'  # TFDS's
LABELS_SHA256 = '3edb456524d5918aefded81f5aef7c32efab2a788211df998a4eb0c8957baa1f'  # all 60,000, in official order


def directory(data_dir) -> Path:
  return Path(data_dir).expanduser() / 'cifar10' / VERSION


def array_file(data_dir) -> Path:
  return directory(data_dir) / 'cifar10.npy'


def provenance_file(data_dir) -> Path:
  return directory(data_dir) / 'cifar10.json'


def tfds_info_file(data_dir) -> Path:
  """What TFDS writes last: where it is, TFDS's files are whole."""
  return directory(data_dir) / 'dataset_info.json'


def prepare_command(data_dir) -> str:
  return f'python -m launchers.prepare --dataset=cifar10 --data_dir={shlex.quote(str(data_dir))}'


def load(data_dir) -> dict[str, dict[str, np.ndarray]]:
  """{'train', 'eval'} -> {'image': uint8 [N, 32, 32, 3], a view into the mapped file; 'label': int32 [N]}.

  Shape and labels are checked, pixels are not: hashing them would be on the clock; launchers.prepare does it.

  Raises:
    Problem: nothing is prepared there, or it is not CIFAR-10 whole and in the official order.
  """
  check_present(data_dir)
  if array_file(data_dir).exists():
    return splits(open_array(data_dir), array_file(data_dir), data_dir)
  return splits(_read_tfds(data_dir), directory(data_dir), data_dir)


def check_present(data_dir):
  """Raises Problem where nothing is prepared; looks into no file, so it may be asked before the clock starts."""
  if not array_file(data_dir).exists() and not tfds_info_file(data_dir).exists():
    raise Problem(f'{directory(data_dir)}: no CIFAR-10 there; get it with: {prepare_command(data_dir)}')


def fingerprint(data_dir) -> str | None:
  """sha256 of the prepared array's bytes, as it was when it was written; None where nobody wrote it down."""
  found = provenance(data_dir).get('sha256')
  return found if isinstance(found, str) else None


def provenance(data_dir) -> dict:
  """What cifar10.json says; empty where it is missing or broken."""
  try:
    found = json.loads(provenance_file(data_dir).read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def open_array(data_dir) -> np.ndarray:
  """cifar10.npy, mapped: uint8 [60000 * 3073].

  Raises:
    Problem: it is not an array of that type and shape, or shorter than it says.
  """
  file, shape = array_file(data_dir), ((NUM_TRAIN + NUM_EVAL) * ROW,)
  try:
    array = np.load(file, mmap_mode='r')
  except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:  # the last two of its header
    raise Problem(f'{file}: cut short or not an array ({error}); prepare again: {prepare_command(data_dir)}') from None
  if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.uint8:
    found = f'{array.dtype} {list(array.shape)}' if isinstance(array, np.ndarray) else 'an archive'
    raise Problem(f'{file}: is {found}, not uint8 {list(shape)}; prepare again: {prepare_command(data_dir)}')
  return array.view(np.ndarray)


def parts(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(images [60000, 32, 32, 3], labels [60000]) of an array as in cifar10.npy, as views."""
  images, labels = np.split(array, [(NUM_TRAIN + NUM_EVAL) * PIXELS])
  return images.reshape(-1, *IMAGE), labels


def splits(array: np.ndarray, where, data_dir) -> dict[str, dict[str, np.ndarray]]:
  """Both splits of an array as in cifar10.npy; the images are views into it.

  Raises:
    Problem: the labels are not CIFAR-10's in the official order.
  """
  images, labels = parts(array)
  if hashlib.sha256(labels).hexdigest() != LABELS_SHA256:
    raise Problem(f'{where}: its labels are not those of CIFAR-10 in the official order; remove it and prepare again: '
                  f'{prepare_command(data_dir)}')
  labels = labels.astype(np.int32)
  return {'train': {'image': images[:NUM_TRAIN], 'label': labels[:NUM_TRAIN]},
          'eval': {'image': images[NUM_TRAIN:], 'label': labels[NUM_TRAIN:]}}


def _read_tfds(data_dir) -> np.ndarray:
  """A set that TFDS prepared itself as in cifar10.npy, in the order that its ids tell (it shuffles on disk)."""
  where, otherwise = directory(data_dir), f'or add a copy that needs no TFDS: {prepare_command(data_dir)} --notfds'
  try:
    file_format = json.loads(tfds_info_file(data_dir).read_text(encoding='utf-8')).get('fileFormat', 'tfrecord')
  except (OSError, ValueError, AttributeError) as error:
    raise Problem(f'{tfds_info_file(data_dir)}: cannot be read ({error}); remove {where} and prepare again: '
                  f'{prepare_command(data_dir)}') from None
  if file_format != 'array_record':
    raise Problem(f'{where}: in {file_format} format, which needs TensorFlow to read; add a copy that does not: '
                  f'{prepare_command(data_dir)}')
  try:
    import PIL  # noqa: F401  TFDS decodes with it
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise Problem(f"{where}: TFDS cannot read it ({error}); pip install -e '.[data]', {otherwise}") from None
  array = np.zeros((NUM_TRAIN + NUM_EVAL) * ROW, np.uint8)
  images, labels = parts(array)
  seen = np.zeros(len(labels), bool)
  for split, first, count in (('train', 0, NUM_TRAIN), ('test', NUM_TRAIN, NUM_EVAL)):
    try:
      source = tfds.builder_from_directory(where).as_data_source(split=split)
      for record in (source[i] for i in range(len(source))):
        place = _place(record['id'], split, count)
        images[first + place], labels[first + place] = record['image'].reshape(IMAGE), record['label']
        seen[first + place] = True
    except (ValueError, KeyError, IndexError, OSError, RuntimeError) as error:
      raise Problem(f'{where}: split {split!r} is broken ({error}); remove it and prepare again: '
                    f'{prepare_command(data_dir)}') from None
  if not seen.all():
    raise Problem(f'{where}: {np.sum(~seen)} of its {len(seen)} records are missing; remove it and prepare again: '
                  f'{prepare_command(data_dir)}')
  return array


def _place(identity, split: str, count: int) -> int:
  """The place in its split that an id such as b'train_00001' tells."""
  text = identity.decode() if isinstance(identity, bytes) else str(identity)
  found = re.fullmatch(rf'{split}_(\d+)', text, re.ASCII)
  if not found or int(found[1]) >= count:
    raise ValueError(f'id {text!r}')
  return int(found[1])
