"""Gets a data set, checks it, and writes it in the form that training reads.

  python -m launchers.prepare --dataset=cifar10                     downloads it
  python -m launchers.prepare --dataset=cifar10 --from_dir=DIR      takes what is there already, downloads nothing

Exit status: 0 prepared, or was so before; 1 error; 2 wrong flag; 130 interrupted.
"""
import signal
import sys
from pathlib import Path

from absl import flags

from input_pipelines import cifar10_prepare
from launchers import command

# name -> (data_dir, from_dir or None, whether TFDS's files are wanted) -> what to print
DATASETS = {'cifar10': cifar10_prepare.prepare}

FLAGS = flags.FLAGS
flags.DEFINE_enum('dataset', None, sorted(DATASETS), 'what to prepare')
flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets, the same as for training')
flags.DEFINE_string('from_dir', '', 'folder that holds the published files, packed or not; default: download them')
flags.DEFINE_bool('tfds', True, 'also write the files of TensorFlow Datasets (array_record; needs no TensorFlow)')


def main(argv: list[str], doc: str) -> int:
  if command.help_wanted(argv):
    return command.print_help(doc)
  command.parse(argv)
  if not FLAGS.dataset:
    command.fail('--dataset is missing; e.g. python -m launchers.prepare --dataset=cifar10')
    return command.USAGE
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is half written is removed
  try:
    print(DATASETS[FLAGS.dataset](Path(FLAGS.data_dir).expanduser(),
                                  Path(FLAGS.from_dir).expanduser() if FLAGS.from_dir else None, FLAGS.tfds))
  except KeyboardInterrupt:
    command.fail('interrupted; nothing is left of it, the same command begins again')
    return command.INTERRUPTED
  return command.REACHED


if __name__ == '__main__':
  command.run(main, __doc__)
