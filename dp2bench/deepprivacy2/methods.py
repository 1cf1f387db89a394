"""DeepPrivacy2 and DeepPrivacy as methods of the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from dp2bench.core.contracts import Inpainter, MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, People
from dp2bench.deepprivacy2 import generator_weights as _weights
from dp2bench.deepprivacy2 import surface_guided
from dp2bench.deepprivacy2.generator_weights import Role
from dp2bench.deepprivacy2.inpainter import (
    CENTRES,
    SAMPLES,
    Centre,
    GeneratorInpainter,
    Precision,
    Truncation,
)
from dp2bench.inpainting.anonymizer import Fallback, InpaintingAnonymizer, Pending
from dp2bench.weights.catalogue import MissingWeightsError
from dp2bench.weights.digests import check_record

if TYPE_CHECKING:
    from dp2bench.inpainting.anonymizer import InpainterSelector

Mode = Literal["body+face", "body", "face"]
Preset = Literal["published", "published-market1501"]
Source = str | Path | None
USUAL: Mapping[str, Any] = {
    "fallback": "mask-out", "pending": "masked", "psi": None,
    "centres": CENTRES, "centre_samples": SAMPLES, "centre": "nearest",
}  # fmt: skip
PUBLISHED: Mapping[str, Any] = {
    "fallback": "none", "pending": "visible", "psi": 0.0,
    "centres": 512, "centre_samples": 600_000, "centre": "random",
}  # fmt: skip
_ARGUMENTS: Mapping[Role, str] = {"body-cse": "cse", "body": "person", "face": "face"}


@dataclass(frozen=True)
class Method:
    """A factory that says what it makes before any weights are looked for."""

    meta: MethodMeta
    make: Callable[..., Any]

    def __call__(self, **arguments: Any) -> Any:
        """The method, with these arguments."""
        return self.make(self.meta, **arguments)


def _deepprivacy2(
    meta: MethodMeta,
    *,
    weights: Source = None,
    cse: Source = None,
    person: Source = None,
    face: Source = None,
    preset: Preset | None = None,
    mode: Mode | None = None,
    truncation: Truncation = "multi-modal",
    psi: float | None = None,
    centres: int | None = None,
    centre_samples: int | None = None,
    centre: Centre | None = None,
    fallback: Fallback | None = None,
    pending: Pending | None = None,
    feather: float = 0.0,
    edit: str | Sequence[str] = (),
    strength: float = 0.5,
    device: str | None = None,
    precision: Precision = "auto",
    batch_size: int | None = None,
    compile: bool = False,  # noqa: A002 - as torch calls it
) -> InpaintingAnonymizer:
    """DeepPrivacy2 (Hukkelas and Lindseth 2023): each detection goes to the generator of its category.

    A category without a generator goes to the nearest: a person with a surface to the generator that takes none, and the other
    way round with the surface unknown. Who is left goes to ``fallback``.

    Args:
        meta: what the method is called and declares.
        weights: of all generators: ``mini``, ``official``, or None for what the package embeds.
        cse: of the generator for people with a surface: a path, a name (see `weights.resolve`), or ``none`` for no generator.
        person: of the generator for people without one.
        face: of the generator for faces.
        preset: ``published``: where ours differs by choice, as the repository has it: people whom it leaves are left and reported,
            and others are visible while somebody is filled; truncation to one of 512 centres of 600,000 styles, drawn at random.
            ``published-market1501``: the same, and bodies only, as its configurations for Market-1501 have it. What is given beside
            it goes before it. Thresholds are the detector's: give it the same preset.
        mode: ``body+face``, the default: people, and faces that belong to nobody. ``body``: people only; a lone face goes to ``fallback``.
            ``face``: the face of everybody who has one; nothing else is touched.
        truncation: see `GeneratorInpainter`.
        psi: see `GeneratorInpainter`.
        centres: see `GeneratorInpainter`.
        centre_samples: see `GeneratorInpainter`.
        centre: see `GeneratorInpainter`.
        fallback: see `InpaintingAnonymizer`; ``mask-out`` where omitted.
        pending: see `InpaintingAnonymizer`; ``masked`` where omitted; ``visible`` is the published behaviour, and lets people who are not yet replaced
            be seen by the generators of others.
        feather: see `InpaintingAnonymizer`.
        edit: how everybody is to look, one or several: ``upper=red``, a text, or a direction's file, each perhaps with ``:strength``;
            see `editing.resolve`.
        strength: of edits that bring none.
        device: see `GeneratorInpainter`.
        precision: see `GeneratorInpainter`.
        batch_size: see `GeneratorInpainter`.
        compile: see `GeneratorInpainter`.

    """
    if preset is not None and preset not in get_args(Preset):
        raise ValueError(f"preset is {' or '.join(get_args(Preset))}, not {preset!r}")
    usual: Mapping[str, Any] = PUBLISHED if preset else USUAL
    mode = mode or ("body" if preset == "published-market1501" else "body+face")
    fallback, pending = fallback or usual["fallback"], pending or usual["pending"]
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {', '.join(get_args(Mode))}, not {mode!r}")
    asked: dict[Role, Source] = {"body-cse": cse, "body": person, "face": face}
    if mode == "face":
        asked = {"face": face}
    elif mode == "body":
        del asked["face"]
    found: dict[Role, Path | None] = {}
    missing: list[str] = []
    for role, given in asked.items():
        try:
            found[role] = _find(given, weights, role)
        except MissingWeightsError as error:
            missing += error.names
    if missing:
        without = [f"`{_ARGUMENTS[role]}=none`" for role in asked if role not in found and mode != "face"]
        raise MissingWeightsError(
            missing,
            f"The method {meta.name!r}",
            f"Or do without, by {' or '.join(without)}." if without else "",
        )
    if mode != "face" and not (found["body-cse"] or found["body"]):
        people: tuple[tuple[Source, Role], ...] = ((cse, "body-cse"), (person, "body"))
        for given, role in people:
            if _one(given, weights) != "none":
                _weights.resolve(_one(given, weights), role)  # says what is missing
        raise ValueError("no generator for people: give weights for `cse` or `person`, or take mode='face'")
    if mode == "face" and not found["face"]:
        if _one(face, weights) != "none":
            _weights.resolve(_one(face, weights), "face")
        raise ValueError("no generator for faces: give weights for `face`")
    common: dict[str, Any] = {
        "truncation": truncation,
        "psi": usual["psi"] if psi is None else psi,
        "centres": centres or usual["centres"],
        "centre_samples": centre_samples or usual["centre_samples"],
        "centre": centre or usual["centre"],
        "device": device,
        "precision": precision,
        "batch_size": batch_size,
        "compile": compile,
    }
    made = {role: _inpainter(meta.name, path, role, common) for role, path in found.items() if path}
    _edit(list(made.values()), [edit] if isinstance(edit, str) else list(edit), strength)
    effective = {
        "mode": mode,
        "generators": {role: one.arguments() for role, one in made.items()},
        **_stitching(fallback, pending, feather),
    }
    select_inpainter = _route(made.get("body-cse"), made.get("body"), made.get("face"), mode)
    first = next(iter(made.values()))
    declared = _declare(meta, list(made.values()), effective, pending)
    declared = replace(declared, scope="face" if mode == "face" else "body")
    return InpaintingAnonymizer(
        first,
        meta=declared,
        select_inpainter=select_inpainter,
        fallback=fallback,
        pending=pending,
        feather=feather,
    )


def _edit(made: Sequence[GeneratorInpainter], texts: Sequence[str], strength: float) -> None:
    """Give each generator the directions that it has; a Dp2benchError for an edit that none of them has."""
    if not texts:
        return
    from dp2bench.deepprivacy2 import editing

    left = set(texts)
    for one in made:
        edits, missing = editing.resolve(texts, strength, one.file)
        one.edits = tuple(edits)
        left &= set(missing)
    if left:
        raise editing.missing_directions(sorted(left), [one.file for one in made])


def _without_surface(meta: MethodMeta, **given: Any) -> InpaintingAnonymizer:
    """The paper's ablation: everybody goes to the generator that knows no surface. Arguments as in `deepprivacy2`."""
    if given.get("cse") is not None:
        raise TypeError("deepprivacy2-no-cse takes no argument 'cse'")
    return _deepprivacy2(meta, **given | {"cse": "none"})


