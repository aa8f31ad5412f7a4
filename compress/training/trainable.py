"""Models in the form that passes train and take apart: tf_keras, whatever Keras wrote them."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.convert.loading import load_trained
from tinsmith.convert.model import Model
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import ModelError, first_line
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from tinsmith.convert.trained import TrainedModel

__all__ = ["load_trainable", "save_trainable"]

_NO_TIME = (1980, 1, 1, 0, 0, 0)
_NO_DATE = "1980-01-01@00:00:00"


def load_trainable(model: Model, *, allow_unsafe: bool = False) -> TrainedModel:
    """Load a Keras model as one of tf_keras; Keras 3 models cross the bridge.

    Raises:
        ModelLoadError: The file is damaged, or is no Keras model.
        UnsupportedOperatorError: Layers can't cross; each of them is named, with the reason.
    """
    trained = load_trained(model, allow_unsafe=allow_unsafe)
    if trained.framework == "tf_keras":
        return trained
    from tinsmith.convert.bridge import to_tf_keras

    return from_keras(to_tf_keras(trained.native), "tf_keras")


def save_trainable(model: Any, path: Path) -> Model:
    """Write a model of Keras 3 or tf_keras as a .keras file, whole or not at all; the same model gives the same bytes.

    Raises:
        OutputError: The operating system refused to write.
        ModelError: The model holds something that Keras can't write.
    """
    with staged_file(path) as staged, tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        saved = Path(aside) / "model.keras"
        _save(model, saved)
        _copy_timeless(saved, staged)
    return Model(path=path, format="keras")


def _save(model: Any, path: Path) -> None:
    try:
        model.save(path)
    except Exception as error:  # layers may raise anything when they describe themselves
        refused = _refusal(error)
        if refused is not None:
            raise refused from error
        raise ModelError(
            f"the model {model.name!r} can't be saved: {type(error).__name__}: {first_line(error)}",
            hint="each of its layers needs a get_config that says how it was made",
        ) from error


def _refusal(error: BaseException | None) -> OSError | None:
    """What the operating system said first: on a full disk, closing the file fails once more in another way."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _copy_timeless(saved: Path, path: Path) -> None:
    """Copy a .keras file without what differs from run to run: its time, and addresses in memory that name objects."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            said = zipfile.ZipInfo(entry.filename, date_time=_NO_TIME)
            said.file_size = entry.file_size
            if entry.filename == "metadata.json":
                known = json.loads(source.read(entry))
                target.writestr(said, json.dumps({**known, "date_saved": _NO_DATE}))
            elif entry.filename == "config.json":
                target.writestr(said, json.dumps(_renumbered(json.loads(source.read(entry)), {})))
            else:
                with source.open(entry) as reading, target.open(said, "w") as writing:
                    shutil.copyfileobj(reading, writing)


def _renumbered(config: Any, numbers: dict[int, int]) -> Any:
    """Shared objects named by their order; Keras 3 takes their addresses."""
    if isinstance(config, list):
        return [_renumbered(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: numbers.setdefault(value, len(numbers))
        if key == "shared_object_id" and isinstance(value, int)
        else _renumbered(value, numbers)
        for key, value in config.items()
    }
