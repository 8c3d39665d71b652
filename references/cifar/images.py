"""What is done to images on the device: normalised, shifted, mirrored, jittered, and seen from several views."""
import jax
import jax.numpy as jnp
import numpy as np

# Of CIFAR-10's training images, per channel, on 0..1; as airbench and its predecessors give them.
MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
STD = np.array([0.2470, 0.2435, 0.2616], np.float32)


def normalized(images):
  """uint8 [..., 3] -> float32 of mean 0 and deviation 1 over CIFAR-10."""
  return (images.astype(jnp.float32) / 255 - MEAN) / STD


def shifted(images, keys, pixels: int):
  """Each image moved by -pixels..pixels each way, uniformly, what lies outside mirrored at its edge.

  images: [B, H, W, C]; keys: [B].
  """
  if not pixels:
    return images
  corner = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * pixels + 1))(keys)
  crop = lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), (*images.shape[1:3], images.shape[3]))
  return jax.vmap(crop)(reflected(images, pixels), corner)


def reflected(images, pixels: int):
  """Images with a mirrored margin, [B, H + 2 * pixels, W + 2 * pixels, C]."""
  return jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode='reflect')


def mirrored(images, which):
  """Images turned left to right where `which` is true, [B]."""
  return jnp.where(which[:, None, None, None], images[:, :, ::-1], images)


def coin(keys):
  """A fair coin for each key: bool [B]."""
  return jax.vmap(jax.random.bernoulli)(keys)


def jittered(images, keys, brightness: float, contrast: float):
  """Normalised images plus U(-brightness, brightness), then times 1 + U(-contrast, contrast), both per image."""
  draw = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1, maxval=1))(keys)[:, :, None, None, None]
  return (images + draw[:, 0] * brightness) * (1 + draw[:, 1] * contrast)


def resized(images, size: int):
  """Images of `size` x `size` by linear interpolation with antialiasing."""
  if images.shape[1] == size:
    return images
  return jax.image.resize(images, (len(images), size, size, images.shape[3]), 'linear')


# Test-time augmentation: name -> ((shift down, shift right, mirrored), weight) of each view. `mirror_translate` is
# airbench94's level 2; `uncertain` is hiverge/cifar10-speedrun's: six equal views, for the least certain quarter only.
_SHIFTS = ((0, 0), (-1, -1), (1, 1))
VIEWS = {
    'none': (((0, 0, False), 1.0),),
    'mirror': tuple(((0, 0, mirror), 1 / 2) for mirror in (False, True)),
    'mirror_translate': tuple(((*shift, mirror), 1 / 4 if shift == (0, 0) else 1 / 8)
                              for shift in _SHIFTS for mirror in (False, True)),
    'uncertain': tuple(((*shift, mirror), 1 / 6) for shift in _SHIFTS for mirror in (False, True)),
}


def view(images, down: int, right: int, mirror: bool):
  """The images moved by -1, 0 or 1 each way, their edges mirrored in, and turned left to right or not."""
  height, width = images.shape[1:3]
  moved = reflected(images, 1)[:, 1 - down:1 - down + height, 1 - right:1 - right + width]
  return moved[:, :, ::-1] if mirror else moved


def whitening_filters(images, epsilon: float = 5e-4):
  """Filters whose responses to 2 x 2 patches are uncorrelated and of variance near 1, and their negatives.

  Eigenvectors of the patches' uncentred covariance over sqrt(eigenvalue + epsilon), as in airbench94 after Page's
  cifar10-fast.

  images: float32 [N, H, W, 3], normalised -> [2, 2, 3, 24].
  """
  height, width = images.shape[1] - 1, images.shape[2] - 1
  patches = jnp.concatenate([images[:, i:i + height, j:j + width] for i in range(2) for j in range(2)], -1)
  patches = patches.reshape(-1, 12)
  covariance = jnp.matmul(patches.T, patches, precision='highest') / len(patches)
  values, vectors = jnp.linalg.eigh(covariance)
  filters = (vectors / jnp.sqrt(values + epsilon)).reshape(2, 2, 3, 12)
  return jnp.concatenate([filters, -filters], -1)
