"""Prepares sets of JPEGs, ImageNet 2012 among them, as TFDS does, but in parallel, resumably and without TensorFlow."""
import hashlib
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from input_pipelines import (
    image_folder,
    image_progress,
    image_shards,
    image_source,
    imagenet2012,
    images,
    staging,
)
from scoring.problem import Problem

VERSION = '1.0.0'  # of a set from image_folder
NAME = re.compile(r'[a-z][a-z0-9_]*', re.ASCII)  # what TFDS takes for a name
SHARD_BYTES = 128_000_000
REPACKER = 'input_pipelines.jpeg'  # has repack(bytes) -> bytes | None and compiled() -> bool
REPACKED_SIZE = 1.05  # of the size before, at most about
NEEDED = ('tensorflow_datasets', 'array_record', 'importlib_resources', 'PIL')
RECORD_BYTES = 130  # that a record has beside its image, about


def prepare_imagenet2012(data_dir: Path, *, manual_dir: Path | None, from_dir: Path | None, val_labels: Path | None,
                         workers: int, repack: str) -> str:
  """Writes DATA_DIR/imagenet2012/5.1.0 out of the official archives, or of folders: what to print.

  repack: 'on', 'off' or 'auto', which is on where the compiled part that does it is there

  Raises:
    Problem: a source that is not ImageNet 2012, whole; no space; something needed is not installed.
  """
  def index() -> image_source.Source:
    if (manual_dir is None) == (from_dir is None):
      raise Problem(f'--dataset={imagenet2012.NAME} needs either --manual_dir, a folder with {imagenet2012.TRAIN} and '
                    f'{imagenet2012.VALIDATION}, or --from_dir, one with train/WNID/*.JPEG and val/WNID/*.JPEG')
    if from_dir:
      if val_labels:
        raise Problem('--val_labels goes with --manual_dir; of --from_dir the folders are the labels')
      return imagenet2012.from_folder(from_dir)
    with image_progress.Bar(imagenet2012.NUM_TRAIN + imagenet2012.NUM_EVAL, 0, 'finding images in the archives') as bar:
      return imagenet2012.from_archives(manual_dir, val_labels, bar)
  return _prepare(data_dir, imagenet2012.NAME, imagenet2012.VERSION, index, imagenet2012.SHARDS, workers, repack,
                  'ImageNet 2012: 1,281,167 images to train and 50,000 to evaluate, of 1000 classes.')


def prepare_folder(data_dir: Path, *, name: str | None, from_dir: Path | None, workers: int, repack: str) -> str:
  """Writes DATA_DIR/NAME/1.0.0 out of FROM_DIR/train/CLASS/*.jpg and FROM_DIR/val/CLASS/*.jpg: what to print.

  Raises:
    Problem: a name that TFDS does not take; folders that do not hold that; no space; something is not installed.
  """
  if not name or not NAME.fullmatch(name):
    raise Problem(f"--name={name or ''}: a data set's name is lower-case letters, digits and _, such as imagenette")
  if name in (imagenet2012.NAME, 'cifar10'):
    raise Problem(f'--name={name}: that is a data set of its own; use --dataset={name}, or choose another --name')

  def index() -> image_source.Source:
    if from_dir is None:
      raise Problem('--dataset=image_folder needs --from_dir, a folder with train/CLASS/*.jpg and val/CLASS/*.jpg')
    return image_folder.source(from_dir)
  return _prepare(data_dir, name, VERSION, index, None, workers, repack, 'Images from folders, a folder a class.')


def _prepare(data_dir: Path, name: str, version: str, index: Callable[[], image_source.Source],
             counts: dict[str, int] | None, workers: int, repack: str, description: str) -> str:
  if (there := _there(data_dir, name)) is not None:
    if (data_dir / f'{name}.preparing').exists():  # killed after its last step but one
      with staging.folder(data_dir, name):
        pass
    return there
  goal = data_dir / name / version
  if goal.exists():
    raise Problem(f'{goal}: is there, but without dataset_info.json, so not a whole data set; remove it, or name '
                  'another --data_dir')
  missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
  if missing:
    raise Problem(f"{', '.join(missing)} not installed; pip install -e '.[data]'")
  repacker, note = _repacker(repack)
  source = index()
  need = {split: int(of.sizes.sum()) + RECORD_BYTES * len(of) for split, of in source.splits.items()}
  counts = {split: min(len(of), counts[split] if counts else max(1, round(need[split] / SHARD_BYTES)))
            for split, of in source.splits.items()}
  shards = image_shards.plan(name, source.splits, counts)
  with staging.folder(data_dir, name, resumable=True) as folder:
    if goal.exists():  # another process prepared it while this one looked at the source
      return _there(data_dir, name)
    whole = image_shards.resume(folder, {'source': source.fingerprint(), 'repacker': repacker, 'version': version,
                                         'shards': counts}, shards)
    staging.check_space(data_dir, max(0, int(sum(need.values()) * (REPACKED_SIZE if repacker else 1)) -
                                      sum(told['file_bytes'] for told in whole.values())))
    todo = [shard for shard in shards if shard.name not in whole]
    with image_progress.Bar(sum(shard.stop - shard.start for shard in todo),
                            sum(int(shard.split.sizes[shard.start:shard.stop].sum()) for shard in todo)) as bar:
      told = image_shards.write(folder, shards, whole, workers, repacker, bar)
    provenance = _provenance(name, version, source, shards, told, repacker)
    _finish(folder, data_dir, provenance, source, shards, told, description)
  return _report(data_dir, name, [*source.notes, *([note] if note else []), 'written'])


