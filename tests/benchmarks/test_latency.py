"""The benchmark of latency tells what it could not measure."""
import json
import os
import subprocess
import sys


def test_peers_that_are_missing_are_named_and_ours_is_measured(tmp_path):
  for name in ('torch', 'onnxruntime'):
    (tmp_path / f'{name}.py').write_text("raise ImportError('not here')\n")
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(tmp_path)}
  ran = subprocess.run([sys.executable, '-m', 'benchmarks.latency', '--references=digits', '--dtypes=float32',
                        '--turns=2', '--seconds=0.05'], env=environment, capture_output=True, text=True, check=True)
  lines = [json.loads(line) for line in ran.stdout.splitlines()]
  assert [line['scenario'] for line in lines] == ['single_stream', 'offline']
  for line in lines:
    assert line['not_measured'] == {'torch.compile default': 'ImportError: not here',
                                    'onnxruntime': 'ImportError: not here'}
    assert line['peer'] is line['peer_name'] is line['ratio'] is None
    assert line['n'] == 2 and len(line['spread']) == 1 and line['ours'] > 0
    assert list(line['milliseconds']) == ['ours'] and list(line['milliseconds']['ours']) == ['p50', 'p90', 'p99']
