"""A Cloud TPU VM slice, or several: one bash script that creates, copies, trains, collects and deletes.

Commands: https://cloud.google.com/sdk/gcloud/reference/compute/tpus/tpu-vm and .../queued-resources. States of queued
resources: https://cloud.google.com/tpu/docs/queued-resources.
"""
import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from absl import flags

from launchers import command
from launchers.clusters.plan import Command, Plan, flag_value
from scoring import tape as tapes
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_string('tpu_type', None, 'accelerator type, e.g. v5litepod-16 or v5p-128')
flags.DEFINE_string('tpu_zone', None, 'zone, e.g. us-west4-a')
flags.DEFINE_string('tpu_project', None, 'project; default: that of gcloud\'s configuration')
flags.DEFINE_string('tpu_name', 'daybreak', 'of the TPU VM or the queued resource')
flags.DEFINE_string('tpu_runtime', None, 'runtime version; default: by the type')
flags.DEFINE_bool('tpu_queued', False, 'request a queued resource, and wait for it')
flags.DEFINE_integer('tpu_slices', 1, 'slices of a queued resource', lower_bound=1)
flags.DEFINE_bool('tpu_spot', False, 'as a spot machine, which may be taken away')
flags.DEFINE_float('tpu_wait_hours', 24, 'how long to wait for a queued resource', lower_bound=0)
flags.DEFINE_integer('tpu_attempts', 3, 'train so often: at first, and after a preemption or a loss', lower_bound=1)
flags.DEFINE_bool('tpu_keep', False, 'do not delete the machines at the end')
flags.DEFINE_multi_string('tpu_setup', [], 'a shell line on each worker before training, in its checkout, e.g. to copy '
                          'data there; repeated')
flags.DEFINE_string('tpu_extras', 'tpu,gcs,data', 'extras of setup.cfg to install')

# Type -> runtime version (https://cloud.google.com/tpu/docs/runtimes, "PyTorch and JAX").
RUNTIMES = {'v4': 'tpu-ubuntu2204-base', 'v5litepod': 'v2-alpha-tpuv5-lite', 'v5p': 'v2-alpha-tpuv5',
            'v6e': 'v2-alpha-tpuv6e'}
CHECKOUT = 'daybreak'  # below the home directory of each worker

# Workers are reached by way of their TPU VM, also those of a queued resource: `queued-resources ssh` talks to 64 of
# them at a time (gcloud 528.0.0, with --batch-size=all too), and training begins when all of them are there.
SCRIPT = '''\
#!/usr/bin/env bash
# Written by python -m launchers.pod --cluster=tpu_vm. Creates, copies, trains, collects, deletes.
set -euo pipefail
made='' nodes=({nodes})

say() {{ echo "tpu_vm: $*" >&2; }}
create() {{
  made=yes
  {create}
}}
ready() {{
{ready}
}}
delete() {{
  if [ "$made" ]; then
    made=''
    {delete} || say 'NOT DELETED: {name}; look whether it is still there, and costs money'
  fi
}}
# of a node; exec, so that what ends with this script is gcloud
copy() {{ exec {copy}; }}
install() {{ exec {install}; }}
train() {{ exec {train}; }}
# all nodes at once, and in the background: bash puts a signal off while a command in the foreground runs
on_each() {{
  local node process processes=() failed=''
  for node in "${{nodes[@]}}"; do
    "$1" "$node" &
    processes+=($!)
  done
  for process in "${{processes[@]}}"; do wait "$process" || failed=yes; done
  [ ! "$failed" ]
}}
end() {{
  trap '' INT TERM
  for process in $(jobs -p); do kill "$process" || true; done
  rm -f "$archive"
  {at_end}
}}

archive=$(mktemp)
trap end EXIT
trap 'exit {interrupted}' INT
trap 'exit 143' TERM
git -C {root} archive --format=tar.gz --output="$archive" HEAD
if [ -n "$(git -C {root} status --porcelain)" ]; then say 'what is not committed here is not copied'; fi

command -v gcloud >/dev/null || {{ say 'gcloud: is not installed here'; exit 1; }}
if {exists} >/dev/null 2>&1; then say '{name}: is there already; delete it, or give another --tpu_name'; exit 1; fi
status=1
for attempt in $(seq {attempts}); do
  say "attempt $attempt of {attempts}"
  if ! {{ create && ready && on_each copy && on_each install; }}; then
    say 'the machines could not be set up'
    delete
    continue
  fi
  on_each train || say 'training ended on some worker, or contact to it was lost'
  status=$({read_status}) || status={lost}
  {collect} || say 'the records of worker 0 could not be copied'
  say "training ended with status $status"
  if [ "$status" != {preempted} ] && [ "$status" != {lost} ] && ! [ "$status" -gt {interrupted} ]; then break; fi
  delete
done
exit "$status"
'''

