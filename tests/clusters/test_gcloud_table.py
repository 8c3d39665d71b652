"""The judge of gcloud commands, by commands that its documentation gives as examples, and by wrong ones."""
import shlex

import pytest

from tests.clusters import gcloud


@pytest.mark.parametrize('words', [
    "tpu-vm create my-tpu --zone=us-central1-a --accelerator-type=v2-32 --description='My TPU VM' --version=v2-alpha",
    'tpu-vm create my-tpu --version=v2-alpha --type=v4 --topology=2x2x2 --spot --project=mine -q',
    "tpu-vm ssh my-tpu --command='last boot' --worker=all", 'tpu-vm ssh me@my-tpu --zone=a -- -vvv --anything',
    'tpu-vm scp my-file other-file my-tpu: --worker=all', 'tpu-vm scp my-folder/ my-tpu: --recurse --compress',
    'tpu-vm delete my-tpu --zone=us-central1-b --quiet', 'tpu-vm describe my-tpu --zone=a --format=value(state)',
    'tpu-vm list --zone=us-central1-b --filter=state:READY',
    'queued-resources create q --accelerator-type=v4-8 --runtime-version=v2-alpha-tpuv4 --node-id=n --zone=z',
    'queued-resources create q --type=v4 --topology=2x2x1 --runtime-version=r --node-count=2 --node-prefix=n',
    'queued-resources ssh q --command=ls --worker=all --node=all --batch-size=4 --output-directory=logs',
    'queued-resources scp f q: --worker=all --node=all', 'queued-resources delete q --force --async',
    'queued-resources describe q --zone=z', 'queued-resources list --limit=3 --uri'])
def test_right_commands_pass(words):
  assert gcloud.problems(['gcloud', 'compute', 'tpus', *shlex.split(words)]) == []


@pytest.mark.parametrize('words, said', [
    ('tpu-vm make a', 'no such command'), ('tpu-vm', 'no such command'), ('list', 'no such command'),
    ('tpu-vm create a --zone=z', '--version: is missing'), ('tpu-vm create --version=v', '0 names'),
    ('tpu-vm create a --version=v --accelerator-type=t --topology=2x2 --type=v4', 'give at most one of'),
    ('tpu-vm create a --version=v --accelerator-type=t --topology=2x2', 'give at most one of'),
    ('tpu-vm create a --version=v --topology=2x2', '--topology: wants --type too'),
    ('tpu-vm create a --version=v --guaranteed', '--guaranteed: not documented'),
    ('tpu-vm create a --version=', '--version: wants a value'), ('tpu-vm create a --version v', '--version: wants a'),
    ('tpu-vm create a --version=v --spot=', '--spot: takes no value'),
    ('tpu-vm create a --version=v --verison=v', '--verison: not documented'),
    ('tpu-vm ssh', '0 names'), ('tpu-vm ssh a ls', '2 names'), ('tpu-vm ssh a --batch-size=4', '--batch-size: not'),
    ('tpu-vm ssh a --ssh-key-expiration=a --ssh-key-expire-after=b', '--ssh-key-expiration | --ssh-key-expire-after'),
    ('tpu-vm scp a: --recurse', '1 names'), ('tpu-vm scp a b --', '--: not documented'),
    ('tpu-vm describe a b', '2 names'), ('tpu-vm list a', '1 names'), ('tpu-vm delete a --filter=b', '--filter: not'),
    ('queued-resources create q --runtime-version=r --node-id=n', 'give one of --accelerator-type | --topology --type'),
    ('queued-resources create q --accelerator-type=t --node-id=n', '--runtime-version: is missing'),
    ('queued-resources create q --runtime-version=r --accelerator-type=t', 'give one of --node-id'),
    ('queued-resources create q --runtime-version=r --accelerator-type=t --node-id=n --node-count=2', 'give one of'),
    ('queued-resources create q --runtime-version=r --accelerator-type=t --node-id=n --node-prefix=p', 'give one of'),
    ('queued-resources create q --runtime-version=r --accelerator-type=t --node-prefix=p', 'wants --node-count too'),
    ('queued-resources create q --version=v', '--version: not documented'),
    ('queued-resources ssh q --output-directory=d', '--output-directory: wants --command too'),
    ('queued-resources ssh q --internal-ip --tunnel-through-iap', '--internal-ip | --tunnel-through-iap'),
    ('queued-resources delete q --force=true', '--force: takes no value'), ('queued-resources delete', '0 names')])
def test_wrong_ones_are_refused_by_name(words, said):
  found = gcloud.problems(['gcloud', 'compute', 'tpus', *words.split()])
  assert any(said in problem for problem in found), found


def test_another_program_is_no_gcloud():
  assert gcloud.problems(['gsutil', 'compute', 'tpus', 'tpu-vm', 'list']) and gcloud.problems([])


def test_what_the_table_says_of_flags_is_said_of_documented_ones():
  for name, entry in gcloud.TABLE['commands'].items():
    assert entry['source'] == 'https://cloud.google.com/sdk/gcloud/reference/' + name.replace(' ', '/')
    named = {*entry.get('required', ()), *entry.get('needs', {}), *entry.get('needs', {}).values()}
    for group in (*entry.get('one_of', ()), *entry.get('at_most_one_of', ())):
      named.update(*group)
    assert named <= set(entry['flags']), name
