"""``python -m tinsmith.devices.boards``: make what virtual boards start from, for each kind this machine can have."""

from __future__ import annotations

from tinsmith.devices.boards.starting import KINDS, lack_of
from tinsmith.runtime.commands.output import console
from tinsmith.runtime.errors import TinsmithError

__all__ = ["main"]


def main() -> None:
    """Say of each kind whether it is ready, or why it is left out; that is no failure."""
    screen = console()
    for kind in KINDS.values():
        lack: TinsmithError | None = lack_of(kind)
        try:
            if lack is None:
                kind.prepare()
        except TinsmithError as error:
            lack = error
        screen.print(f"{kind.name}: ready" if lack is None else f"{kind.name}: left out: {lack.message}", markup=False)


if __name__ == "__main__":
    main()
