"""What is given to Kubernetes and to gcloud: held against their schemas and documentation, and run with stand-ins."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from scoring import tape as tapes
from tests.changing import GONE
from tests.clusters import gcloud, manifests
from tests.launchers.running import launch, one_line

GOLDEN = Path(__file__).parent / 'golden'
CONFIG = '--config=tests/launchers/bare.py'
GKE = ('--cluster=gke', '--gke_image=registry.example/daybreak:1', '--gke_claim=shared')
TPU = ('--cluster=tpu_vm', '--tpu_zone=us-west4-a')
SHARED = ('--checkpoint_dir=gs://bucket/run',)
PLANS = {
    'gke_tpu': ((*GKE, '--gke_tpu=tpu-v5-lite-podslice', '--gke_topology=4x4'), '/data/runs/a', ()),
    'gke_multislice': ((*GKE, '--gke_tpu=tpu-v5p-slice', '--gke_topology=2x2x4', '--gke_slices=2', '--gke_queue=team',
                        '--gke_spot', '--gke_priority_class=high', '--gke_service_account=trainer',
                        '--gke_name=two-slices', '--gke_namespace=research'), '/data/runs/a',
                       ('--config.image_sizes=(32,)', '--data_dir=/data/sets')),
    'gke_gpu': ((*GKE, '--gke_gpu=nvidia-h100-80gb', '--gke_nodes=2'), '/data/runs/a', ('--organization=A $(HOME) b',)),
    'tpu_vm': ((*TPU, '--tpu_type=v5litepod-16'), 'runs/a', SHARED),
    'tpu_vm_queued': ((*TPU, '--tpu_type=v6e-256', '--tpu_queued', '--tpu_slices=2', '--tpu_spot', '--tpu_keep',
                       '--tpu_project=mine', '--tpu_name=two'), 'runs/a', (*SHARED, '--config.image_sizes=(32,)'))}
HOSTILE = "it's \"$(touch broken)\" `touch broken` $HOME \\ * ;#"


def dry_run(flags, workdir, flags_of_train):
  done = launch('pod', *flags, '--dry_run', '--', CONFIG, f'--workdir={workdir}', *flags_of_train)
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.parametrize('name', PLANS)
def test_what_would_run_is_what_it_was(name):
  text = dry_run(*PLANS[name]).replace(str(tapes.ROOT), '/checkout')
  assert text == (GOLDEN / f'{name}.txt').read_text()


def test_a_folder_of_this_machine_is_none_of_a_clusters(tmp_path):
  (tmp_path / 'train').mkdir()
  flags, _, more = PLANS['gke_tpu']
  assert f'--workdir={tmp_path}' in dry_run((*flags, f'--gke_mount={tmp_path.parent}'), tmp_path, more)


# -- GKE

def jobset(flags=PLANS['gke_multislice'][0]) -> dict:
  """The manifest of a plan."""
  text = dry_run(flags, '/data/runs/a', ())
  return yaml.safe_load(text[:text.rindex('$ kubectl')])


@pytest.mark.parametrize('name', [name for name in PLANS if name.startswith('gke')])
def test_manifests_are_what_kubernetes_takes(name):
  assert manifests.problems(jobset(PLANS[name][0])) == []


WRONG = [  # where, what to put there (None: take it away), what is said
    ('apiVersion', 'jobset.x-k8s.io/v1', 'apiVersion'), ('kind', 'Jobset', 'kind'), ('metadata.nmae', 'x', 'nmae'),
    ('metadata.name', 'Two', 'metadata.name'), ('metadata.labels.a', 1, 'labels'), ('metadata', None, 'metadata'),
    ('spec.replicatedJob', [], 'replicatedJob'), ('spec.replicatedJobs', None, 'replicatedJobs'),
    ('spec.network.enableDnsHostnames', True, 'enableDnsHostnames'),
    ('spec.failurePolicy.maxRestarts', '10', 'maxRestarts'),
    ('spec.failurePolicy.restartStrategy', 'Restart', 'restartStrategy'),
    ('spec.failurePolicy.rules.0.action', 'Fail', 'action'),
    ('spec.failurePolicy.rules.0.onJobFailureReasons.0', 'Preempted', 'onJobFailureReasons'),
    ('spec.replicatedJobs.0.replicas', '2', 'replicas'), ('spec.replicatedJobs.0.name', None, 'name'),
    ('spec.replicatedJobs.0.template.spec.completion', 4, 'completion'),
    ('spec.replicatedJobs.0.template.spec.completionMode', 'NonIndexed', 'completionMode'),
    ('spec.replicatedJobs.0.template.spec.parallelism', '4', 'parallelism'),
    ('spec.replicatedJobs.0.template.spec.completions', 3, 'completions'),
    ('spec.replicatedJobs.0.template.spec.template', None, 'template'),
    ('spec.replicatedJobs.0.template.spec.podFailurePolicy.rules.0.onExitCodes.operator', None, 'operator'),
    ('spec.replicatedJobs.0.template.spec.template.spec.nodeSelectors', {}, 'nodeSelectors'),
    ('spec.replicatedJobs.0.template.spec.template.spec.restartPolicy', 'OnFailure', 'restartPolicy'),
    ('spec.replicatedJobs.0.template.spec.template.spec.containers.0.imgae', 'x', 'imgae'),
    ('spec.replicatedJobs.0.template.spec.template.spec.containers.0.command', 'python', 'command'),
    ('spec.replicatedJobs.0.template.spec.template.spec.containers.0.resources.limit', {}, 'limit'),
    ('spec.replicatedJobs.0.template.spec.template.spec.containers.0.volumeMounts.0.name', 'other', 'other'),
    ('spec.replicatedJobs.0.template.spec.template.spec.tolerations.0.key', 1, 'key')]


def test_a_wrong_manifest_is_refused():
  right = jobset()
  for path, value, said in WRONG:
    found = manifests.problems(manifests.changed(right, path, GONE if value is None else value))
    assert found and any(said in problem for problem in found), (path, value, found)


@pytest.mark.parametrize('flags, machines, limits', [
    (PLANS['gke_tpu'][0], 4, {'google.com/tpu': 4}), (PLANS['gke_multislice'][0], 4, {'google.com/tpu': 4}),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=1x1'), 1, {'google.com/tpu': 1}),
    ((*GKE, '--gke_tpu=tpu-v4-podslice', '--gke_topology=2x2x1'), 1, {'google.com/tpu': 4}),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=2x4'), 2, {'google.com/tpu': 4}),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=2x4', '--gke_chips_per_machine=8'), 1, {'google.com/tpu': 8}),
    ((*GKE, '--gke_tpu=tpu-v5-lite-podslice', '--gke_topology=16x16'), 64, {'google.com/tpu': 4}),
    (PLANS['gke_gpu'][0], 2, {'nvidia.com/gpu': 8})])
def test_one_process_for_each_machine(flags, machines, limits):
  made = jobset(flags)
  assert manifests.problems(made) == []
  job = made['spec']['replicatedJobs'][0]['template']['spec']
  assert job['completions'] == machines
  assert job['template']['spec']['containers'][0]['resources']['limits'] == limits


@pytest.mark.parametrize('flags', [('--gke_tpu=tpu-v6e-slice', '--gke_topology=2x2'), ('--gke_gpu=nvidia-l4',)])
def test_a_machine_alone_looks_for_no_others(flags):
  text = dry_run((*GKE, *flags), '/data/runs/a', ())
  container = yaml.safe_load(text[:text.rindex('$ kubectl')])['spec']['replicatedJobs'][0]['template']['spec'][
      'template']['spec']['containers'][0]
  assert container['args'] == [CONFIG, '--workdir=/data/runs/a'] and 'env' not in container


# -- TPU VM

def script(tmp_path, name='tpu_vm', *more, workdir='runs/a') -> Path:
  flags, _, flags_of_train = PLANS[name]
  text = dry_run(flags, workdir, (*flags_of_train, *more))
  path = tmp_path / 'script.sh'
  path.write_text(text[text.index('#!/usr'):text.rindex('$ bash ')])
  return path


# Notes how it was called, and then does what the test says.
STAND_IN = '''#!/usr/bin/env python3
import json, os, subprocess, sys, time
with open(os.environ['CALLS'], 'a') as file:
  file.write(json.dumps(sys.argv) + '\\n')
behaviour = json.loads(os.environ['BEHAVIOUR'])
verb = sys.argv[4]
command = next((a[10:] for a in sys.argv if a.startswith('--command=')), '')
calls = [json.loads(line) for line in open(os.environ['CALLS'])]
if verb == 'describe':
  if not (behaviour.get('there') or any(c[4] == 'create' for c in calls)):
    sys.exit(1)
  states = behaviour.get('states', ['ACTIVE'])
  print(states[min(sum(c[4] == 'describe' for c in calls) - 1, len(states)) - 1])
trains = [c[5] for c in calls if 'launchers.train' in json.dumps(c)]
if 'launchers.train' in command:
  time.sleep(behaviour.get('seconds', 0))
  while len(trains) < behaviour.get('together', 1):
    time.sleep(0.01)
    trains = [line for line in open(os.environ['CALLS']) if 'launchers.train' in line]
  home = os.environ['WORKER'] + '/' + sys.argv[5]
  os.makedirs(home + '/daybreak/.venv/bin', exist_ok=True)
  with open(home + '/daybreak/.venv/bin/python', 'w') as file:
    file.write('#!/usr/bin/env python3\\nimport json, os, sys\\n'
               'json.dump(sys.argv[1:], open(os.environ["TRAINED"], "w"))\\n')
  os.chmod(home + '/daybreak/.venv/bin/python', 0o755)
  sys.exit(subprocess.run(['bash', '-c', command], cwd=home).returncode)
if command.startswith('cat'):
  print(behaviour.get('statuses', [0])[trains.count(sys.argv[5]) - 1])
sys.exit(1 if verb == behaviour.get('fails') else 0)
'''


def begin(command: Path | list[str], tmp_path: Path, **behaviour):
  """The script, or a command, with a gcloud that is none; it runs what a worker would."""
  (tmp_path / 'bin').mkdir()
  (tmp_path / 'worker').mkdir()
  (tmp_path / 'temporary').mkdir()
  (tmp_path / 'bin' / 'gcloud').write_text(STAND_IN)
  (tmp_path / 'bin' / 'gcloud').chmod(0o755)
  env = {**os.environ, 'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'CALLS': str(tmp_path / 'calls'),
         'BEHAVIOUR': json.dumps(behaviour), 'WORKER': str(tmp_path / 'worker'), 'POLL_SECONDS': '0.01',
         'TRAINED': str(tmp_path / 'trained.json'), 'TMPDIR': str(tmp_path / 'temporary'),
         'PYTHONPATH': str(tapes.ROOT)}
  return subprocess.Popen(['bash', command] if isinstance(command, Path) else command, env=env, cwd=tmp_path, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def verbs(tmp_path) -> list[str]:
  calls = [json.loads(line) for line in (tmp_path / 'calls').read_text().splitlines()]
  for call in calls:
    assert gcloud.problems(['gcloud', *call[1:]]) == []
  assert calls[0][4] == 'describe'  # whether there is one of that name
  return [call[4] for call in calls[1:]]


ONE = ['create', 'scp', 'ssh', 'ssh', 'ssh', 'scp']  # create, copy, install, train, its status, collect


@pytest.mark.parametrize('behaviour, status, expected', [
    ({}, 0, [*ONE, 'delete']), ({'statuses': [3]}, 3, [*ONE, 'delete']), ({'statuses': [1]}, 1, [*ONE, 'delete']),
    ({'statuses': [75, 76, 0]}, 0, [*ONE, 'delete'] * 3), ({'statuses': [75] * 3}, 75, [*ONE, 'delete'] * 3),
    ({'statuses': [137, 0]}, 0, [*ONE, 'delete'] * 2), ({'statuses': [130]}, 130, [*ONE, 'delete']),
    ({'fails': 'create'}, 1, ['create', 'delete'] * 3), ({'fails': 'scp'}, 1, ['create', 'scp', 'delete'] * 3),
    ({'fails': 'delete'}, 0, [*ONE, 'delete'])])
def test_machines_are_created_used_and_deleted_whatever_happens(behaviour, status, expected, tmp_path):
  process = begin(script(tmp_path), tmp_path, **behaviour)
  out, err = process.communicate(timeout=60)
  assert process.returncode == status, err
  assert verbs(tmp_path) == expected
  assert ('NOT DELETED' in err) == (behaviour.get('fails') == 'delete')


def test_machines_that_are_there_already_are_left_alone(tmp_path):
  process = begin(script(tmp_path), tmp_path, there=True)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 1 and 'daybreak: is there already' in err and verbs(tmp_path) == []


def test_without_gcloud_nothing_is_tried(tmp_path):
  path = script(tmp_path)
  (tmp_path / 'bin').mkdir()
  for name in ('git', 'mktemp', 'rm'):
    (tmp_path / 'bin' / name).symlink_to(shutil.which(name))
  done = subprocess.run([shutil.which('bash'), path], env={'PATH': f'{tmp_path}/bin'}, capture_output=True, text=True)
  assert done.returncode == 1 and done.stderr.splitlines()[-1] == 'tpu_vm: gcloud: is not installed here', done.stderr


@pytest.mark.parametrize('whole, send, number, status', [
    (False, os.kill, signal.SIGTERM, 143), (False, os.kill, signal.SIGINT, 130), (False, os.killpg, signal.SIGINT, 130),
    (True, os.kill, signal.SIGTERM, 143), (True, os.killpg, signal.SIGINT, 130)])
def test_machines_are_deleted_at_once_when_training_is_ended(whole, send, number, status, tmp_path):
  """By a signal to the script or to launchers.pod; killpg as a terminal's Ctrl-C."""
  flags, workdir, more = PLANS['tpu_vm']
  (tmp_path / 'tests').symlink_to(tapes.ROOT / 'tests')  # --config is looked for where the command is typed
  process = begin([sys.executable, '-m', 'launchers.pod', *flags, '--', CONFIG, f'--workdir={workdir}', *more] if whole
                  else script(tmp_path), tmp_path, seconds=300)
  while 'launchers.train' not in ((tmp_path / 'calls').read_text() if (tmp_path / 'calls').exists() else ''):
    assert process.poll() is None, process.communicate()
    time.sleep(0.01)
  send(process.pid, number)
  _, err = process.communicate(timeout=30)  # nor does a child keep its output open
  assert process.returncode == status, err
  assert verbs(tmp_path)[-1] == 'delete' and not list((tmp_path / 'temporary').iterdir())


