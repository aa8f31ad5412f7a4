"""Every error that tinsmith raises on purpose, and the exit code each one means.

::

    TinsmithError
    ├── BudgetMissedError              1   it ran, but a budget or threshold was not met
    ├── UsageError                     2   a command, option or argument is wrong
    │   ├── RecipeError                    a recipe says something that can't be done
    │   └── DataError                      a dataset is missing, damaged or does not fit the model
    │       ├── UnreadableSampleError          one of its samples can't be read
    │       └── NotFiniteError                 one of its samples holds NaN or infinity
    ├── HostError                      3   this machine is missing something
    │   ├── MissingDependencyError         a package of an extra is not installed
    │   ├── AcceleratorError               an accelerator is missing, or does not take the model
    │   ├── OutputError                    the output can't be written, or the disk is full
    │   └── BusyError                      more runs are asked for at once than may wait
    │       └── ExpiredError                   a run's turn did not come before its deadline
    ├── ModelError                     4   the model is the problem
    │   ├── ModelLoadError                 it can't be read, or its engine refused it
    │   │   └── EngineDiedError                its engine died on it
    │   ├── ModelTimeoutError              it loaded, but runs past its time limit
    │   ├── ModelLostError                 its interpreters had to be given up, and it runs no more
    │   ├── UnsupportedOperatorError       it holds something that the target can't run
    │   └── UnsafeModelError               it would run code of its author on loading
    ├── DeviceError                    5   a device is unreachable or was lost
    │   ├── UnreachableError               it does not answer, or is offline; later may do
    │   ├── AccessDeniedError              it lets nobody in, or is not proven to be the one that was meant
    │   ├── LinkLostError                  it was lost in the middle
    │   ├── DeviceTimeoutError             it did not get done in time
    │   └── NoRoomError                    its disk is full
    ├── VerificationError              6   signature, hash, version or numbers differ
    ├── RolledBackError                7   an update was taken back
    └── StepDefectError               70   a step of tinsmith wrote a model that kills the engine

Each message says what failed, where and why; ``hint`` says what to do next, where possible as a command.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "AcceleratorError",
    "AccessDeniedError",
    "BudgetMissedError",
    "BusyError",
    "DataError",
    "DeviceError",
    "DeviceTimeoutError",
    "EngineDiedError",
    "ExpiredError",
    "HostError",
    "LinkLostError",
    "MissingDependencyError",
    "ModelError",
    "ModelLoadError",
    "ModelLostError",
    "ModelTimeoutError",
    "NoRoomError",
    "NotFiniteError",
    "OutputError",
    "RecipeError",
    "RolledBackError",
    "StepDefectError",
    "TinsmithError",
    "UnreachableError",
    "UnreadableSampleError",
    "UnsafeModelError",
    "UnsupportedOperatorError",
    "UsageError",
    "VerificationError",
    "error_of",
    "first_line",
]


class TinsmithError(Exception):
    """The root: catch this to catch every error that tinsmith raises on purpose.

    Attributes:
        message: What failed, where and why, in one line.
        hint: What to do next; the family's usual hint unless a better one is given.
        code: The stable name of the family, for machines.
        exit_code: What the command line returns.
    """

    code: ClassVar[str] = "defect"
    exit_code: ClassVar[int] = 70
    usual_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint

    def to_json(self) -> dict[str, str]:
        """What reports say of it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    @classmethod
    def revive(cls, message: str, hint: str) -> TinsmithError:
        """Make the error again that a child process or a device has raised, whatever facts its class takes."""
        error = cls.__new__(cls)
        TinsmithError.__init__(error, message, hint=hint)
        return error


class BudgetMissedError(TinsmithError):
    """It ran, but a budget or threshold that the user set was not met."""

    code = "budget-missed"
    exit_code = 1


class UsageError(TinsmithError):
    """A command, option or argument is wrong."""

    code = "usage"
    exit_code = 2
    usual_hint = "see `tinsmith COMMAND --help`"


class RecipeError(UsageError):
    """A recipe holds an unknown key, or steps that can't follow each other."""

    code = "recipe"
    usual_hint = "`tinsmith recipe schema` prints what a recipe may hold"


class DataError(UsageError):
    """A dataset is missing, damaged, empty, or does not fit the model."""

    code = "data"
    usual_hint = "`tinsmith inspect MODEL` shows what the model takes"


class UnreadableSampleError(DataError):
    """A single sample can't be read: a damaged image, text in another encoding."""

    code = "unreadable-sample"
    usual_hint = "`tinsmith data check` lists all of them; mend them or move them away"


class NotFiniteError(DataError):
    """A sample holds NaN or infinity."""

    code = "not-finite"
    usual_hint = "`tinsmith data check` lists all of them; mend what made them, or leave them out"


class HostError(TinsmithError):
    """This machine is missing something."""

    code = "host"
    exit_code = 3
    usual_hint = "`tinsmith doctor` lists what this machine has"


