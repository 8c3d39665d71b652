"""Images in folders: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg."""
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from input_pipelines import image_source
from scoring.problem import Problem

TRAIN, EVALUATION = 'train', ('val', 'validation', 'test')  # of these the first that is there
SUFFIXES = ('.jpg', '.jpeg')  # in any case
THREADS = 16  # for file systems that answer late


def source(from_dir: Path) -> image_source.Source:
  """The index of the images below `from_dir`; file contents are not read.

  Raises:
    Problem: a folder or a class is missing, empty or unreadable, or classes do not agree.
  """
  evaluation = next((name for name in EVALUATION if (from_dir / name).is_dir()), None)
  if not (from_dir / TRAIN).is_dir() or evaluation is None:
    missing = [name for name, there in ((TRAIN, (from_dir / TRAIN).is_dir()), (' or '.join(EVALUATION), evaluation))
               if not there]
    raise Problem(f"--from_dir={from_dir}: no folder {', no folder '.join(missing)} there; name the folder that holds "
                  f'{TRAIN}/CLASS/*.jpg and {EVALUATION[0]}/CLASS/*.jpg')
  train, others = _entries(from_dir / TRAIN)
  evaluated, more = _entries(from_dir / evaluation)
  classes = tuple(sorted(train))
  for name in classes:
    if not train[name]:
      raise Problem(f"{from_dir / TRAIN / name}: no {' or '.join(SUFFIXES)} file there; remove the folder or fill it")
  for name in sorted(evaluated):
    if name not in train:
      raise Problem(f'{from_dir / evaluation / name}: {from_dir / TRAIN} has no class of that name; make both agree')
  if not any(evaluated.values()):
    raise Problem(f"{from_dir / evaluation}: no CLASS/*{' or '.join(SUFFIXES)} file there; nothing to evaluate on")
  notes = [f'split validation is the folder {evaluation}']
  if others + more:
    notes.append(f"{others + more:,} files left out: hidden, or not {' or '.join(SUFFIXES)}")
  return image_source.Source(
      classes, {'train': image_source.split(from_dir / TRAIN, False, classes, train),
                'validation': image_source.split(from_dir / evaluation, False, classes, evaluated)},
      {'source': str(from_dir), 'validation_folder': evaluation}, notes)


def _entries(folder: Path) -> tuple[dict[str, list[image_source.Entry]], int]:
  """(entries of each class, number of other files)."""
  try:
    with os.scandir(folder) as found:
      classes = sorted(e.name for e in found if e.is_dir() and not e.name.startswith('.'))
  except OSError as error:
    raise Problem(f'{folder}: cannot be read ({error.strerror}); name another --from_dir') from None
  for name in classes:
    image_source.check_class(name, folder)
  if not classes:
    raise Problem(f'{folder}: no folder of a class there; it must hold CLASS/*.jpg')
  with ThreadPoolExecutor(THREADS) as pool:
    listed = list(pool.map(_list, [folder / name for name in classes]))
  return {name: own for name, (own, _) in zip(classes, listed)}, sum(others for _, others in listed)


def _list(folder: Path) -> tuple[list[image_source.Entry], int]:
  entries, others = [], 0
  try:
    with os.scandir(folder) as found:
      for file in found:
        if not file.name.lower().endswith(SUFFIXES) or file.name.startswith('.') or file.is_dir():
          others += 1
          continue
        image_source.check_image_name(file.name, folder)
        if not file.is_file():
          raise Problem(f'{folder / file.name}: neither a file nor a link to one; remove it')
        status = file.stat()
        entries.append((file.name, 0, status.st_size, status.st_mtime_ns))
  except OSError as error:
    raise Problem(f'{error.filename or folder}: cannot be read ({error.strerror}); name another --from_dir') from None
  return entries, others