READY = '''\
  local state='' end=$((SECONDS + {seconds}))
  until [ "$state" = ACTIVE ]; do
    case $state in FAILED | SUSPENDING | SUSPENDED) say "the queued resource is $state"; return 1 ;; esac
    if [ $SECONDS -gt $end ]; then say 'the queued resource did not become ACTIVE'; return 1; fi
    if [ "$state" ]; then sleep "${{POLL_SECONDS:-30}}"; fi
    state=$({describe}) || state='not to be seen'
  done'''


def plan(flags_of_train: Sequence[str]) -> Plan:
  """The script, in the folder pod/ below a local --workdir, and the command that runs it.

  Raises:
    Problem: a flag is missing, or the workers would have no checkpoints in common.
  """
  check(flags_of_train)
  workdir = flag_value(flags_of_train, 'workdir')
  path = Path(workdir) / 'pod' / 'tpu_vm.sh'
  return Plan({str(path): script(flags_of_train, workdir)}, [Command(['bash', str(path)])])


def script(flags_of_train: Sequence[str], workdir: str) -> str:
  """The text of the script."""
  name, kind = FLAGS.tpu_name, 'queued-resources' if FLAGS.tpu_queued else 'tpu-vm'
  where = shlex.join([f'--zone={FLAGS.tpu_zone}', *([f'--project={FLAGS.tpu_project}'] if FLAGS.tpu_project else [])])
  gcloud = lambda *words: f'gcloud compute tpus {" ".join(words)} {where}'
  ssh = lambda node, worker, text: gcloud('tpu-vm ssh', node, f'--worker={worker}', shlex.quote(f'--command={text}'))
  # names: https://googleapis.dev/dotnet/Google.Apis.TPU.v2/latest/api/Google.Apis.TPU.v2.Data.MultisliceParams.html
  nodes = [name] if FLAGS.tpu_slices == 1 else [f'{name}-{i}' for i in range(FLAGS.tpu_slices)]
  train = shlex.join(['.venv/bin/python', '-m', 'launchers.train', *flags_of_train, '--distributed'])
  here, there = shlex.quote(str(Path(workdir).parent)), shlex.quote(f'{nodes[0]}:{CHECKOUT}/{workdir}')
  return SCRIPT.format(
      name=name, nodes=' '.join(nodes), create=gcloud(kind, 'create', name, *map(shlex.quote, _request())),
      ready=READY.format(seconds=int(FLAGS.tpu_wait_hours * 3600), describe=gcloud(
          kind, 'describe', name, "'--format=value(state.state)'")) if FLAGS.tpu_queued else '  true',
      delete=gcloud(kind, 'delete', name, '--quiet', *(['--force'] if FLAGS.tpu_queued else [])),
      at_end=':' if FLAGS.tpu_keep else 'delete', interrupted=command.INTERRUPTED, root=shlex.quote(str(tapes.ROOT)),
      attempts=FLAGS.tpu_attempts,
      copy=gcloud('tpu-vm scp "$archive"', f'"$1":{CHECKOUT}.tar.gz', '--worker=all'),
      install=ssh('"$1"', 'all', _install()),
      # the status is kept there: gcloud's is that of any worker whose command failed
      train=ssh('"$1"', 'all', f'cd {CHECKOUT} && {{ {train}; echo $? >status; }}'),
      read_status=ssh(nodes[0], 0, f'cat {CHECKOUT}/status'),
      collect=gcloud('tpu-vm scp', there, here, '--recurse --worker=0'),
      exists=gcloud(kind, 'describe', name), preempted=command.PREEMPTED, lost=command.LOST)


