"""Gets a data set, checks it, and writes it in the form that training reads.

  python -m launchers.prepare --dataset=cifar10                          downloads it
  python -m launchers.prepare --dataset=cifar10 --from_dir=DIR           takes what is there, downloads nothing
  python -m launchers.prepare --dataset=imagenet2012 --manual_dir=DIR    of the official archives; nothing is unpacked
  python -m launchers.prepare --dataset=imagenet2012 --from_dir=DIR      of DIR/train/WNID/*.JPEG, DIR/val/WNID/*.JPEG
  python -m launchers.prepare --dataset=image_folder --name=imagenette --from_dir=DIR    of any JPEGs in such folders
  python -m launchers.prepare --dataset=squad --vocab=FILE               SQuAD v1.1; the vocabulary of BERT if wanted
  python -m launchers.prepare --dataset=cifar10 --verify                 reads what was prepared; changes nothing

Exit status: 0 prepared, or was so before; 1 error, or not what was prepared; 2 malformed command line; 130
interrupted.
"""
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags

from input_pipelines import cifar10_prepare, image_prepare, squad_prepare, verify
from launchers import command

FLAGS = flags.FLAGS
AGAIN, GOES_ON = 'nothing is left of it, the same command begins again', 'the same command goes on from the last file'


def _cifar10() -> str:
  return cifar10_prepare.prepare(_data_dir(), _path('from_dir'), FLAGS.tfds)


def _imagenet2012() -> str:
  return image_prepare.prepare_imagenet2012(
      _data_dir(), manual_dir=_path('manual_dir'), from_dir=_path('from_dir'), val_labels=_path('val_labels'),
      workers=_workers(), repack=FLAGS.repack)


def _image_folder() -> str:
  return image_prepare.prepare_folder(_data_dir(), name=FLAGS['name'].value, from_dir=_path('from_dir'),
                                      workers=_workers(), repack=FLAGS.repack)


def _squad() -> str:
  return squad_prepare.prepare(_data_dir(), _path('from_dir'), _path('vocab'))


# name -> (what prepares it and returns what to print, the flags that mean something for it, what an interrupt leaves)
DATASETS: dict[str, tuple[Callable[[], str], tuple[str, ...], str]] = {
    'cifar10': (_cifar10, ('from_dir', 'tfds'), AGAIN),
    'imagenet2012': (_imagenet2012, ('manual_dir', 'from_dir', 'val_labels', 'workers', 'repack'), GOES_ON),
    'image_folder': (_image_folder, ('name', 'from_dir', 'workers', 'repack'), GOES_ON),
    'squad': (_squad, ('from_dir', 'vocab'), AGAIN)}

VERIFY: dict[str, Callable[[], str]] = {
    'cifar10': lambda: verify.verify_cifar10(_data_dir()), 'squad': lambda: verify.verify_squad(_data_dir()),
    'imagenet2012': lambda: verify.verify_images(_data_dir(), 'imagenet2012'),
    'image_folder': lambda: verify.verify_images(_data_dir(), FLAGS['name'].value)}

flags.DEFINE_bool('verify', False, 'read all of what was prepared and compare it with what was written then; '
                  'nothing is changed')
flags.DEFINE_enum('dataset', None, sorted(DATASETS), 'what to prepare')
flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets, the same as for training')
flags.DEFINE_string('from_dir', '', 'folder that holds the published files, packed or not (cifar10, squad; default: '
                    'download them), or train/CLASS/*.jpg and val/CLASS/*.jpg (imagenet2012, image_folder)')
flags.DEFINE_string('vocab', '', 'vocab.txt of an uncased BERT, for the configs that start from one (squad)')
flags.DEFINE_bool('tfds', True, 'also write the files of TensorFlow Datasets, array_record; needs no TensorFlow '
                  '(cifar10)')
flags.DEFINE_string('manual_dir', '', 'folder that holds ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar '
                    '(imagenet2012)')
flags.DEFINE_string('val_labels', '', 'file of the WNIDs of the 50,000 validation images, one a line; default: of '
                    'ILSVRC2012_devkit_t12.tar.gz in --manual_dir, else of TFDS (imagenet2012)')
flags.DEFINE_string('name', '', 'the name that the data set is to have (image_folder)')
flags.DEFINE_integer('workers', 0, 'processes that read and write; 0: as many as there are CPUs (imagenet2012, '
                     'image_folder)', lower_bound=0)
flags.DEFINE_enum('repack', 'auto', ['auto', 'on', 'off'], 're-pack images, without loss, so that crops decode faster; '
                  'auto: where the compiled part for it is there (imagenet2012, image_folder)')


def main() -> int:
  if not FLAGS.dataset:
    command.fail('--dataset is missing; e.g. python -m launchers.prepare --dataset=cifar10')
    return command.USAGE
  prepare, own, interrupted = DATASETS[FLAGS.dataset]
  for _, (_, others, _) in sorted(DATASETS.items()):
    for name in others:
      if name not in own and FLAGS[name].present:
        command.fail(f'--{name} means nothing for --dataset={FLAGS.dataset}; leave it out, or choose another data set '
                     '(python -m launchers.prepare --help tells whose it is)')
        return command.USAGE
  given = [name for name in own if FLAGS[name].present and name != 'name']
  if FLAGS.verify and given:
    command.fail(f'--{given[0]} is for preparing, and --verify only reads what was prepared; leave one of them out')
    return command.USAGE
  if '://' in FLAGS.data_dir:
    command.fail(f'--data_dir={FLAGS.data_dir}: is remote; prepare in a folder of this machine, and copy that there '
                 'whole')
    return command.USAGE
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is half written is removed
  try:
    print(VERIFY[FLAGS.dataset]() if FLAGS.verify else prepare())
  except KeyboardInterrupt:
    command.fail(f'interrupted; {interrupted}')
    return command.INTERRUPTED
  return command.REACHED


def _path(flag: str) -> Path | None:
  return Path(FLAGS[flag].value).expanduser() if FLAGS[flag].value else None


def _data_dir() -> Path:
  return Path(FLAGS.data_dir).expanduser()


def _workers() -> int:
  return FLAGS.workers or len(os.sched_getaffinity(0))


if __name__ == '__main__':
  command.script(main, __doc__)
