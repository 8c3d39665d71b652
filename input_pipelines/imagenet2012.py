"""ImageNet 2012 as published: two archives, or the folders they are often unpacked to; and how to tell it is whole.

O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (2015), https://image-net.org/. Class names
and validation labels are known here by their sha256 alone; TFDS has the texts (datasets/imagenet2012/*.txt).
"""
import hashlib
import importlib.util
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io

from input_pipelines import image_folder, image_source, image_tars
from scoring.problem import Problem

NAME, VERSION = 'imagenet2012', '5.1.0'  # TFDS's
NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 1_281_167, 50_000, 1000
SHARDS = {'train': 1024, 'validation': 64}  # as TFDS's
TRAIN, VALIDATION = 'ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'
SIZES = {TRAIN: 147_897_477_120, VALIDATION: 6_744_924_160}
DEVKIT, DEVKIT_FOLDER = 'ILSVRC2012_devkit_t12.tar.gz', 'ILSVRC2012_devkit_t12'
META, GROUND_TRUTH = 'data/meta.mat', 'data/ILSVRC2012_validation_ground_truth.txt'
CLASSES_SHA256 = '70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15'  # of the sorted WNIDs, one a line
VALIDATION_SHA256 = '313fc3f23c864dde9183c9a368809065765dd1b657a6904fded44e3e46d34604'  # of 50,000, by number of image
WNID, TRAIN_NAME = re.compile(r'n\d{8}', re.ASCII), re.compile(r'(n\d{8})_\d+\.JPEG', re.ASCII)
VALIDATION_NAME = re.compile(r'ILSVRC2012_val_(\d{8})\.JPEG', re.ASCII)
TFDS_LABELS = 'datasets/imagenet2012/validation_labels.txt'
MANUAL = f'https://image-net.org/download-images has {TRAIN} and {VALIDATION}'


def from_archives(manual_dir: Path, val_labels: Path | None, progress: Callable[[int], None]) -> image_source.Source:
  """The index of the official archives.

  val_labels: file of 50,000 WNIDs, one a line; default: the development kit's if it is in manual_dir, else TFDS's
  progress: called with numbers of images as they are found

  Raises:
    Problem: an archive is missing, damaged or cut short, or these are not ImageNet's images, classes and labels.
  """
  for name in (TRAIN, VALIDATION):
    if not (manual_dir / name).is_file():
      raise Problem(f'--manual_dir={manual_dir}: {name} is not there; {MANUAL}')
  wnids, told_labels = validation_labels(manual_dir, val_labels)
  evaluated = {}
  for entry in image_tars.images(manual_dir / VALIDATION):
    number = _number(entry[0])
    if number is None or not 1 <= number <= len(wnids):
      raise Problem(f"{manual_dir / VALIDATION}: its member '{entry[0]}' is no image of the validation set; "
                    f'{image_tars.AGAIN}')
    evaluated.setdefault(wnids[number - 1], []).append(entry)
  progress(sum(map(len, evaluated.values())))
  train = image_tars.classes(manual_dir / TRAIN, progress)
  classes = tuple(sorted(train))
  check_classes(classes, manual_dir / TRAIN)
  for wnid, entries in train.items():
    for name, *_ in entries:
      if (found := TRAIN_NAME.fullmatch(name)) is None or found[1] != wnid:
        raise Problem(f"{manual_dir / TRAIN}: {wnid}.tar: its member '{name}' is no image of class {wnid}; "
                      f'{image_tars.AGAIN}')
  sizes = {name: (manual_dir / name).stat().st_size for name in (TRAIN, VALIDATION)}
  notes = [f'{name} has {size:,} bytes, the official number of them' if size == SIZES[name] else
           f'{name} has {size:,} bytes, and the official one {SIZES[name]:,}' for name, size in sizes.items()]
  found = image_source.Source(
      classes, {'train': image_source.split(manual_dir / TRAIN, True, classes, train),
                'validation': image_source.split(manual_dir / VALIDATION, True, classes, evaluated)},
      {'source': str(manual_dir), 'archive_bytes': sizes, 'validation_labels': told_labels},
      [*notes, f'validation labels from {told_labels}, the official ones'])
  return check(found)


def from_folder(from_dir: Path) -> image_source.Source:
  """The index of the images unpacked to DIR/train/WNID/*.JPEG and DIR/val/WNID/*.JPEG.

  Raises:
    Problem: these are not ImageNet's images and classes; or the files have their official names, and not their labels.
  """
  found = image_folder.source(from_dir)
  check_classes(found.classes, found.splits['train'].where)
  check(found)
  split = found.splits['validation']
  if all(map(_number, split.names)):
    order = np.argsort(split.names)
    _check_labels([split.classes[label] for label in split.labels[order]], split.where)
    return found
  return image_source.Source(found.classes, found.splits, found.told, [
      *found.notes, 'validation labels unchecked, since the files do not have their official names'])


