"""Writes the parameters of a fine-tuned BERT as a safetensors file that transformers loads.

  python -m references.squad.export --workdir=runs/bert_base --output=model.safetensors

Takes the latest checkpoint of the run; needs no data.
"""
import sys
from pathlib import Path

import jax
from absl import app, flags

from references.squad import bert_task, weights
from scoring import tape as tapes
from scoring.problem import Problem
from training import checkpoint, programs
from training import config as configs
from training import mesh as meshes

FLAGS = flags.FLAGS


def export(workdir: Path, output: Path) -> int:
  """Writes the file; the step of the checkpoint that it holds.

  Raises:
    Problem: no checkpoint there, or not one of a BERT; the file cannot be written.
  """
  folder = workdir / 'checkpoints'
  if not folder.is_dir():
    raise Problem(f'--workdir={workdir}: no checkpoint there; name the folder of a run of BERT')
  events = tapes.read(workdir)
  try:
    config = configs.from_text(bert_task.Config, events[0]['config'])
  except (IndexError, TypeError):
    raise Problem(f'--workdir={workdir}: is not a run of BERT; name one of bert_base.py or bert_large.py') from None
  spec = programs.abstract_state(config.make_task(''), meshes.make_mesh())
  restored = checkpoint.Checkpoints(folder).restore_newest(spec, set_aside=False)
  if restored is None:
    raise Problem(f'--workdir={workdir}: no checkpoint there; name the folder of a run of BERT')
  weights.save(output, jax.device_get(restored.state.params))
  return restored.step


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
