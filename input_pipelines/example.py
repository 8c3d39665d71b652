"""The record of an image in TFDS's form: a tf.train.Example, encoded and parsed without TFDS or protobuf.

Fields as TFDS's imagenet2012 has them: file_name, image (the bytes of a JPEG file) and label. Encoded as protobuf does
with its keys in order, so that equal images give equal bytes; parsed with one copy of the image (protobuf makes two).
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto
"""
_BYTES_LIST, _INT64_LIST = 1, 3  # field numbers of Feature


def encode(file_name: bytes, image: bytes, label: int) -> bytes:
  """The bytes of a record; label: 0 or more."""
  return _delimited(1, b''.join((
      _entry(b'file_name', _delimited(_BYTES_LIST, _delimited(1, file_name))),
      _entry(b'image', _delimited(_BYTES_LIST, _delimited(1, image))),
      _entry(b'label', _delimited(_INT64_LIST, _delimited(1, _varint(label)))))))


def parse(record: bytes) -> tuple[bytes, int, str]:
  """(image, label, file name) of a record; the name is '' where it has none.

  Raises:
    ValueError: it is no Example, or one without image or label.
  """
  image = label = None
  file_name = b''
  try:
    for start, stop in _messages(record, 0, len(record), 1):  # Features
      for entry in _messages(record, start, stop, 1):  # an entry of its map
        key, feature = _key_and_value(record, *entry)
        if key == b'image':
          image = _first(record, feature, _BYTES_LIST)
        elif key == b'label':
          label = _int64(_first(record, feature, _INT64_LIST))
        elif key == b'file_name':
          file_name = _first(record, feature, _BYTES_LIST)
  except IndexError:
    raise ValueError('cut short') from None
  if image is None or label is None:
    raise ValueError('without image or label')
  return image, label, file_name.decode(errors='replace')


def _varint(value: int) -> bytes:
  out = bytearray()
  while value > 0x7f:
    out.append(value & 0x7f | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)


def _delimited(number: int, content: bytes) -> bytes:
  return b''.join((_varint(number << 3 | 2), _varint(len(content)), content))


def _entry(key: bytes, feature: bytes) -> bytes:
  return _delimited(1, _delimited(1, key) + _delimited(2, feature))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
  """(value, where it ends)."""
  value = shift = 0
  while True:
    byte = data[at]
    at += 1
    value |= (byte & 0x7f) << shift
    if byte < 0x80:
      return value, at
    shift += 7
    if shift > 63:
      raise ValueError('a number of more than 64 bits')


def _messages(data: bytes, at: int, stop: int, number: int) -> list[tuple[int, int]]:
  """Where each field `number` of the message at [at, stop) lies; all its fields must be length-delimited."""
  found, tag = [], number << 3 | 2
  while at < stop:
    this, at = _read_varint(data, at)
    if this & 7 != 2:
      raise ValueError(f'a field of wire type {this & 7}')
    length, at = _read_varint(data, at)
    if at + length > stop:
      raise ValueError('a field longer than the record')
    if this == tag:
      found.append((at, at + length))
    at += length
  return found


def _key_and_value(data: bytes, start: int, stop: int) -> tuple[bytes, tuple[int, int]]:
  keys, values = _messages(data, start, stop, 1), _messages(data, start, stop, 2)
  if not keys or not values:
    raise ValueError('a feature without name or value')
  return data[slice(*keys[-1])], values[-1]


def _first(data: bytes, feature: tuple[int, int], kind: int) -> bytes:
  """The only value of a Feature's list; of an int64 list, its varint."""
  lists = _messages(data, *feature, kind)
  if not lists:
    raise ValueError('a feature of another type')
  start, stop = lists[-1]
  if kind == _INT64_LIST and start < stop and data[start] == 1 << 3:  # not packed
    return data[start + 1:stop]
  values = _messages(data, start, stop, 1)
  if len(values) != 1:
    raise ValueError(f'a feature of {len(values)} values')
  return data[slice(*values[0])]


def _int64(content: bytes) -> int:
  value, end = _read_varint(content, 0)
  if end != len(content):
    raise ValueError('a label of several numbers')
  return value - (1 << 64) if value >= 1 << 63 else value
