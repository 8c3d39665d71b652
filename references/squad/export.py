"""Writes the parameters of a fine-tuned BERT as a safetensors file that transformers loads.

  python -m references.squad.export --workdir=runs/bert_base --output=model.safetensors

Takes the latest checkpoint of the run; needs no data.
"""
import functools
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from references.squad import bert_task, weights
from scoring import tape as tapes
from scoring.problem import Problem
from training import checkpoint
from training import config as configs
from training import mesh as meshes
from training.step import init_state

FLAGS = flags.FLAGS


def export(workdir: Path, output: Path) -> int:
  """Writes the file; the step of the checkpoint that it holds.

  Raises:
    Problem: no checkpoint there, or not one of a BERT; the file cannot be written.
  """
  folder = workdir / 'checkpoints'
  checkpoints = checkpoint.Checkpoints(folder) if folder.is_dir() else None
  step = checkpoints and checkpoints.latest_step()
  if not step:
    raise Problem(f'--workdir={workdir}: no checkpoint there; name the folder of a run of BERT')
  text = tapes.parse(checkpoints.restore_tape(step))[0]['config']
  try:
    config = configs.from_text(bert_task.Config, text)
  except TypeError:
    raise Problem(f'--workdir={workdir}: is not a run of BERT; name one of bert_base.py or bert_large.py') from None
  spec = jax.eval_shape(functools.partial(init_state, config.make_task('')), np.uint32(0))
  spec = meshes.abstract(spec, meshes.replicated(meshes.make_mesh()))
  weights.save(output, jax.device_get(checkpoints.restore_state(step, spec).params))
  return step


def main(_):
  if not FLAGS.workdir or not FLAGS.output:
    sys.exit('error: give --workdir=RUN and --output=FILE')
  try:
    step = export(Path(FLAGS.workdir).expanduser(), Path(FLAGS.output).expanduser())
  except Problem as problem:
    sys.exit(f'error: {problem}')
  print(f'{FLAGS.output}: the parameters of step {step}')


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'folder of a run of BERT')
  flags.DEFINE_string('output', None, 'file to write')
  app.run(main)
