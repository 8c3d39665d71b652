"""How many answers of a trained image classifier change when it is folded (serving/folding.py).

  python -m benchmarks.folding --workdir=runs/cpu --data_dir=DIR [--num_images=10000]

Ours is the folded model, the peer the one that training evaluates, on the same images in the same batches, without
test-time augmentation. Prints changed answers (of the first class), all accuracies, what an image takes of each, and of
a model that computes in bfloat16 how many answers of either are others than in float32.
"""
import dataclasses
import importlib
import os
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags

from benchmarks import progress
from benchmarks.report import report
from launchers import command
from scoring import tape as tapes
from scoring.problem import Problem
from serving.engine import Engine
from serving.samples import Samples
from training import checkpoint, programs
from training import config as configs
from training import mesh as meshes

FLAGS = flags.FLAGS
FOLDED, WHOLE, WIDE = 'folded', 'as trained', 'float32'
TASKS = {'digits': 'references.cifar.task', 'cifar10': 'references.cifar.cifar10'}


def restored(workdir: Path, data_dir: str):
  """(task, variables) of the newest checkpoint of a run of images."""
  try:
    header = tapes.read(workdir)[0]
    module = importlib.import_module(TASKS.get(header['benchmark'], 'references.resnet_imagenet.task'))
    config = configs.from_text(module.Config, header['config'])
  except (IndexError, TypeError):
    raise Problem(f'--workdir={workdir}: is not a run of images; name one') from None
  if hasattr(config, 'test_time_augmentation'):
    config = dataclasses.replace(config, test_time_augmentation='none')
  task = config.make_task(data_dir)
  found = checkpoint.Checkpoints(workdir.absolute() / 'checkpoints').restore_newest(
      programs.abstract_state(task, meshes.make_mesh()), set_aside=False)
  if found is None:
    raise Problem(f'--workdir={workdir}: no checkpoint there; train first')
  return task, task.eval_variables(found.state)


def main() -> int:
  data_dir = os.path.expanduser(FLAGS.data_dir)
  task, variables = restored(Path(FLAGS.workdir).expanduser(), data_dir)
  size, total = task.config.eval_batch_size, min(FLAGS.num_images, task.target.num_examples)
  models = {FOLDED: task.serve(variables, fold=True), WHOLE: task.serve(variables, fold=False)}
  if task.config.compute_dtype == 'bfloat16':
    wide = dataclasses.replace(task.config, compute_dtype='float32').make_task(data_dir)
    models[WIDE] = wide.serve(variables, fold=False)
  engines = {name: Engine(served, (size,)) for name, served in models.items()}
  for engine in engines.values():
    engine.warm_up()
  answers, seconds = {name: [] for name in models}, {name: [] for name in models}
  for number in progress.told(-(-total // size), 'batch'):
    chosen = list(range(number * size, min((number + 1) * size, total)))
    for name, served in models.items():  # in turn, so that both see the same machine
      samples = Samples(served)
      samples.load(chosen)
      bucket, rows = samples.batch(chosen, size)
      begun = time.perf_counter()
      answers[name].append(np.asarray(engines[name](bucket, rows))[:len(chosen)])
      seconds[name].append((time.perf_counter() - begun) / len(chosen))
  answers = {name: np.concatenate(found) for name, found in answers.items()}
  changed = lambda name, other: int((answers[name][:, 0] != answers[other][:, 0]).sum())
  print(f'{changed(FOLDED, WHOLE)} of {total} answers changed ({jax.devices()[0].device_kind}, '
        f'{task.config.compute_dtype})')
  accuracies = {}
  if total == task.target.num_examples:
    accuracies = {name: served.measure([(range(total), answers[name])])[0]['accuracy']
                  for name, served in models.items()}
    print(*(f'{name}: {accuracy:.4f}' for name, accuracy in accuracies.items()), sep=', ')
  report('folding', ours=seconds[FOLDED], peer=seconds[WHOLE], peer_name=WHOLE, unit='s/image',
         changed=changed(FOLDED, WHOLE), num_images=total, compute_dtype=task.config.compute_dtype,
         accuracies=accuracies, platform=jax.default_backend(), others_than_in_float32={
             name: changed(name, WIDE) for name in (FOLDED, WHOLE)} if WIDE in models else None)
  return 0


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'folder of a run of images', required=True)
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets')
  flags.DEFINE_integer('num_images', 10_000, 'so many of the test set', lower_bound=1)
  command.script(main, __doc__)
