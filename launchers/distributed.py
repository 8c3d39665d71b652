"""How a training process joins a pod, and what it compares with the others before anything is trained."""
import hashlib
import os
import secrets
from pathlib import Path

from absl import flags

from launchers import checkout, header
from scoring.problem import Problem
from training import config as configs
from training.pod import Pod, join

FLAGS = flags.FLAGS
flags.DEFINE_bool('distributed', False, 'this is one of several processes; JAX finds the others under Slurm, Kubernetes'
                  ' and Open MPI and on Cloud TPUs; elsewhere the next three flags name them')
flags.DEFINE_string('coordinator_address', '', 'HOST:PORT at which process 0 can be reached')
flags.DEFINE_integer('num_processes', None, 'how many processes there are', lower_bound=1)
flags.DEFINE_integer('process_id', None, 'which of them this is, from 0', lower_bound=0)
flags.DEFINE_float('start_timeout_seconds', 300, 'how long to wait for all processes to come', lower_bound=1)
flags.DEFINE_float('peer_timeout_seconds', 30, 'a process that is silent for so long is lost, and the others end',
                   lower_bound=3)
flags.DEFINE_float('stall_seconds', 120, 'report when nothing has moved for so long', lower_bound=1)
SAME = ('checkpoints', 'checkpoint_dir', 'checkpoint_every_steps', 'keep_checkpoints', 'log_every_steps', 'profile',
        'eval_only')


def pod(asked_to_stop: list) -> Pod:
  """The pod that this process belongs to, by the flags."""
  names = ('coordinator_address', 'num_processes', 'process_id')
  named = [name for name in names if FLAGS[name].value not in ('', None)]
  if named and not FLAGS.distributed:
    raise Problem(f'--{named[0]}: is for one of several processes; add --distributed')
  if not FLAGS.distributed:
    return Pod(asked_to_stop)
  return join(FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id,
              start_seconds=FLAGS.start_timeout_seconds, timeout_seconds=FLAGS.peer_timeout_seconds,
              stall_seconds=FLAGS.stall_seconds, asked_to_stop=asked_to_stop)


def check_alike(members: Pod, config):
  """Raises Problem in all processes unless they run the same code by the same config and flags."""
  if members.count > 1:  # reading all the code is not for every start
    lines = dict(line.split(' = ', 1) for line in configs.to_text(config).splitlines())
    members.alike({**{f'config.{name}': value for name, value in lines.items()},
                   **{f'--{name}': str(FLAGS[name].value) for name in SAME},
                   **header.versions(), 'code sha256': checkout.code_sha256(),
                   'config file sha256': hashlib.sha256(Path(FLAGS.config).read_bytes()).hexdigest()})


def check_data_alike(members: Pod, task):
  """Raises Problem in all processes unless they have the same data."""
  members.alike({f'{split} data': str(data.fingerprint) for split, data in task.data.items()})


def check_shared(members: Pod, directory):
  """Raises Problem in all processes unless all of them see the same `directory` for checkpoints."""
  if members.count == 1:
    return
  from etils import epath
  mark = epath.Path(directory) / f'.shared-{members.first_says(secrets.token_hex(8))}'

  def make():
    if not members.index:
      try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text('')
      except Exception as error:  # whatever the file system's library raises
        raise Problem(f'{directory}: cannot keep checkpoints there ({error}); name another --checkpoint_dir') from error

  def look():
    try:
      os.listdir(directory) if '://' not in str(directory) else None  # so that NFS looks again
      seen = mark.exists()
    except Exception:
      seen = False
    if not seen:
      raise Problem(f'{directory}: is not the folder that process 0 sees; name a --checkpoint_dir that all processes '
                    'share (NFS, gs://...), or give --nocheckpoints')

  try:
    members.check(make)
    members.check(look)
  finally:
    if not members.index:
      mark.unlink(missing_ok=True)
