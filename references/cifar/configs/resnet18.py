"""CIFAR-10 to 95 % by the textbook: ResNet-18, Nesterov's momentum, random crops and mirroring, 100 epochs.

The network that most studies on CIFAR-10 use, so that what is measured here can be compared with them. Batch 128,
learning rate 0.1 rising for 15 epochs and falling linearly to 0, weight decay 5e-4, shifts of up to 4 pixels. Published
trainings of this network of 100 to 200 epochs end between 95 and 96 % (github.com/kuangliu/pytorch-cifar;
cifar10-airbench's README). No run of this config at full length has been published here yet: on two CPU cores it would
take days.

  python -m launchers.prepare --dataset=cifar10
  python -m launchers.train --config=references/cifar/configs/resnet18.py --workdir=runs/resnet18
"""
from references.cifar.cifar10 import Config

LEARNING_RATE = 0.1


def get_config() -> Config:
  return Config(
      batch_size=128,
      network='resnet18',
      num_epochs=100.0,
      optimizer='nesterov',
      learning_rate=LEARNING_RATE,
      head_learning_rate=LEARNING_RATE,
      norm_learning_rate=LEARNING_RATE,
      warmup_fraction=0.15,
      initial_fraction=0.0,
      final_fraction=0.0,
      momentum=0.9,
      weight_decay=5e-4 * LEARNING_RATE,
      label_smoothing=0.0,
      shift_pixels=4,
      flip='random',
      eval_every_epochs=10.0,
      target_accuracy=0.95,
  )
