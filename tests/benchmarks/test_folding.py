"""The benchmark of folding, on a training of the embedded digits in bfloat16."""
import json
import os
import subprocess
import sys


def test_answers_are_compared_with_the_evaluations_and_with_float32s(tmp_path):
  def run(*command):
    ran = subprocess.run([sys.executable, '-m', *command, f'--workdir={tmp_path / "run"}'],
                         env={**os.environ, 'JAX_PLATFORMS': 'cpu'}, capture_output=True, text=True)
    assert not ran.returncode, ran.stderr
    return ran.stdout.splitlines()
  run('launchers.train', '--config=references/cifar/configs/digits.py', '--config.num_epochs=1',
      '--config.compute_dtype=bfloat16', '--config.target_accuracy=0.0')
  *told, line = run('benchmarks.folding')
  found = json.loads(line)
  total, others = found['num_images'], found['others_than_in_float32']
  assert told[0].startswith(f"{found['changed']} of {total} answers changed") and found['compute_dtype'] == 'bfloat16'
  assert list(found['accuracies']) == ['folded', 'as trained', 'float32'] and list(others) == ['folded', 'as trained']
  assert all(0 <= count <= total // 20 for count in (found['changed'], *others.values()))
  assert found['changed'] <= sum(others.values()), 'what changed is another than in float32 on one side at least'