@pytest.mark.parametrize('states, end', [(['WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'], 0), (['FAILED'], 1)])
def test_a_queued_resource_is_waited_for(states, end, tmp_path):
  process = begin(script(tmp_path, 'tpu_vm_queued'), tmp_path, states=states)
  _, err = process.communicate(timeout=60)
  assert process.returncode == end, err
  assert verbs(tmp_path).count('describe') == 3  # until it is ACTIVE, or once in each attempt
  assert ('delete' in verbs(tmp_path)) == (end == 1)  # --tpu_keep keeps what was trained on


def test_all_slices_train_at_once(tmp_path):
  process = begin(script(tmp_path, 'tpu_vm_queued'), tmp_path, together=2)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert verbs(tmp_path) == ['create', 'describe', *['scp'] * 2, *['ssh'] * 5, 'scp']  # kept, so not deleted
  calls = [json.loads(line) for line in (tmp_path / 'calls').read_text().splitlines()]
  assert sorted(call[5] for call in calls if call[4] == 'ssh') == ['two-0'] * 3 + ['two-1'] * 2
  assert calls[-1][5:7] == ['two-0:daybreak/runs/a', 'runs']


def test_flags_arrive_as_they_were_given(tmp_path):
  given = (f'--organization={HOSTILE}', '--config.image_sizes=(32, )')
  process = begin(script(tmp_path, 'tpu_vm', *given), tmp_path)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert json.loads((tmp_path / 'trained.json').read_text()) == [
      '-m', 'launchers.train', CONFIG, '--workdir=runs/a', *SHARED, *given, '--distributed']
  assert not list(tmp_path.rglob('broken'))