def _faces(meta: MethodMeta, **given: Any) -> InpaintingAnonymizer:
    """Faces only. Arguments as in `deepprivacy2`, without ``mode``, ``cse`` and ``person``."""
    for name in ("mode", "cse", "person"):
        if name in given:
            raise TypeError(f"deepprivacy2-face takes no argument {name!r}")
    return _deepprivacy2(meta, mode="face", **given)


def _deepprivacy1(
    meta: MethodMeta,
    *,
    weights: Source = None,
    fallback: Fallback = "mask-out",
    pending: Pending = "masked",
    feather: float = 0.0,
    device: str | None = None,
    precision: Precision = "auto",
    batch_size: int | None = None,
    compile: bool = False,  # noqa: A002 - as torch calls it
) -> InpaintingAnonymizer:
    """DeepPrivacy (Hukkelas et al. 2019): faces, guided by seven keypoints of the body.

    The published anonymizer leaves a face whose keypoints it does not find; here it goes to ``fallback``.
    """
    path = _weights.resolve(weights, "face-keypoints")
    one = _inpainter(
        meta.name,
        path,
        "face-keypoints",
        {"device": device, "precision": precision, "batch_size": batch_size, "compile": compile},
    )

    def select_inpainter(people: People) -> Sequence[Inpainter | None]:
        if people.keypoints is None:
            return [None] * len(people)
        seen = np.all(people.keypoints[:, :3, 2] > 0, axis=1)  # nose and eyes place the face
        return [one if known else None for known in seen.tolist()]

    effective = {"generators": {"face-keypoints": one.arguments()}, **_stitching(fallback, pending, feather)}
    declared = _declare(meta, [one], effective, pending)
    return InpaintingAnonymizer(
        one,
        meta=declared,
        select_inpainter=select_inpainter,
        fallback=fallback,
        pending=pending,
        feather=feather,
    )