class MissingDependencyError(HostError):
    """A package that this feature needs is not installed; tinsmith never installs anything by itself."""

    code = "missing-dependency"

    def __init__(self, package: str, *, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package {package}, which is not installed",
            hint=f'install it with: pip install "tinsmith[{extra}]"',
        )
        self.package = package
        self.extra = extra


class AcceleratorError(HostError):
    """An accelerator that was asked for is not here, or does not take the model."""

    code = "accelerator"
    usual_hint = "`tinsmith doctor` lists what this machine has"


class OutputError(HostError):
    """The output can't be written: no permission, no folder, or a full disk."""

    code = "output"

    @classmethod
    def from_os_error(cls, path: Path, error: OSError) -> OutputError:
        """Translate what the operating system said about writing ``path``."""
        hints = {
            errno.ENOSPC: "free some space, or choose another place with --output",
            errno.EDQUOT: "free some space, or choose another place with --output",
            errno.EACCES: "choose a place that you may write to with --output",
            errno.EROFS: "choose a place that can be written to with --output",
            errno.ENOENT: "create the folder first, or choose another place with --output",
        }
        reason = error.strerror or str(error)
        return cls(f"cannot write {path}: {reason}", hint=hints.get(error.errno or 0, "check --output"))


class BusyError(HostError):
    """More runs of a model are asked for at once than may wait, or than can be done in time."""

    code = "busy"
    usual_hint = "try again later, or allow more interpreters where there are cores for them"


class ExpiredError(BusyError):
    """The turn of a run did not come before its deadline; it never began."""

    code = "expired"


class ModelError(TinsmithError):
    """The model is the problem."""

    code = "model"
    exit_code = 4
    usual_hint = "`tinsmith inspect MODEL` shows what it holds"


class ModelLoadError(ModelError):
    """A model can't be read, or the engine refused it, or was killed for memory with it."""

    code = "model-load"
    usual_hint = "if it is damaged, get it again from its source; `tinsmith inspect MODEL` shows what it holds"


class EngineDiedError(ModelLoadError):
    """The engine died on a model, and the process that it ran in with it.

    Attributes:
        path: The model's file; None where another process or machine said so.
        how: The process ended, such as ``SIGSEGV``, and what it said last; empty as above.
    """

    code = "engine-died"
    usual_hint = "the file is damaged or made to harm; get it again from its source"
    path: Path | None = None
    how: str = ""

    def __init__(self, path: Path, how: str) -> None:
        super().__init__(f"the engine died on {path}: {how}")
        self.path = path
        self.how = how


class ModelTimeoutError(ModelError):
    """A model did not load, or did not answer, within its time limit."""

    code = "model-timeout"


class ModelLostError(ModelError):
    """The interpreters of a model had to be given up one after another, and it runs no more."""

    code = "model-lost"
    usual_hint = "load it again, with a higher time limit if it is only slow"


class UnsupportedOperatorError(ModelError):
    """A model holds a layer or an operator that the target can't run."""

    code = "unsupported-operator"


class UnsafeModelError(ModelError):
    """Loading the model would run code that its author wrote."""

    code = "unsafe-model"


class DeviceError(TinsmithError):
    """A device is unreachable, or was lost in the middle."""

    code = "device"
    exit_code = 5


class UnreachableError(DeviceError):
    """A device does not answer, or is offline; nothing was done, and later it may answer."""

    code = "unreachable"


class AccessDeniedError(DeviceError):
    """A device does not let us in, or is not proven to be the one that was meant."""

    code = "access-denied"


class LinkLostError(DeviceError):
    """A device was lost in the middle: what was asked of it may be done in part."""

    code = "link-lost"


class DeviceTimeoutError(DeviceError):
    """A device answers, but a program or a transfer did not get done within its time limit."""

    code = "device-timeout"


class NoRoomError(DeviceError):
    """The disk of a device is full."""

    code = "no-room"


class VerificationError(TinsmithError):
    """A signature, hash, version or number is not what it must be."""

    code = "verification"
    exit_code = 6
    usual_hint = "`tinsmith compare` shows how far two models lie apart"


class RolledBackError(TinsmithError):
    """An update was taken back; the device runs what it ran before."""

    code = "rolled-back"
    exit_code = 7


class StepDefectError(TinsmithError):
    """A step wrote a model that the engine died on: a defect in tinsmith, and none of the model that it was given."""

    code = "step-defect"
    usual_hint = "please report it"


def error_of(code: str, exit_code: int, message: str, *, hint: str) -> TinsmithError:
    """The error that another tinsmith has raised, by the name of its family.

    A family that is not known here, as a newer tinsmith may have, becomes the one of its exit code.
    """
    families = _families(TinsmithError)
    named = (family for family in families if family.code == code)
    alike = (family for family in families if family.exit_code == exit_code)
    family = next(named, None) or next(alike, TinsmithError)
    return family.revive(message, hint)


def _families(root: type[TinsmithError]) -> list[type[TinsmithError]]:
    """The tree from its root on, parents before children."""
    below = [family for child in root.__subclasses__() for family in _families(child)]
    return [root, *below]


def first_line(error: BaseException) -> str:
    """What a foreign error says, without its stack of native frames; its class name when it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
