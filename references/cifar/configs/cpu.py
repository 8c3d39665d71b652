"""CIFAR-10 to 94 % on a laptop.
"""
from references.cifar.cifar10 import Config


def get_config() -> Config:
  return Config(
      batch_size=2000,
      num_epochs=10.5,
      optimizer='muon',
      learning_rate=0.24,
      head_learning_rate=0.67 * 2000,
      norm_learning_rate=0.053 * 2000,
      whitening_learning_rate=0.053 * 2000,
      warmup_fraction=0.0,
      final_fraction=0.0,
      weight_decay=2e-6 * 2000,
      image_sizes=(20, 24, 28, 32),
      image_size_starts=(0.0, 0.2, 0.45, 0.7),
      test_time_augmentation='mirror_translate',
  )