def _keypoint_guided(
    meta: MethodMeta,
    *,
    weights: Source = None,
    truncation: Truncation = "multi-modal",
    psi: float | None = None,
    fallback: Fallback = "mask-out",
    pending: Pending = "masked",
    feather: float = 0.0,
    edit: str | Sequence[str] = (),
    strength: float = 0.5,
    device: str | None = None,
    precision: Precision = "auto",
    batch_size: int | None = None,
    compile: bool = False,  # noqa: A002 - as torch calls it
) -> InpaintingAnonymizer:
    """TriA-GAN (Hukkelas and Lindseth 2024): bodies, guided by 17 keypoints. Arguments as in `deepprivacy2`.

    Keypoints come from the detector, e.g. ``with-keypoints``; who has none goes to ``fallback``.
    """
    path = _weights.resolve(weights, "keypoint-guided")
    settings = {
        "truncation": truncation, "psi": psi, "device": device, "precision": precision,
        "batch_size": batch_size, "compile": compile,
    }  # fmt: skip
    one = _inpainter(meta.name, path, "keypoint-guided", settings)
    _edit([one], [edit] if isinstance(edit, str) else list(edit), strength)

    def select(people: People) -> Sequence[Inpainter | None]:
        if people.keypoints is None:
            return [None] * len(people)
        known = np.asarray((people.keypoints[:, :, 2] > 0).any(1))
        return [one if has else None for has in known.tolist()]

    effective = {"generators": {"keypoint-guided": one.arguments()}, **_stitching(fallback, pending, feather)}
    declared = _declare(meta, [one], effective, pending)
    return InpaintingAnonymizer(
        one, meta=declared, select_inpainter=select, fallback=fallback, pending=pending, feather=feather
    )


def _one(given: Source, shared: Source) -> Source:
    return shared if given is None else given


