"""The contracts a plug-in fulfils: detector, anonymizer, inpainter, dataset, task."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.hashing import name_bytes
from dp2bench.core.images import read_image, write_image
from dp2bench.core.lazy import Lazy
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, CropBatch, Image, People, Sample, SampleId

if TYPE_CHECKING:
    from dp2bench.core.figures import Figure
    from dp2bench.core.results import Metric, Scenario, Score

Scope = Literal["none", "face", "body", "image"]
FaceCrop = Literal["fdf128", "fdf256"]
"""Definition of the crop around a face: of which FDF dataset."""
LinearOperator = Callable[[int], NDArray[np.float32]]
"""Length of an axis to the (length, length) float32 matrix of a linear filter along it."""
TaskKind = Literal["privacy", "utility", "quality", "coverage", "cost"]


@dataclass(frozen=True)
class Weights:
    """A file of parameters that a component loads: name, sha256 of the file, licence."""

    name: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class ComponentMeta:
    """Name and revision of a component; the revision changes when its output does."""

    name: str
    revision: str = "1"
    weights: tuple[Weights, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Everything of it that can change an output, for the keys of cached steps."""
        return {"revision": self.revision, "weights": [w.sha256 for w in self.weights]}


@dataclass(frozen=True)
class MethodMeta(ComponentMeta):
    """What an anonymizer declares.

    Attributes:
        scope: what it replaces: nothing, faces, bodies, or the picture.
        deterministic: the output does not depend on the seed.
        uses_masked_pixels: the fill may depend on the pixels it replaces (blur, pixelation). A method that says False never receives them.
        detector: name of its own detector, or None to take the run's shared detections.
        description: one line for `dp2bench list methods`.
        arguments: every effective setting, defaults filled in, as plain values; part of the cache key and of the provenance.

    """

    scope: Scope = "body"
    deterministic: bool = True
    uses_masked_pixels: bool = True
    detector: str | None = None
    description: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def identity(self) -> dict[str, Any]:
        """See `ComponentMeta.identity`."""
        return {**super().identity(), "effective": dict(self.arguments)}


@dataclass(frozen=True)
class DatasetMeta:
    """Name, version (changes when pixels or labels do), licence and splits of a dataset; ``download`` says how much there is to download."""

    name: str
    version: str
    licence: str
    splits: tuple[str, ...]
    homepage: str = ""
    description: str = ""
    download: str = ""


@dataclass(frozen=True)
class Training:
    """A training that a task needs before it can score: made once by the engine, shared by every method it is equal for.

    Attributes:
        role: the name under which the task finds it again.
        on: the pictures it learns from.
        arguments: everything that changes its outcome, besides pictures, seed and code.

    """

    role: str
    on: Literal["clear", "anonymized"]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskMeta:
    """What a task declares.

    Attributes:
        name: of the task.
        version: changes whenever the same pictures would get another number.
        kind: what its scores are about: where they stand in tables, and how strictly they are printed.
        main_score: `Score.name` of the one that stands for all.
        layouts: of the datasets it can read (``market1501``, ``coco``, ``cityscapes``).
        metrics: unit and direction of everything it records, by name.
        scenarios: what its scenarios mean, by name; it records under no other.
        columns: names of the scores in the main table; where empty, the main metric under every scenario.
        figures: what a report shows of it besides tables; their files lie in `RunContext.artefacts`.
        description: one line for `dp2bench list tasks`.
        reference: who proposed it.
        exclusive: it measures time, so that nothing else of a run should work beside it.

    """

    name: str
    version: str
    kind: TaskKind
    main_score: str
    layouts: tuple[str, ...]
    metrics: Mapping[str, Metric] = field(hash=False)
    scenarios: Mapping[str, Scenario] = field(default_factory=dict, hash=False)
    columns: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    description: str = ""
    reference: str = ""
    exclusive: bool = False

    def identity(self) -> dict[str, Any]:
        """See `ComponentMeta.identity`."""
        return {"revision": self.version}


Progress = Callable[[int, int], None]
"""Called with (done, total) while a step works."""


def no_progress(done: int, total: int) -> None:
    """Report to nobody."""