def _request() -> list[str]:
  """What `create` asks for."""
  runtime = FLAGS.tpu_runtime or RUNTIMES[FLAGS.tpu_type.rpartition('-')[0]]
  name = [] if not FLAGS.tpu_queued else [f'--node-id={FLAGS.tpu_name}'] if FLAGS.tpu_slices == 1 else [
      f'--node-count={FLAGS.tpu_slices}', f'--node-prefix={FLAGS.tpu_name}']
  version = '--runtime-version' if FLAGS.tpu_queued else '--version'
  spot = ['--spot'] if FLAGS.tpu_spot else []
  return [f'--accelerator-type={FLAGS.tpu_type}', f'{version}={runtime}', *name, *spot]


def _install() -> str:
  """What each worker does before training. The runtimes' own Python is older than 3.11: uv brings one."""
  return (f'rm -rf {CHECKOUT} && mkdir {CHECKOUT} && tar --extract --gzip --file={CHECKOUT}.tar.gz '
          f'--directory={CHECKOUT} && cd {CHECKOUT} && python3 -m pip install --quiet --user uv && '
          'python3 -m uv venv --quiet --python=3.12 .venv && '
          f"python3 -m uv pip install --quiet --python=.venv/bin/python --editable '.[{FLAGS.tpu_extras}]'"
          + ''.join(f' && {line}' for line in FLAGS.tpu_setup))


def check(flags_of_train: Sequence[str]):
  """Raises Problem where a flag is missing or does not fit."""
  for name in ('tpu_type', 'tpu_zone'):
    if not getattr(FLAGS, name):
      raise Problem(f'--{name} is missing: {FLAGS[name].help}')
  kind, _, size = FLAGS.tpu_type.rpartition('-')
  if not size.isdigit() or (kind not in RUNTIMES and not FLAGS.tpu_runtime):
    raise Problem(f'--tpu_type={FLAGS.tpu_type}: write TYPE-SIZE, TYPE one of {", ".join(RUNTIMES)}, or give '
                  '--tpu_runtime too')
  if not re.fullmatch(r'[a-z]([-a-z0-9]*[a-z0-9])?', FLAGS.tpu_name):
    raise Problem(f'--tpu_name={FLAGS.tpu_name}: lower-case letters, digits and dashes, please')
  if FLAGS.tpu_slices > 1 and not FLAGS.tpu_queued:
    raise Problem(f'--tpu_slices={FLAGS.tpu_slices}: several slices are requested together: add --tpu_queued')
  workdir = PurePosixPath(flag_value(flags_of_train, 'workdir'))
  if workdir.is_absolute() or '..' in workdir.parts or str(workdir).startswith('~') or workdir == PurePosixPath('.'):
    raise Problem(f'--workdir={workdir}: is made below the checkout on worker 0, and copied here: name it without a '
                  'leading / or ~, as in runs/pod')
  shared = (flag_value(flags_of_train, 'checkpoint_dir') or '').startswith('gs://')
  if not shared and '--nocheckpoints' not in flags_of_train:
    raise Problem('--checkpoint_dir=gs://BUCKET/RUN is missing after --: the workers have no disk in common; or give '
                  '--nocheckpoints, and a run that was preempted begins again')
