"""The models the sandbox pretends to serve: names, limits, efforts and the days they end."""

from dataclasses import dataclass
from datetime import date

_O_SERIES = ("low", "medium", "high")
_GPT_5 = ("minimal", "low", "medium", "high")
_GPT_5_1 = ("none", "low", "medium", "high")
_GPT_5_2 = ("none", "low", "medium", "high", "xhigh")
_GPT_6 = ("none", "low", "medium", "high", "xhigh", "max")
_PRO = ("medium", "high", "xhigh")

END_OF_2026 = date(2026, 12, 11)
END_OF_O4 = date(2026, 10, 23)
END_OF_DEEP_RESEARCH = date(2026, 7, 23)
END_OF_5_1 = date(2027, 4, 1)


@dataclass(frozen=True, slots=True)
class Model:
    """Describe one model; windows in tokens, `thirst` scales its reasoning tokens."""

    id: str
    snapshot: str
    context_window: int
    max_output: int
    efforts: tuple[str, ...]
    default_effort: str
    shutdown_on: date | None = None
    thirst: float = 1.0

    def is_gone(self, today: date) -> bool:
        """Tell whether the shutdown day has come."""
        return self.shutdown_on is not None and today >= self.shutdown_on


def _model(
    name: str,
    window: int,
    output: int,
    efforts: tuple[str, ...],
    *,
    dated: str | None = None,
    default: str = "medium",
    ends: date | None = None,
    thirst: float = 1.0,
) -> Model:
    return Model(
        id=name,
        # Families without a published dated name answer with the name that was asked for.
        snapshot=f"{name}-{dated}" if dated else name,
        context_window=window,
        max_output=output,
        efforts=efforts,
        default_effort=default,
        shutdown_on=ends,
        thirst=thirst,
    )


# Windows, names and days: model pages and the deprecations page as of 2026-11-22.
MODELS: tuple[Model, ...] = (
    _model("o1-pro", 200_000, 100_000, _O_SERIES, dated="2025-03-19", ends=END_OF_O4),
    _model("o3", 200_000, 100_000, _O_SERIES, dated="2025-04-16", ends=END_OF_2026, thirst=0.7),
    _model("o3-pro", 200_000, 100_000, _O_SERIES, dated="2025-06-10", ends=END_OF_2026),
    _model("o4-mini", 200_000, 100_000, _O_SERIES, dated="2025-04-16", ends=END_OF_O4, thirst=0.4),
    _model("o3-deep-research", 200_000, 100_000, _O_SERIES, dated="2025-06-26", ends=END_OF_DEEP_RESEARCH),
    _model(
        "o4-mini-deep-research",
        200_000,
        100_000,
        _O_SERIES,
        dated="2025-06-26",
        ends=END_OF_DEEP_RESEARCH,
        thirst=0.4,
    ),
    _model("gpt-5", 400_000, 128_000, _GPT_5, dated="2025-08-07", ends=END_OF_2026, thirst=0.7),
    _model("gpt-5-mini", 400_000, 128_000, _GPT_5, dated="2025-08-07", ends=END_OF_2026, thirst=0.4),
    _model("gpt-5-nano", 400_000, 128_000, _GPT_5, dated="2025-08-07", ends=END_OF_2026, thirst=0.25),
    _model("gpt-5-pro", 400_000, 272_000, ("high",), dated="2025-10-06", default="high", ends=END_OF_2026),
    _model("gpt-5.1", 400_000, 128_000, _GPT_5_1, dated="2025-11-13", default="none", ends=END_OF_5_1),
    _model("gpt-5.2", 400_000, 128_000, _GPT_5_2, dated="2025-12-11", default="none"),
    _model("gpt-5.2-pro", 400_000, 128_000, _PRO, dated="2025-12-11"),
    _model("gpt-5.4", 1_050_000, 128_000, _GPT_5_2, default="none"),
    _model("gpt-5.4-mini", 400_000, 128_000, _GPT_5_2, dated="2026-03-17", default="none", thirst=0.4),
    _model(
        "gpt-5.4-nano",
        400_000,
        128_000,
        _GPT_5_2,
        dated="2026-03-17",
        default="none",
        ends=END_OF_5_1,
        thirst=0.25,
    ),
    _model("gpt-5.4-pro", 1_050_000, 128_000, _PRO),
    _model("gpt-5.5", 1_050_000, 128_000, _GPT_5_2, dated="2026-04-23"),
    _model("gpt-5.5-pro", 1_050_000, 128_000, _PRO, dated="2026-04-23"),
    _model("gpt-5.6-sol", 1_050_000, 128_000, _GPT_6),
    _model("gpt-5.6-terra", 1_050_000, 128_000, _GPT_6, thirst=0.6),
    _model("gpt-5.6-luna", 1_050_000, 128_000, _GPT_6, thirst=0.3),
    _model("gpt-6-astra", 1_050_000, 128_000, _GPT_6),
    _model("gpt-6-sol", 1_050_000, 128_000, _GPT_6, thirst=0.8),
    _model("gpt-6-luna", 1_050_000, 128_000, _GPT_6, thirst=0.3),
    _model("gpt-6.1-sol", 1_050_000, 128_000, _GPT_6, thirst=0.8),
    _model("gpt-6.1-terra", 1_050_000, 128_000, _GPT_6, thirst=0.5),
)

_BY_NAME = {name: model for model in MODELS for name in (model.id, model.snapshot)}


def find(name: str) -> Model | None:
    """Return the model of that alias or snapshot name, also when its day has passed."""
    return _BY_NAME.get(name)


def names(today: date) -> list[tuple[str, Model]]:
    """List (name, model) for every alias and snapshot that can still be called."""
    return [(name, model) for name, model in _BY_NAME.items() if not model.is_gone(today)]
