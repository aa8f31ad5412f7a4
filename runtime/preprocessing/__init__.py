"""Preprocessing as data: what is done to a sample before a model sees it.

The same operations run in training, calibration, evaluation and on the device, on numpy and Pillow alone. They are
read from a data.yaml, written into a bundle as JSON, and give the same numbers everywhere.
"""

from tinsmith.runtime.preprocessing.numbers import Normalize, Scale
from tinsmith.runtime.preprocessing.operation import Array, Operation, Raw
from tinsmith.runtime.preprocessing.pictures import CenterCrop, ChannelsFirst, Decode, Resize, picture_size
from tinsmith.runtime.preprocessing.pipeline import Preprocessing, operation_from_json
from tinsmith.runtime.preprocessing.text import Pad, Tokenise, read_lines, read_vocabulary

__all__ = [
    "Array",
    "CenterCrop",
    "ChannelsFirst",
    "Decode",
    "Normalize",
    "Operation",
    "Pad",
    "Preprocessing",
    "Raw",
    "Resize",
    "Scale",
    "Tokenise",
    "operation_from_json",
    "picture_size",
    "read_lines",
    "read_vocabulary",
]