@dataclass
class RunContext:
    """What a task may use while it runs.

    Attributes:
        seed: the run's seed; everything random derives from it.
        trained: folder of each finished Training by role.
        artefacts: folder for files worth keeping beside the scores: the data of figures, tables, pictures.
        device: torch device name.
        threads: threads a computation may use.
        progress: to be called while working.
        scores: what was recorded so far; see `record`.
        units: the values behind them, {score name: {unit id: value}}.
        people: what the run's detector found, by split and sample id.
        missed: who of them is still recognisable in the anonymized dataset: reason by person index, by split and sample id;
            pictures without such people are left out.
        method: makes the method that is scored, for tasks that measure the method itself. Not for a folder made elsewhere.
        detector: makes the run's detector, bound to the clear dataset.
        cache: folder for what any later step may reuse, under names that are hashes of the content; None to keep nothing.

    """

    seed: int
    trained: Mapping[str, Path]
    artefacts: Path
    device: str = "cpu"
    threads: int = 2
    progress: Progress = no_progress
    scores: list[Score] = field(default_factory=list)
    units: dict[str, Mapping[str, float]] = field(default_factory=dict)
    people: Mapping[str, Mapping[str, People]] = field(default_factory=dict)
    missed: Mapping[str, Mapping[str, Mapping[int, str]]] = field(default_factory=dict)
    method: Callable[[], Anonymizer] | None = None
    detector: Callable[[], Detector] | None = None
    cache: Path | None = None

    def record(
        self,
        metric: str,
        units: Mapping[str, float] | None = None,
        *,
        scenario: str = "",
        subset: str = "",
        value: float | None = None,
        n: int | None = None,
        chance: float | None = None,
        chance_high: float | None = None,
        p_value: float | None = None,
        lift: float | None = None,
        ci95: tuple[float, float] | None = None,
        by: str = "",
    ) -> Score:
        """Record a score with the values behind it.

        The engine takes the 95 % interval from ``units`` (a bootstrap of their mean, over seeds together), and comparisons pair two
        runs by them. So give them wherever the score is a mean, or can be written as one.

        Args:
            metric: one of the task's `TaskMeta.metrics`.
            units: value of each query, picture or person by its id, in the metric's unit; None where the score is no mean of any. Units
                of one cluster (identity), which are not independent, say so in their ids; see `dp2bench.core.results.CLUSTER`.
            scenario: one of the task's `TaskMeta.scenarios`; empty where there is one alone.
            subset: of the units, as in ``small``; empty for all.
            value: the score; the mean of ``units`` by default.
            n: how many units count; those given by default.
            chance: see `Score`, as the rest.
            chance_high: 97.5 % quantile of ``chance``.
            p_value: of the value under ``chance``.
            lift: share of the way from ``chance`` to the value on clear pictures.
            ci95: 95 % interval where the task knows a better one than the bootstrap over units.
            by: see `Score`.

        Raises:
            ValueError: recorded twice, neither units nor a value with n, or a number that is not finite.

        """
        values = dict(units or {})
        if value is None:
            if not values:
                raise ValueError(f"the score {metric!r} has neither units nor a value")
            value = float(np.mean(list(values.values())))
        if n is None:
            if not values:
                raise ValueError(
                    f"the score {metric!r} has a value without units: say n, how many are behind it"
                )
            n = len(values)
        from dp2bench.core.results import Score

        score = Score(
            metric=metric,
            scenario=scenario,
            subset=subset,
            value=value,
            n=n,
            chance=chance,
            chance_high=chance_high,
            p_value=p_value,
            lift=lift,
            ci95=ci95,
            by=by,
        )
        if not np.isfinite(list(values.values())).all():
            raise ValueError(f"{score.name}: a unit's value is not finite")
        if any(score.name == other.name for other in self.scores):
            raise ValueError(f"{score.name} is recorded twice")
        self.scores.append(score)
        if values:
            self.units[score.name] = values
        return score


@runtime_checkable
class Detector(Protocol):
    """Finds people. Derive from it: what is not abstract has a default that suits a detector that looks at pixels alone.

    Implementations are constructed with keyword arguments only.
    """

    meta: ComponentMeta
    people_named: int | None = None
    """How many people annotations name, in whatever picture; None for who looks at pixels."""

    @abstractmethod
    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """People of each picture. ``samples`` says which pictures these are (for detections that are looked up)."""

    @property
    def uses_annotations(self) -> bool:
        """Whether people are looked up in a dataset's annotations, so that the time it takes says nothing."""
        return False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of the annotations, in sentences: which category was taken for people."""
        return ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a user should check in the annotations, in sentences; the command line then ends with exit code 1."""
        return ()

    def for_dataset(self, dataset: Dataset) -> Detector:
        """The detector for one dataset. One that looks people up there returns another; the others stay as they are."""
        return self


