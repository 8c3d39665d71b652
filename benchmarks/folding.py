"""How many answers of a trained image classifier change when its batch normalisation is folded.

  python -m benchmarks.folding --workdir=runs/cpu --data_dir=DIR [--num_images=10000]

Ours is the folded model, the peer the one that training evaluates, on the same images in the same batches. Prints
changed answers (of the first class), both accuracies, and what an image takes of each.
"""
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
TASKS = {'digits': 'references.cifar.task', 'cifar10': 'references.cifar.cifar10'}


def restored(workdir: Path, data_dir: str):
  """(task, variables) of the newest checkpoint of a run of images."""
  try:
    header = tapes.read(workdir)[0]
    module = importlib.import_module(TASKS.get(header['benchmark'], 'references.resnet_imagenet.task'))
    config = configs.from_text(module.Config, header['config'])
  except (IndexError, TypeError):
    raise Problem(f'--workdir={workdir}: is not a run of images; name one') from None
  task = config.make_task(data_dir)
  found = checkpoint.Checkpoints(workdir.absolute() / 'checkpoints').restore_newest(
      programs.abstract_state(task, meshes.make_mesh()), set_aside=False)
  if found is None:
    raise Problem(f'--workdir={workdir}: no checkpoint there; train first')
  return task, task.eval_variables(found.state)


def main() -> int:
  task, variables = restored(Path(FLAGS.workdir).expanduser(), os.path.expanduser(FLAGS.data_dir))
  size, total = task.config.eval_batch_size, min(FLAGS.num_images, task.target.num_examples)
  models = {fold: task.serve(variables, fold=fold) for fold in (True, False)}
  engines = {fold: Engine(served, (size,)) for fold, served in models.items()}
  for engine in engines.values():
    engine.warm_up()
  answers, seconds = {fold: [] for fold in models}, {fold: [] for fold in models}
  for number in progress.told(-(-total // size), 'batch'):
    chosen = list(range(number * size, min((number + 1) * size, total)))
    for fold, served in models.items():  # in turn, so that both see the same machine
      samples = Samples(served)
      samples.load(chosen)
      bucket, rows = samples.batch(chosen, size)
      begun = time.perf_counter()
      answers[fold].append(np.asarray(engines[fold](bucket, rows))[:len(chosen)])
      seconds[fold].append((time.perf_counter() - begun) / len(chosen))
  folded, whole = (np.concatenate(answers[fold])[:, 0] for fold in (True, False))
  print(f'{int((folded != whole).sum())} of {total} answers changed ({jax.devices()[0].device_kind}, '
        f'{task.config.compute_dtype})')
  if total == task.target.num_examples:
    for fold, served in models.items():
      metrics, _ = served.measure([(range(total), np.concatenate(answers[fold]))])
      print(f'{"folded" if fold else "as trained"}: {metrics}')
  report('folding', ours=seconds[True], peer=seconds[False], peer_name='as trained', unit='s/image',
         changed=int((folded != whole).sum()), num_images=total, compute_dtype=task.config.compute_dtype,
         platform=jax.default_backend())
  return 0


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'folder of a run of images', required=True)
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets')
  flags.DEFINE_integer('num_images', 10_000, 'so many of the test set', lower_bound=1)
  command.script(main, __doc__)
