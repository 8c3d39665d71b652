"""Compiles the training and evaluation step of a config for TPUs that are not there, and says what they would need.

  python -m launchers.compile --config=references/resnet_imagenet/configs/mlperf_8192.py --topology=v5e:16x16 \\
      --config.gradient_accumulation_steps=1 --config.batch_norm_group_size=32 --config.eval_batch_size=1024

Memory a device against its capacity, FLOPs, bytes, collectives, an estimate of the time of a step and of the whole
schedule; --sweep makes a table of several topologies. A ResNet-50 takes minutes to compile on two cores; its numbers
are kept, so a second call only lowers the step again, which takes seconds. Any field of the config is a flag, as
--config.batch_size=256. TPUs need `pip install -e '.[tpu]'` on Linux; cpu-N needs nothing.
Exit status: 0 all fits (--sweep: something does), 1 it does not, or another error, 2 malformed command line.
"""
import json
from pathlib import Path

from absl import flags

from launchers import command, compile_report, compile_steps, topology
from launchers.compile_cache import Cache
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'config file: references/TASK/configs/NAME.py')
flags.DEFINE_string('topology', None, 'v5e:4x4, v5e-16 (chips), v5p-128 (TensorCores), 2*v5e:16x16 (slices), cpu-8')
flags.DEFINE_list('sweep', None, 'several topologies instead, for a table')
flags.DEFINE_string('data_dir', '', 'folder of data sets, where shapes depend on them; by default none is looked at: '
                    'records are taken to be as many as the config says and as long as its longest')
flags.DEFINE_string('json', '', 'file to write all numbers to; a list with --sweep')


def write_json(value):
  if FLAGS.json:
    try:
      Path(FLAGS.json).expanduser().write_text(json.dumps(value, indent=1) + '\n')
    except OSError as error:
      raise Problem(f'--json={FLAGS.json}: cannot write there ({error.strerror}); name another') from None


def sweep(config, topologies: list[topology.Topology], data_dir: str, cache: Cache) -> int:
  """Prints a row a topology, and a line below for each that it does not fit or cannot be divided over."""
  made, rows, notes = [], [], []
  for where in topologies:
    try:
      one = compile_steps.report(config, FLAGS.config, where, data_dir, cache)
    except Problem as problem:
      notes.append(f'{where.name}: {problem}')
      continue
    made.append(one)
    rows.append(compile_report.row(one))
    notes += [compile_report.misfit(one)] if compile_report.misfit(one) else []
  print(compile_report.markdown(rows) + ''.join(f'\n{note}\n' for note in notes) + f'\n{cache.summary()}')
  write_json(made)
  if not any(one['fits'] for one in made):
    raise Problem('--sweep: it fits on none of these')
  return command.REACHED


def main(argv: list[str], doc: str) -> int:
  topology.set_environment()
  if command.config_help_wanted(argv, doc):
    return command.REACHED
  command.parse(argv, known_only=True)
  if not FLAGS.config or bool(FLAGS.topology) == bool(FLAGS.sweep):
    command.fail('give --config=FILE and one of --topology=v5e:4x4 and --sweep=v5e:4x4,v5e:16x16')
    return command.USAGE
  topologies = [topology.parse(name) for name in FLAGS.sweep or [FLAGS.topology]]
  config = command.parse_config(argv)
  compile_steps.prepare_devices(topologies)
  cache, data_dir = Cache(FLAGS.cache_dir), str(Path(FLAGS.data_dir).expanduser()) if FLAGS.data_dir else ''
  if FLAGS.sweep:
    return sweep(config, topologies, data_dir, cache)
  made = compile_steps.report(config, FLAGS.config, topologies[0], data_dir, cache)
  print(compile_report.text(made) + cache.summary(), flush=True)
  write_json(made)
  if wrong := compile_report.misfit(made):
    raise Problem(wrong)
  return command.REACHED


if __name__ == '__main__':
  command.run(main, __doc__)