@runtime_checkable
class Anonymizer(Protocol):
    """A whole method: picture in, picture out. Must depend on its arguments alone, never on earlier calls.

    One with stages worth timing names them by `dp2bench.core.profiling.span`.
    """

    meta: MethodMeta

    @abstractmethod
    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """Replace the people in a picture; who is left is in ``missed``."""


@dataclass(frozen=True)
class InpainterTraits:
    """What is special about an inpainter. The defaults suit any generator; the others save time.

    Attributes:
        low_frequency: its output has no detail, so that its crops may be resized bilinearly.
        uses_conditions: it looks at the surfaces and keypoints of crops; they are not sampled for one that does not.
        linear_operator: the filter that it is along one axis, where it is a separable linear filter of its crop; enlarged crops
            are then filled without being made. The same object for the same filter.
        face_crop: the definition of the crop around a face that it was made for; None takes the anonymizer's.

    """

    low_frequency: bool = False
    uses_conditions: bool = True
    linear_operator: LinearOperator | None = None
    face_crop: FaceCrop | None = None


class StyleSpace(Protocol):
    """The styles of a generator: a vector space in which a step changes its pictures gradually.

    Directions in it are edits, and the evenness of its steps is the perceptual path length.
    """

    @abstractmethod
    def styles(self, seeds: Sequence[Seed]) -> NDArray[np.float32]:
        """(B, D) float32: the style of each seed, not truncated."""

    @abstractmethod
    def render(self, crops: CropBatch, styles: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, h, w, 3) float32, 0 to 255 and not rounded: whole crops, their masks filled in these styles, computed in float32.

        Row i depends on crop i and style i alone.
        """


@runtime_checkable
class Inpainter(Protocol):
    """A method that only fills regions; `dp2bench.inpainting.anonymizer.InpaintingAnonymizer` crops and stitches around it.

    Derive from it: what is not abstract has a default.
    """

    meta: MethodMeta
    crop_size: tuple[int, int]
    """Height and width of the crops it wants, in pixels."""
    traits: InpainterTraits = InpainterTraits()

    @property
    def style_space(self) -> StyleSpace | None:
        """The styles that seeds are drawn as; None where it has none."""
        return None

    @abstractmethod
    def inpaint(self, crops: CropBatch, *, seeds: Sequence[Seed]) -> NDArray[np.uint8]:
        """(B, h, w, 3) uint8; only pixels inside ``crops.masks`` are used. Row i depends on crop i and seed i alone."""

    def preferred_batch(self) -> int:
        """How many crops it computes at once; crops of several pictures are collected until there are as many."""
        return 1


class FillRequest(NamedTuple):
    """Crops of one picture, and who fills them.

    Attributes:
        inpainter: who fills them.
        crops: B crops.
        seeds: one a crop.

    """

    inpainter: Inpainter
    crops: CropBatch
    seeds: Sequence[Seed]


FillRequests = Generator[FillRequest, NDArray[np.uint8], Anonymized]
"""A picture's crops in the order of filling; each request is sent its (B, h, w, 3) uint8 fills, and the anonymized picture returned."""


@runtime_checkable
class BatchedAnonymizer(Protocol):
    """An anonymizer whose crops somebody else can fill, together with those of other pictures."""

    @abstractmethod
    def fill_requests(self, image: Image, people: People, *, seed: Seed) -> FillRequests:
        """As `Anonymizer.anonymize`, step by step: the same picture whoever answers."""


@runtime_checkable
class CropAnonymizer(Anonymizer, BatchedAnonymizer, Protocol):
    """An anonymizer around inpainters, which shows what each is handed."""

    inpainter: Inpainter
    """The one it is made of, or the first of several."""

    @abstractmethod
    def crops(self, image: Image, people: People, *, seed: Seed) -> Iterator[tuple[Inpainter, CropBatch]]:
        """Every crop of a picture as a batch of one, in the order of filling, and who fills it.

        The background of a crop holds what was filled before it, as in `anonymize`.
        """


