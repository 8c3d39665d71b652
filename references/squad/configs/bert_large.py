"""BERT large, uncased, fine-tuned on SQuAD to F1 0.90874, the accuracy of the model that MLPerf's inference runs.

As `bert_base.py`, from a safetensors file of google-bert/bert-large-uncased; the recipe is BERT's own (its README:
learning rate 3e-5, batch 24, two epochs, 90.9 F1). Layers are computed again in the backward pass, which saves memory.
Not run from such weights yet: they were not at hand, and a GPU for a quarter of an hour only.

  python -m launchers.prepare --dataset=squad --vocab=vocab.txt
  python -m launchers.train --config=references/squad/configs/bert_large.py --workdir=runs/bert_large \\
      --config.init_from=model.safetensors
"""
from references.squad.bert_task import Config


def get_config() -> Config:
  return Config(
      init_from='model.safetensors',
      num_layers=24,
      width=1024,
      num_heads=16,
      feed_forward=4096,
      batch_size=24,
      learning_rate=3e-5,
      num_epochs=2.0,
      gradient_checkpointing=True,
      target_f1=0.90874,
  )