def _find(given: Source, shared: Source, role: Role) -> Path | None:
    """The file of a role; None where none is wanted, or the package embeds none and nobody asked for it."""
    wanted = _one(given, shared)
    if wanted == "none":
        return None
    if wanted in {None, "mini"} and given is None and _weights.EMBEDDED[role] not in _weights.embedded():
        return None
    return _weights.resolve(wanted, role)


def _inpainter(method: str, path: Path, role: Role, settings: dict[str, Any]) -> GeneratorInpainter:
    check_record(path)
    file = _weights.describe(path)
    part: Literal["face", "body"] = "face" if role.startswith("face") else "body"
    of_another_make = {"face-keypoints", "surface-guided", "keypoint-guided"}
    if ("face" if file.role.startswith("face") else "body") != part or (
        role != file.role and (role in of_another_make or file.role in of_another_make)
    ):
        raise Dp2benchError(
            f"{path} is a generator for {file.role!r}, and {method} needs one for {role!r}.",
            "Give other weights (`dp2bench weights list`).",
        )
    meta = MethodMeta(method, scope=part, deterministic=False, uses_masked_pixels=False)
    return GeneratorInpainter(file, meta, **settings)


def _declare(
    meta: MethodMeta, made: Sequence[GeneratorInpainter], effective: dict[str, Any], pending: Pending
) -> MethodMeta:
    return replace(
        meta,
        weights=tuple(one.file.weights() for one in made),
        deterministic=all(one.deterministic for one in made),
        uses_masked_pixels=pending == "visible",  # people not yet replaced are in the background of others
        arguments=effective,
    )


def _stitching(fallback: Fallback, pending: Pending, feather: float) -> dict[str, Any]:
    return {"fallback": fallback, "pending": pending, "feather": feather}


def _route(
    cse: GeneratorInpainter | None,
    person: GeneratorInpainter | None,
    face: GeneratorInpainter | None,
    mode: Mode,
) -> InpainterSelector:
    def select_inpainter(people: People) -> Sequence[Inpainter | None]:
        if mode == "face":
            return [face] * len(people)
        out: list[Inpainter | None] = []
        for category, surface in zip(people.categories, people.surfaces, strict=True):
            if category == Category.FACE:
                out.append(face)
            elif cse is not None and surface is not None and cse.knows(surface.template):
                out.append(cse)
            else:
                out.append(person or cse)
        return out

    return select_inpainter


deepprivacy2 = Method(
    MethodMeta(
        "deepprivacy2",
        deterministic=False,
        uses_masked_pixels=False,
        description="DeepPrivacy2: bodies, guided by surfaces where they are known, and faces that belong to no body.",
    ),
    _deepprivacy2,
)
deepprivacy2_no_cse = Method(
    MethodMeta(
        "deepprivacy2-no-cse",
        deterministic=False,
        uses_masked_pixels=False,
        description="DeepPrivacy2 without surface guidance: the paper's unconditional generator for every body.",
    ),
    _without_surface,
)
deepprivacy2_face = Method(
    MethodMeta(
        "deepprivacy2-face",
        scope="face",
        deterministic=False,
        uses_masked_pixels=False,
        description="DeepPrivacy2's face generator for every face.",
    ),
    _faces,
)
surface_guided_gan = Method(
    MethodMeta(
        "surface-guided-gan",
        deterministic=False,
        uses_masked_pixels=False,
        description="Surface Guided GANs: bodies, each pixel styled by the vertex of the surface that it shows.",
    ),
    surface_guided.make,
)
triagan = Method(
    MethodMeta(
        "triagan",
        deterministic=False,
        uses_masked_pixels=False,
        description="TriA-GAN: bodies, guided by 17 keypoints.",
    ),
    _keypoint_guided,
)
deepprivacy1 = Method(
    MethodMeta(
        "deepprivacy1",
        scope="face",
        deterministic=False,
        uses_masked_pixels=False,
        description="DeepPrivacy: faces, guided by seven keypoints.",
    ),
    _deepprivacy1,
)