class Dataset(ABC):
    """Pictures of people in an official on-disk layout."""

    layout: ClassVar[str]
    """Name of the on-disk format: ``market1501``, ``coco``, ``cityscapes``, ``folder``, ..."""
    needs_root: ClassVar[bool] = False
    """The user brings it and says where it lies; otherwise it is made or found without being told."""
    meta: DatasetMeta
    root: Path

    @abstractmethod
    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures of a split, in a fixed order. Raises DatasetError for an unknown split or a broken layout."""

    def files(self, split: str) -> Sequence[tuple[Sample, ...]]:
        """`samples` by the file that `write` makes of them: one each, or all pages of a file."""
        samples = self.samples(split)
        return Lazy(len(samples), lambda k: (samples[k],))

    def places(self, out: Path, split: str) -> Iterator[tuple[str, str, str | None]]:
        """Name, path and `written` path of each of `files`, without opening any: there may be millions. Names are unique within the split."""
        for samples in self.files(split):
            written = self.written(out, split, samples[0])
            yield samples[0].id, str(samples[0].path), None if written is None else str(written)

    def read(self, sample: Sample) -> Image:
        """The picture of a sample. Raises PictureError, which names it.

        Whoever wants pixels asks here: a sample's ``path`` need not be a picture's file (an archive's member, a frame of a
        video). Pictures are read ahead by a thread, one after the other, while others ask for people and samples.
        """
        return read_image(sample.path)

    def written(self, out: Path, split: str, sample: Sample) -> Path | None:
        """The file in which `rewrite` puts this picture alone, before it asks for the next; None where it does so otherwise.

        Rewriting such a dataset can be stopped and gone on with: of what is finished, `rewrite` is handed None as the picture. And
        several threads or processes can write it at once; see `write`.
        """
        return None

    def write(
        self, out: Path, split: str, samples: Sequence[Sample], images: Sequence[Image]
    ) -> tuple[str, ...]:
        """Write one file of a dataset that has `written`, as `rewrite` does. Called from several threads.

        Args:
            out: the copy's root.
            split: of the samples.
            samples: one; of a file of several pages all of them.
            images: one a sample.

        Returns:
            What the file has not and the original has, such as ``transparency``.

        Raises:
            PictureError: the file cannot hold the pictures.

        """
        target = self.written(out, split, samples[0])
        if target is None:
            raise NotImplementedError(f"{type(self).__name__} does not write picture by picture")
        write_image(target, images[0])
        return ()

    @abstractmethod
    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Dataset:
        """A copy of this dataset at ``out`` in the SAME official layout, with these (split, id, picture) as its pictures.

        Labels are copied unchanged. Pictures that are not handed over are left out, never copied. They come in the order of `samples`;
        where `written` names a file, after those that lie there already, for which None stands.
        """

    @abstractmethod
    def verify(self) -> None:
        """Raises DatasetError that says exactly what is missing and where to get it."""

    def prepare(self, progress: Progress = no_progress) -> None:  # noqa: B027 - doing nothing is the default
        """Make or fetch what is not there yet; does nothing for data that the user brings."""

    def fingerprint(self) -> str:
        """sha256 over version, names and contents of every picture of every split."""
        digest = hashlib.sha256(self.meta.version.encode())
        for split in self.meta.splits:
            for sample in self.samples(split):
                digest.update(name_bytes(f"{split}/{sample.id}\0"))
                digest.update(hashlib.sha256(sample.path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a user should check in the annotations, in sentences."""
        return ()

    def people(self, sample: Sample) -> People | None:
        """The annotated people of a picture, or None where the dataset has no such annotation."""
        return None

    def open(self, root: Path) -> Dataset:
        """The same kind of dataset at another root (e.g. one anonymized by another tool)."""
        raise NotImplementedError(f"{type(self).__name__} cannot be opened at another folder")


class Task(ABC):
    """One benchmark task. Constructed with keyword arguments, the task's settings of the suite."""

    meta: ClassVar[TaskMeta]

    @property
    @abstractmethod
    def arguments(self) -> Mapping[str, Any]:
        """Every effective setting, defaults filled in; part of the cache key and of the provenance."""

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """Splits whose people or anonymized pictures `train` and `run` look at: no others are anonymized for this task."""
        return dataset.meta.splits

    def trainings(self) -> tuple[Training, ...]:
        """What must be trained before `run`."""
        return ()

    def train(self, training: Training, dataset: Dataset, out: Path, context: RunContext) -> None:
        """Do one training and leave its files in ``out``; called again after a kill, ``out`` holds what was left there."""
        raise NotImplementedError(f"{type(self).__name__} declares a training and does not implement it")

    @abstractmethod
    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """Score one method for one seed: `RunContext.record` each score."""
