"""Ten classes of real photographs on a laptop: a ResNet-18 of half the width on crops of 64 x 64.

For Imagenette (github.com/fastai/imagenette: ten easy classes of ImageNet) in any size, as folders; the counts here are
of a small part of it, 260 images a class to train and 60 to evaluate: for another part say --config.num_train_examples
and --config.num_eval_examples. Chance is 10 %. The target of 60 % was set before the first run; with 600 images to
evaluate, an accuracy has a standard error of 2 points.

What to expect: one run, seed 0, on two cores of an Intel Xeon reached it after 14 of 40 epochs, in 2.5 minutes from a
warm compilation cache; accuracy every two epochs: 0.23, 0.29, 0.46, 0.51, 0.56, 0.50, 0.62
(results/imagenette_2core_amx, 2026-11-27). The run ends there, so where the whole schedule leads has not been measured;
--config.stop=end goes on. On another machine, before its smallest convolutions were products, it took 5 minutes
(results/imagenette_2core_epyc).

  python -m launchers.prepare --dataset=image_folder --name=imagenette --from_dir=DIR
  python -m launchers.train --config=references/resnet_imagenet/configs/imagenette.py --workdir=runs/imagenette
"""
from references.resnet_imagenet.task import Config


def get_config() -> Config:
  return Config(
      dataset='imagenette',
      num_train_examples=2600,
      num_eval_examples=600,
      num_classes=10,
      batch_size=64,
      depth=18,
      width=32,
      space_to_depth=False,
      divide_by_std=True,
      optimizer='sgd',
      learning_rate=0.1,
      momentum=0.9,
      weight_decay=2.5e-4,
      num_epochs=40.0,
      warmup_epochs=3.0,
      image_sizes=(64,),
      min_crop_area=0.25,
      eval_resize=80,
      eval_image_size=64,
      eval_batch_size=200,
      eval_every_epochs=2.0,
      target_value=0.6,
      compute_dtype='float32',
  )
