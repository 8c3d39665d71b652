"""Seconds of a fine-tuning step of BERT on made-up sequences, against transformers' in torch, on this machine.

  python -m benchmarks.squad [--model=base] [--batch_size=N] [--length=384] [--layers=N] [--dtype=D] [--steps=N]
                             [--turns=7]

Both run the forward and backward pass and AdamW, dropout on, float32 parameters, on the same padded sequences, on the
accelerator if there is one (torch needs to see it too), else on the CPU. On an accelerator torch is compiled; its
attention is its scaled_dot_product_attention (flash attention where that applies). The two take turns, in one process,
so what launchers.train does about memory (launchers/memory.py) holds for both. The peer needs the extra `peers`.
"""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import extras, turns
from benchmarks.report import report
from launchers import command
from references.squad.configs import bert_base, bert_large
from tests.references import vision_ops

FLAGS = flags.FLAGS
turns.define_flags('sequences', (4, 32), 20)
flags.DEFINE_integer('length', 384, 'word pieces a sequence is padded to', lower_bound=64)
flags.DEFINE_enum('model', 'base', ['base', 'large'], 'which BERT')
flags.DEFINE_integer('layers', None, "layers; default: the model's", lower_bound=1)


def sized():
  """The config of ours, from which the peer takes its sizes; keeps what is inside layers, as the peer does."""
  config = {'base': bert_base, 'large': bert_large}[FLAGS.model].get_config()
  return dataclasses.replace(config, init_from='', num_layers=FLAGS.layers or config.num_layers,
                             gradient_checkpointing=False, batch_size=FLAGS.batch_size, compute_dtype=FLAGS.dtype,
                             buckets=(FLAGS.length,))


def ours(batch):
  """Ours, as a turn."""
  return turns.ours(sized().make_task(''), batch, FLAGS.length)


def theirs(batch):
  """The same of transformers' network."""
  import torch
  vision_ops.declare(torch)
  import transformers
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  mine = sized()
  config = transformers.BertConfig(
      num_hidden_layers=mine.num_layers, hidden_size=mine.width, num_attention_heads=mine.num_heads,
      intermediate_size=mine.feed_forward, attn_implementation='sdpa')
  net = transformers.BertForQuestionAnswering(config).to(device).train()
  torch.set_float32_matmul_precision('high')  # on GPUs TF32, as jax has it by default
  optimizer = torch.optim.AdamW(net.parameters(), lr=3e-5, weight_decay=0.01, fused=True)
  tensor = lambda name: torch.tensor(batch[name]).long().to(device)
  inputs = {'input_ids': tensor('tokens'), 'token_type_ids': tensor('types'), 'attention_mask': tensor('valid'),
            'start_positions': tensor('start'), 'end_positions': tensor('end')}

  def loss():
    with torch.autocast(device, torch.bfloat16, enabled=FLAGS.dtype == 'bfloat16'):
      return net(**inputs).loss
  compiled = torch.compile(loss) if device == 'cuda' else loss

  def turn(steps):
    for _ in range(steps):
      optimizer.zero_grad(set_to_none=True)
      compiled().backward()
      torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
      optimizer.step()
    if device == 'cuda':
      torch.cuda.synchronize()
  return turn


def main() -> int:
  extras.need('peers', 'torch', 'transformers')
  turns.begin()
  size, length = FLAGS.batch_size, FLAGS.length
  rng = np.random.default_rng(0)
  real = rng.integers(length // 2, length + 1, size)
  batch = {'tokens': rng.integers(1000, 30_000, (size, length), dtype=np.int32),
           'types': (np.arange(length)[None] > 16).astype(np.int32) + np.zeros((size, 1), np.int32),
           'valid': np.arange(length)[None] < real[:, None],
           'start': rng.integers(20, length // 2, size).astype(np.int32)}
  batch['end'] = batch['start'] + 2
  seconds = turns.seconds_a_step([make(batch) for make in (ours, theirs)], FLAGS.steps, FLAGS.turns)
  report('squad', ours=seconds[0], peer=seconds[1], peer_name='transformers BertForQuestionAnswering in torch',
         unit='s/step', examples_per_second=[round(size / float(np.median(s)), 2) for s in seconds], batch_size=size,
         what=FLAGS.model, length=length, layers=sized().num_layers, dtype=jnp.dtype(FLAGS.dtype).name,
         device=jax.devices()[0].device_kind)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
