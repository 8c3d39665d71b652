"""CIFAR-10 to 94 % with Muon: 8 epochs, 200 steps of 2,000.

The recipe is K. Jordan's (airbench94_muon.py in github.com/KellerJordan/cifar10-airbench), whose mean over 200 runs was
94.01 %, so every other run misses the target. Declares test-time augmentation: six views of each test image. It differs
from the source as airbench94.py's letter says.

No run of it at full length has been published here yet; `make test-peers` compares it step by step, and its first
epoch, with the recipe in torch.

  python -m launchers.prepare --dataset=cifar10
  python -m launchers.train --config=references/cifar/configs/airbench94_muon.py --workdir=runs/airbench94_muon
"""
from references.cifar.cifar10 import Config

BATCH_SIZE = 2000  # the source sums its loss over the batch, so its rates and its weight decay are so much smaller


def get_config() -> Config:
  return Config(
      batch_size=BATCH_SIZE,
      num_epochs=8.0,
      optimizer='muon',
      learning_rate=0.24,
      head_learning_rate=0.67 * BATCH_SIZE,
      norm_learning_rate=0.053 * BATCH_SIZE,
      whitening_learning_rate=0.053 * BATCH_SIZE,
      whitening_epochs=3.0,
      warmup_fraction=0.0,
      final_fraction=0.0,
      momentum=0.85,
      muon_momentum=0.6,
      muon_coefficients=(3.4445, -4.7750, 2.0315),
      weight_decay=2e-6 * BATCH_SIZE,
      label_smoothing=0.2,
      test_time_augmentation='mirror_translate',
  )
