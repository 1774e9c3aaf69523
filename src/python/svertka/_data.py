"""What functions give, as plain objects: they can be compared and pickled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A place in a text. Lines and columns count from 1, columns in characters; the end is the first that is outside."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    #: What is to be seen there, or of an edit, what stands there afterwards; may be empty.
    text: str


@dataclass(frozen=True)
class Fix:
    """A way out of a mistake."""

    #: In words.
    text: str
    #: The changes that it says; none where what to write is the author's to know.
    edits: tuple[Span, ...]
    #: "MachineApplicable" where what was meant is known, "MaybeIncorrect" where the author is to choose,
    #: "HasPlaceholders" where parts of it stand for others; `None` where there are no changes.
    applicability: str | None = None


@dataclass(frozen=True)
class Diagnostic:
    """A message about a model file; `str` shows it with an excerpt of the text."""

    #: "error" or "warning"
    severity: str
    #: For example "E0312".
    code: str
    message: str
    #: The primary place first.
    spans: tuple[Span, ...]
    #: Facts.
    notes: tuple[str, ...]
    #: Ways out.
    fixes: tuple[Fix, ...]
    rendered: str

    def __str__(self) -> str:
        return self.rendered


class ModelError(ValueError):
    """A model's text, or ONNX file, is wrong. `str` shows all mistakes with excerpts of the text."""

    diagnostics: list[Diagnostic]

    def __init__(self, message: str, diagnostics: list[Diagnostic] | None = None) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics or []


@dataclass(frozen=True)
class Class:
    """What a picture may show."""

    #: Its place among the scores.
    index: int
    #: Its name, where the model has one for each score.
    label: str | None
    probability: float

    @property
    def name(self) -> str:
        """Its label, or where it has none, its number in words."""
        return f"class {self.index}" if self.label is None else self.label


@dataclass(frozen=True)
class ReceptiveField:
    """What of the input one position of a layer's value sees, by spatial dimension."""

    #: First position and the one behind the last; those outside of the input are padding.
    ranges: tuple[tuple[int, int], ...]
    #: Sizes of the input.
    sizes: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The part inside of the input: `x[..., *field.slices]`."""
        inside = zip(self.ranges, self.sizes, strict=True)
        return tuple(slice(min(max(start, 0), size), min(max(stop, 0), size)) for (start, stop), size in inside)