# -- what does not fit

@pytest.mark.parametrize('flags, workdir, more, said', [
    (('--cluster=gke', '--gke_claim=a'), '/data/a', (), '--gke_image is missing'),
    (('--cluster=gke', '--gke_image=a'), '/data/a', (), '--gke_claim is missing'),
    (GKE, '/data/a', (), 'either --gke_tpu'),
    ((*GKE, '--gke_tpu=tpu-v5e', '--gke_topology=4x4'), '/data/a', (), 'not one of tpu-v4-podslice'),
    ((*GKE, '--gke_tpu=tpu-v5p-slice', '--gke_topology=4x4'), '/data/a', (), 'a tpu-v5p-slice has 2x2x1, '),
    ((*GKE, '--gke_tpu=tpu-v6e-slice'), '/data/a', (), '--gke_topology is missing'),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=3x3'), '/data/a', (), 'has 1x1, 2x2, 2x4'),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=2x2', '--gke_slices=2'), '/data/a', (), 'several machines each'),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=4x4', '--gke_chips_per_machine=8'), '/data/a', (), 'not 4x4'),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=2x4', '--gke_chips_per_machine=8', '--gke_slices=2'), '/data/a',
     (), 'several machines each'),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=2x2'), 'runs/a', (), 'would be lost with its pod'),
    ((*GKE, '--gke_tpu=tpu-v6e-slice', '--gke_topology=2x2', '--gke_name=My_run'), '/data/a', (), '--gke_name=My_run'),
    ((*GKE, '--gke_gpu=nvidia-l4'), '/data/../tmp/a', (), 'would be lost with its pod'),
    ((*GKE, '--gke_gpu=nvidia-l4', '--gke_name=2slices'), '/data/a', (), '--gke_name=2slices'),
    ((*GKE, '--gke_gpu=nvidia-l4', '--gke_queue=my queue'), '/data/a', (), '--gke_queue=my queue'),
    ((*GKE, '--gke_gpu=nvidia-l4', f'--gke_name={"a" * 60}'), '/data/a', (), 'short enough'),
    (TPU, 'runs/a', SHARED, '--tpu_type is missing'),
    (('--cluster=tpu_vm', '--tpu_type=v5p-8'), 'runs/a', SHARED, '--tpu_zone is missing'),
    ((*TPU, '--tpu_type=v5e-16'), 'runs/a', SHARED, 'one of v4, v5litepod'),
    ((*TPU, '--tpu_type=v5p-8', '--tpu_slices=2'), 'runs/a', SHARED, 'add --tpu_queued'),
    ((*TPU, '--tpu_type=v5p-8', '--tpu_name=A'), 'runs/a', SHARED, '--tpu_name=A'),
    ((*TPU, '--tpu_type=v5p-8'), '/runs/a', SHARED, 'without a leading /'),
    ((*TPU, '--tpu_type=v5p-8'), 'runs/a', (), 'no disk in common')])
def test_what_does_not_fit_is_told_in_a_line(flags, workdir, more, said):
  done = launch('pod', *flags, '--dry_run', '--', CONFIG, f'--workdir={workdir}', *more)
  assert done.returncode == 1 and said in one_line(done.stderr), done.stderr


def test_a_program_that_is_not_here_is_told_in_a_line(tmp_path):
  done = launch('pod', *PLANS['gke_tpu'][0], '--', CONFIG, '--workdir=/data/a', env={'PATH': str(tmp_path)})
  assert done.returncode == 1 and 'kubectl: is not installed here' in one_line(done.stderr)
