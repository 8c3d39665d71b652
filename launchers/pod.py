"""Trains on many machines, or on one as if it were many.

  python -m launchers.pod --cluster=local --num_processes=2 -- --config=FILE --workdir=DIR
  python -m launchers.pod --cluster=slurm --slurm_nodes=2 -- <flags of launchers.train>
  python -m launchers.pod --cluster=gke --gke_topology=... -- <flags of launchers.train>
  python -m launchers.pod --cluster=tpu_vm --tpu_type=v5litepod-16 -- <flags of launchers.train>

What follows `--` goes to `launchers.train` on every process. --dry_run prints exactly what would be written and run.
Exit status: of `local`, that of train; else of the cluster's own command.
"""
import importlib

from absl import flags

from launchers import command

FLAGS = flags.FLAGS
CLUSTERS = ('local', 'slurm', 'gke', 'tpu_vm')
flags.DEFINE_enum('cluster', None, CLUSTERS, 'where to train')
flags.DEFINE_bool('dry_run', False, 'print what would be written and run, and do nothing')


def main(argv: list[str], doc: str) -> int:
  clusters = {name: importlib.import_module(f'launchers.clusters.{name}') for name in CLUSTERS}
  if command.help_wanted(argv):
    return command.print_help(doc)
  split = argv.index('--') if '--' in argv else len(argv)
  flags_of_train = argv[split + 1:]
  command.parse(argv[:split])
  if not FLAGS.cluster:
    command.fail(f"--cluster is missing: one of {', '.join(CLUSTERS)}")
    return command.USAGE
  for name in ('config', 'workdir'):
    if not any(flag.startswith(f'--{name}=') for flag in flags_of_train):
      command.fail(f'--{name}=... is missing after --; what follows -- are the flags of launchers.train')
      return command.USAGE
  cluster = clusters[FLAGS.cluster]
  plan = cluster.plan(flags_of_train)
  if FLAGS.dry_run:
    print(plan, end='')
    return 0
  return cluster.run(plan)


if __name__ == '__main__':
  command.run(main, __doc__)
