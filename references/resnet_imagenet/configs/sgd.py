"""ImageNet to 75.9 % with SGD and momentum instead of LARS: MLPerf's other optimizer; else as mlperf_1632.py.

Rate 3, 3 epochs of warm-up, 41 epochs, weight decay 2.5e-5: NVIDIA's starting point for some 1,600 images a step
(github.com/mlcommons/training_policies, issue 343), who reached the target after 40. The reference's penalty is
weight_decay |w|^2, whose gradient is twice weight_decay w; ours is the same. MLPerf keeps no reference convergence of
SGD, and no run of this has been published here yet.

  python -m launchers.train --config=references/resnet_imagenet/configs/sgd.py --workdir=runs/sgd
"""
import dataclasses

from references.resnet_imagenet.configs import mlperf_1632
from references.resnet_imagenet.task import Config


def get_config() -> Config:
  return dataclasses.replace(mlperf_1632.get_config(), optimizer='sgd', learning_rate=3.0, weight_decay=2.5e-5,
                             num_epochs=41.0, warmup_epochs=3.0, eval_offset_epochs=0.0)
