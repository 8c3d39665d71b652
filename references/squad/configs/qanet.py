"""SQuAD from nothing, for one GPU: the QANet-like reader at full size, no word vectors, towards F1 0.75.

DAWNBench's target. Nobody is known to have reached it without pretrained vectors, and neither has this config yet: a
GPU was at hand for a quarter of an hour only, so no run of it has been published. Sizes and Adam's betas are QANet's
(Yu et al., arXiv 1804.09541); batch size, schedule, decay, word dropout and the features of the question are choices,
not measurements.

  python -m launchers.prepare --dataset=squad
  python -m launchers.train --config=references/squad/configs/qanet.py --workdir=runs/qanet
"""
from references.squad.task import Config


def get_config() -> Config:
  return Config(
      batch_size=64,
      num_words=30_000,
      word_width=128,
      char_width=96,
      width=128,
      num_heads=8,
      encoder_convs=4,
      model_blocks=7,
      model_convs=2,
      passes=3,
      dropout=0.15,
      word_dropout=0.05,
      average_decay=0.9995,
      learning_rate=1e-3,
      weight_decay=0.01,
      num_epochs=20.0,
      target_f1=0.75,
  )