def _repacker(repack: str) -> tuple[str | None, str | None]:
  """(module that re-packs images, or None; what to say of it)."""
  if repack == 'off':
    return None, None
  if not importlib.import_module(REPACKER).compiled():
    if repack == 'on':
      raise Problem('--repack=on: re-packing needs the compiled part of Daybreak, which is not there; leave --repack '
                    'out, and images are kept as they are, which training reads too, but more slowly')
    return None, ('re-packing needs the compiled part of Daybreak, which is not there: prepared without, which '
                  'training reads too, but more slowly')
  return REPACKER, None


def _provenance(name, version, source: image_source.Source, shards, told: dict[str, dict], repacker) -> dict:
  """What NAME.json is to say; its fingerprint does not depend on how records are spread over shards."""
  digest = hashlib.sha256()
  for shard in shards:
    for one in told[shard.name]['digests']:
      digest.update(bytes.fromhex(one))
  return {
      'name': name, 'version': version, 'fingerprint': digest.hexdigest(), **source.told,
      'images': {split: len(of) for split, of in source.splits.items()},
      'class_images': {split: dict(zip(source.classes, of.class_counts())) for split, of in source.splits.items()},
      'reencoded': [n for shard in shards for n in told[shard.name]['reencoded']],
      'repacked': sum(told[shard.name]['repacked'] for shard in shards), 'repack': repacker is not None,
      'shard_bytes': {shard.name: told[shard.name]['file_bytes'] for shard in shards}}


def _finish(folder: Path, data_dir: Path, provenance: dict, source: image_source.Source, shards, told, description):
  """Adds metadata to the shards, and moves all to where it is read, at once."""
  from input_pipelines import image_tfds  # here, since it needs what only the extra `data` installs
  staged, (name, version) = folder / 'shards', (provenance['name'], provenance['version'])
  own = {split: [shard for shard in shards if shard.split is of] for split, of in source.splits.items()}
  (staged / f'{name}.json').write_text(json.dumps(provenance, indent=1) + '\n', encoding='utf-8')
  image_tfds.write_metadata(
      staged, name, version, source.classes, description=description,
      homepage='https://image-net.org/' if name == imagenet2012.NAME else '',
      shard_lengths={split: [shard.stop - shard.start for shard in of] for split, of in own.items()},
      num_bytes={split: sum(told[shard.name]['bytes'] for shard in of) for split, of in own.items()})
  goal = data_dir / name / version
  goal.parent.mkdir(parents=True, exist_ok=True)
  os.rename(staged, goal)


def _there(data_dir: Path, name: str) -> str | None:
  """What to print if the set is prepared, by us or by TFDS itself; None if nothing is there.

  Raises:
    Problem: something is there that is not whole, or cannot be read without TensorFlow.
  """
  where = images.directory(data_dir, name)
  if where is None:
    return None
  found = images.metadata(data_dir, name)
  told = images.provenance(data_dir, name)
  sizes = told.get('shard_bytes', {})
  for split in found.num_examples:
    for file, records in images.shards(data_dir, name, split):
      right = os.path.isfile(file) and sizes.get(os.path.basename(file), os.path.getsize(file)) == os.path.getsize(file)
      if not right or image_shards.num_records(Path(file)) != records:
        raise Problem(f"{file}: {'damaged or cut short' if os.path.isfile(file) else 'missing'}; remove {where} and "
                      'prepare it again')
  return _report(data_dir, name, ['already there and whole, nothing to do; remove the folder to prepare it anew' if told
                                  else 'prepared by TFDS itself; all its files are there, nothing to do'])


def _report(data_dir: Path, name: str, notes: list[str]) -> str:
  """What is there, and how it came about."""
  found, told = images.metadata(data_dir, name), images.provenance(data_dir, name)
  lines = [f"{name}: {found.num_examples.get('train', 0):,} images to train, "
           f"{found.num_examples.get('validation', 0):,} to evaluate; {len(found.class_names):,} classes",
           f'folder       {images.directory(data_dir, name)}', *(f'             {note}' for note in notes)]
  if told:
    lines += [f"from         {told['source']}",
              f"images       {len(told['reencoded']):,} re-encoded (PNG, or four colours), {told['repacked']:,} "
              're-packed, the rest as they were; the headers of all were checked, their pixels were not']
    lines += [_class_line(split, counts) for split, counts in told['class_images'].items()]
  return '\n'.join([*lines, f'fingerprint  {found.fingerprint}'])


def _class_line(split: str, counts: dict[str, int]) -> str:
  few, many = min(counts.values()), max(counts.values())
  each = ', '.join(f'{name} {count:,}' for name, count in counts.items()) if len(counts) <= 20 else \
      f'{few:,} to {many:,} of each class' if few < many else f'{few:,} of each class'
  return f'{split:<13}{each}'