def check_classes(classes: tuple[str, ...], where):
  """Raises Problem unless these are the 1000 WNIDs of ImageNet 2012."""
  strange = [name for name in classes if not WNID.fullmatch(name)]
  if strange:
    raise Problem(f"{where}: the class '{strange[0]}' is no WNID such as n01440764; ImageNet 2012 has none other")
  if len(classes) != NUM_CLASSES:
    raise Problem(f'{where}: {len(classes):,} classes, and ImageNet 2012 has {NUM_CLASSES:,}; {image_tars.AGAIN}, or '
                  'prepare it under a name of its own: --dataset=image_folder')
  if _sha256(classes) != CLASSES_SHA256:
    raise Problem(f'{where}: {NUM_CLASSES:,} classes, but not those of ImageNet 2012; {image_tars.AGAIN}')


def check(source: image_source.Source) -> image_source.Source:
  """The source itself.

  Raises:
    Problem: the splits do not have the official numbers of images.
  """
  for name, right in (('train', NUM_TRAIN), ('validation', NUM_EVAL)):
    split = source.splits[name]
    if len(split) != right:
      raise Problem(f'{split.where}: {len(split):,} images, and ImageNet 2012 has {right:,} there; {image_tars.AGAIN}')
  return source


def validation_labels(manual_dir: Path, val_labels: Path | None) -> tuple[list[str], str]:
  """(the WNID of each validation image by its number, where that was read).

  Raises:
    Problem: no such file, or not the official labels in the official order.
  """
  if val_labels:
    wnids, where = _lines(val_labels), str(val_labels)
  elif (manual_dir / DEVKIT).exists():
    where = str(manual_dir / DEVKIT)
    wnids = _devkit(manual_dir / DEVKIT)
  else:
    tfds = importlib.util.find_spec('tensorflow_datasets')
    file = Path(tfds.submodule_search_locations[0]) / TFDS_LABELS if tfds else None
    if file is None or not file.is_file():
      raise Problem(f'--manual_dir={manual_dir}: {DEVKIT} is not there, and nothing else tells the validation labels; '
                    'get it from https://image-net.org/download-images, or name a file of WNIDs with --val_labels')
    wnids, where = _lines(file), "TFDS's list"
  _check_labels(wnids, where)
  return wnids, where


def _check_labels(wnids: list[str], where):
  if len(wnids) != NUM_EVAL:
    raise Problem(f'{where}: {len(wnids):,} labels, and there are {NUM_EVAL:,} validation images; {image_tars.AGAIN}')
  if _sha256(wnids) != VALIDATION_SHA256:
    raise Problem(f'{where}: these are not the official validation labels in the order of the file names; '
                  f'{image_tars.AGAIN}')


def _lines(file: Path) -> list[str]:
  try:
    return file.read_text(encoding='utf-8').split()
  except (OSError, ValueError) as error:
    raise Problem(f'{file}: cannot be read ({getattr(error, "strerror", None) or error}); name another --val_labels'
                  ) from None


def _devkit(archive: Path) -> list[str]:
  """The WNID of each validation image: the kit has numbers of classes, and a table of what they mean."""
  contents = {}
  try:
    with tarfile.open(archive, mode='r:gz') as kit:
      for name in (META, GROUND_TRUTH):
        member = kit.getmember(f'{DEVKIT_FOLDER}/{name}')
        if not member.isreg() or member.size > 1 << 24:
          raise ValueError(f'{member.name} is no plain small file')
        contents[name] = kit.extractfile(member).read()
    synsets = scipy.io.loadmat(io.BytesIO(contents[META]), squeeze_me=True)['synsets']
    table = {int(number): str(wnid) for number, wnid in zip(synsets['ILSVRC2012_ID'], synsets['WNID'])}
    return [table[int(number)] for number in contents[GROUND_TRUTH].split()]
  except Exception as error:  # of tarfile, gzip and scipy, each of which has many for a damaged file
    raise Problem(f'{archive}: no development kit of ImageNet 2012, or damaged ({error}); {image_tars.AGAIN}, or name '
                  'a file of WNIDs with --val_labels') from None


def _number(name: str) -> int | None:
  found = VALIDATION_NAME.fullmatch(name)
  return int(found[1]) if found else None


def _sha256(names) -> str:
  return hashlib.sha256(''.join(f'{name}\n' for name in names).encode(errors='surrogateescape')).hexdigest()
