"""What each step of a round found or made; the journal keeps it, and a run that was killed goes on from it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Bundled",
    "Collected",
    "Decision",
    "DeviceLook",
    "DeviceTurn",
    "Drifted",
    "Ended",
    "Observed",
    "Proven",
    "Pulled",
    "Recompressed",
    "Rolled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """A statistic that lies further from the reference than chance allows.

    Attributes:
        name: Side, tensor, statistic and test, such as ``inputs image mean ks``.
        figure: How far.
        threshold: What chance allows.
    """

    name: str
    figure: float
    threshold: float

    @property
    def times(self) -> float:
        """How many times as far as chance allows."""
        return self.figure / self.threshold if self.threshold else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLook:
    """What the monitor of a device says.

    Attributes:
        device: Its name.
        version: Of the bundle that it serves; None where that is no number, or nobody answered.
        drift: ``drift``, ``ok``, ``waiting`` or ``no-reference``; empty where nobody answered.
        samples: That drift was judged by.
        drifted: What lies too far, the furthest first.
        latency: ``ok``, ``slow``, ``waiting`` or ``no-promise``.
        p50_ms: Of recent runs; None where there are too few.
        p95_ms: As above.
        errors: ``ok`` or ``errors``.
        faults: Failures among recent requests that are no client's.
        captured: Samples that it keeps.
        capture_path: Where, on the device; empty for nowhere.
        error: Why nobody answered, or why the model does not serve; empty otherwise.
        exit_code: What the command line returns for it.
    """

    device: str
    version: int | None = None
    drift: str = ""
    samples: int = 0
    drifted: tuple[Drifted, ...] = ()
    latency: str = ""
    p50_ms: float | None = None
    p95_ms: float | None = None
    errors: str = ""
    faults: int = 0
    captured: int = 0
    capture_path: str = ""
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What all monitors say.

    Attributes:
        devices: One a monitor, in the order of the plan.
    """

    devices: tuple[DeviceLook, ...]

    @property
    def answered(self) -> tuple[DeviceLook, ...]:
        """Those that could be asked."""
        return tuple(look for look in self.devices if not look.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done, and why.

    Attributes:
        verdict: ``recompress``, ``nothing``, or ``again``: the last round has answered the same already.
        drifting: Devices whose inputs or outputs drift.
        slow: Devices that are too slow.
        reasons: For people, with figures.
        version: Of the bundle to come.
        drifted: What lies too far on any device, each at its furthest.
    """

    verdict: str
    drifting: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    version: int = 1
    drifted: tuple[Drifted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was fetched from a device.

    Attributes:
        device: Its name.
        file: Of the samples that join calibration, in the folder of the round; empty where there are none.
        samples: How many.
        held_file: Of those that are kept apart, for the proof; empty where there are none.
        held: How many.
        error: Why nothing was fetched; empty otherwise.
        exit_code: What the command line returns for it.
    """

    device: str
    file: str = ""
    samples: int = 0
    held_file: str = ""
    held: int = 0
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was fetched from all devices.

    Attributes:
        devices: One for each that was asked.
    """

    devices: tuple[Pulled, ...]

    @property
    def samples(self) -> int:
        """Those that join calibration."""
        return sum(pulled.samples for pulled in self.devices)

    @property
    def held(self) -> int:
        """Those that are kept apart."""
        return sum(pulled.held for pulled in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recompressed:
    """The new artifact.

    Attributes:
        file: In the folder of the round.
        sha256: Of the file.
        size_bytes: Of the file.
        was_sha256: Of the artifact that is served.
        was_bytes: Of the same.
    """

    file: str
    sha256: str
    size_bytes: int
    was_sha256: str
    was_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What the new artifact costs, and what it is good for.

    Attributes:
        kept: Bounds that it keeps, for people.
        missed: Why it must not be deployed; empty where it may.
        metric: What judged; empty where nothing did.
        samples: That were judged on.
        score_model: Of the model; None where nothing was judged.
        score_served: Of the artifact that is served.
        score_new: Of the new one.
        captured: Samples of devices that were compared on, none of which it was calibrated on.
        agreement_served: On those, how often the served artifact answers as the model; None where there are none.
        agreement_new: As above, of the new one.
        error_served: On those, how far the served artifact's answers lie from the model's, as a share of these: the
            root of the sum of squares; None where there are none.
        error_new: As above, of the new one.
        speed_ratio: Run time of the new artifact to the served one's, in turns on this machine; None if not timed.
        remarks: What the loop can't mend, for people.
    """

    kept: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    metric: str = ""
    samples: int = 0
    score_model: float | None = None
    score_served: float | None = None
    score_new: float | None = None
    captured: int = 0
    agreement_served: float | None = None
    agreement_new: float | None = None
    error_served: float | None = None
    error_new: float | None = None
    speed_ratio: float | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """The new bundle.

    Attributes:
        file: In the folder of the round.
        sha256: Of its manifest.
        version: What it calls itself.
        size_bytes: Of the file.
        signed_by: The id of the key; empty where nobody signed.
    """

    file: str
    sha256: str
    version: int
    size_bytes: int
    signed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTurn:
    """What came of one device; see ``Turn``.

    Attributes:
        device: Its name.
        result: In a word.
        version: Of the bundle that it serves; None where that is not known.
        serves: Whether it serves what it was given.
        error: Why not; empty otherwise.
        exit_code: What the command line returns for it.
    """

    device: str
    result: str
    version: int | None = None
    serves: bool = False
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """What came of the canary, of the waves, or of a rollback.

    Attributes:
        devices: One for each.
        rollout: Its name in ``tinsmith rollouts``; empty for none.
        stopped: Why the bundle must be taken back; empty where it may stay.
    """

    devices: tuple[DeviceTurn, ...] = ()
    rollout: str = ""
    stopped: str = ""

    @property
    def serving(self) -> tuple[str, ...]:
        """Devices that serve what they were given."""
        return tuple(turn.device for turn in self.devices if turn.serves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a round ended.

    Attributes:
        outcome: ``done``, ``nothing to do``, ``again``, ``refused``, ``rolled back`` or ``given up``.
        said: Why, for people.
        exit_code: What the command line returns.
    """

    outcome: str
    said: str
    exit_code: int = 0
