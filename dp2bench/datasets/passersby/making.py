"""Making a dataset: a plan in chunks, worker processes that can be killed at any time, and a folder that appears whole."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image as PILImage

from dp2bench.core.contracts import Progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Image
from dp2bench.datasets.passersby.people import act, dress, look, pose
from dp2bench.datasets.passersby.scene import STYLES, Camera, Seen, render

VERSION = "1.2"
"""Changes when pixels or labels do."""

WIDTH, HEIGHT = 64, 128
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


@dataclass(frozen=True)
class Size:
    """How much a size holds: identities, cameras, pictures of each identity before each camera."""

    train: int
    test: int
    cameras: int
    per_camera: int
    query_cameras: int
    gallery: int
    distractors: int
    junk: int


SIZES = {
    "smoke": Size(
        train=12, test=12, cameras=3, per_camera=1, query_cameras=2, gallery=1, distractors=4, junk=2
    ),
    "mini": Size(
        train=80, test=48, cameras=6, per_camera=2, query_cameras=3, gallery=2, distractors=60, junk=20
    ),
    "large": Size(
        train=400, test=400, cameras=6, per_camera=4, query_cameras=3, gallery=2, distractors=1000, junk=200
    ),
}


@dataclass(frozen=True)
class Shot:
    """One picture of the plan."""

    split: str
    identity: int
    """0 for a distractor, -1 for junk."""
    camera: int
    frame: int
    stream: str
    person: int
    """Which identity of the stream is shown."""

    @property
    def name(self) -> str:
        """The file's name: identity, camera, sequence, frame and box."""
        who = "-1" if self.identity < 0 else f"{self.identity:04d}"
        return f"{who}_c{self.camera + 1}s1_{self.frame:06d}_00.jpg"


def plan(size: str) -> list[list[Shot]]:
    """The pictures of a size, in chunks that are made together (about one identity each)."""
    n = SIZES[size]
    chunks = [
        [
            Shot("train", i + 1, c, 100 * i + k, "reid-train", i)
            for c in range(n.cameras)
            for k in range(n.per_camera)
        ]
        for i in range(n.train)
    ]
    for i in range(n.test):
        identity, first = n.train + 1 + i, 100 * (n.train + i)
        turn = generator(derive_seed("passersby-reid", "query", i)).permutation(n.cameras)
        shots = [Shot("query", identity, int(c), first, "reid-test", i) for c in turn[: n.query_cameras]]
        shots += [
            Shot("gallery", identity, c, first + 1 + k, "reid-test", i)
            for c in range(n.cameras)
            for k in range(n.gallery)
        ]
        chunks.append(shots)
    extra = [Shot("gallery", 0, k % n.cameras, 900_000 + k, "reid-stranger", k) for k in range(n.distractors)]
    extra += [Shot("gallery", -1, k % n.cameras, 950_000 + k, "reid-test", k % n.test) for k in range(n.junk)]
    chunks += [extra[k : k + 12] for k in range(0, len(extra), 12)]
    return chunks


def shoot(shot: Shot) -> tuple[Image, list[Seen]]:
    """Take one picture; depends on the shot alone."""
    who = look(shot.stream, shot.person)
    # Whether the bag is carried is a matter of the day, that is of person and camera.
    day = generator(derive_seed("passersby-reid", "day", shot.stream, shot.person, shot.camera))
    bag = bool(day.random() < 0.9)
    r = generator(derive_seed("passersby-reid", "shot", shot.split, shot.identity, shot.camera, shot.frame))
    style = STYLES[shot.camera]
    camera = Camera.looking(float(r.uniform(4.5, 9)), float(r.uniform(*style.height)), 0.9, (WIDTH, HEIGHT))
    kinds = ("walk", "stand", "walk", "phone", "walk", "wave")

    def somebody(stream: str, person: int, at: tuple[float, float], bag: bool) -> Any:
        away = 0.4 if r.random() < 0.8 else 2.0
        yaw = style.facing + float(r.normal(0, away))
        dressed = dress(look(stream, person), bag)
        return act(
            dressed, pose(r, kinds[int(r.choice(6, p=[0.3, 0.22, 0.2, 0.14, 0.1, 0.04]))]), yaw=yaw, at=at
        )

    main = somebody(shot.stream, shot.person, (0.0, 0.0), bag and who.bag != "none")
    shift = float(r.normal(0, 0.025)), float(r.normal(0, 0.02))
    camera = camera.framing(main.points, float(r.uniform(0.84, 0.97)), shift)
    w, h = camera.size
    if r.random() < 0.12:
        # A detector's box that misses the feet.
        zoom, drop = float(r.uniform(1.08, 1.25)), float(r.uniform(0.0, 0.06))
        x, y = camera.centre
        camera = replace(
            camera, focal=camera.focal * zoom, centre=(w / 2 + (x - w / 2) * zoom, (y + drop * h) * zoom)
        )
    if shot.identity <= 0:
        zoom = float(r.uniform(1.2, 1.8))
        x, y = camera.centre
        camera = replace(
            camera,
            focal=camera.focal * zoom,
            centre=(
                (x + w * float(r.choice([-0.28, 0.28]))) * zoom - w * (zoom - 1) / 2,
                y * zoom - h * float(r.uniform(0, zoom - 1)),
            ),
        )
    if shot.identity == 0 and r.random() < 0.4:
        empty: list[Seen] = []
        picture, _ = render([], camera, style, r)
        return picture, empty
    actors = [main]
    if r.random() < 0.1:
        side = float(r.choice([-1, 1]))
        near = r.random() < 0.45
        at = (
            (side * float(r.uniform(0.34, 0.55)), -float(r.uniform(0.45, 0.9)))
            if near
            else (side * float(r.uniform(0.25, 0.6)), float(r.uniform(0.5, 2)))
        )
        actors.append(somebody("reid-stranger", 1_000_000 + int(r.integers(1 << 20)), at, True))
    return render(actors, camera, style, r, thing=bool(r.random() < 0.08))


def _pack(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def make_chunk(shots: list[Shot], where: Path) -> None:
    """Take the pictures of a chunk into one file, which appears whole."""
    names, pictures, count, people, surfaces = [], [], [], [], []
    for shot in shots:
        image, seen = shoot(shot)
        style = STYLES[shot.camera]
        quality = int(generator(derive_seed("passersby-reid", "jpeg", shot.name)).integers(*style.quality))
        coded = io.BytesIO()
        PILImage.fromarray(image).save(coded, "JPEG", quality=quality)
        names.append(f"{shot.split}/{shot.name}")
        pictures.append(coded.getvalue())
        count.append(len(seen))
        people += seen
        surfaces += [zlib.compress(s.surface.tobytes(), 6) for s in seen]
    arrays = {
        "names": np.array(names),
        "pictures": np.frombuffer(b"".join(pictures), np.uint8),
        "picture_bytes": np.array([len(p) for p in pictures], np.int64),
        "people": np.array(count, np.int64),
        "boxes": np.array([s.box for s in people], np.int32).reshape(-1, 4),
        "keypoints": np.array([s.keypoints for s in people], np.float32).reshape(-1, 17, 3),
        "faces": np.array([s.face for s in people], np.float32).reshape(-1, 4),
        "main": np.array([s.actor == 0 for s in people], bool),
        "surfaces": np.frombuffer(b"".join(surfaces), np.uint8),
        "surface_bytes": np.array([len(s) for s in surfaces], np.int64),
    }
    _write(where, _pack(arrays))


def _write(where: Path, data: bytes) -> None:
    unfinished = where.with_name(f"{where.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(where)


def _readable(part: Path) -> bool:
    if not part.is_file():
        return False
    try:
        with np.load(part, allow_pickle=False) as data:
            for name in data.files:
                data[name]
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return True


class _Worker:
    """A process of ours that makes chunks until its standard input ends, be it because we were killed."""

    def __init__(self, size: str, parts: Path) -> None:
        single = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
        )
        path = os.pathsep.join(p for p in sys.path if p)
        # A child of our own rather than multiprocessing: that would run the caller's main script again.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "dp2bench.datasets.passersby.making", size, str(parts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **single, "PYTHONPATH": path},
        )

    def make(self, chunk: int) -> None:
        stdin, stdout = self._pipes()
        try:
            stdin.write(f"{chunk}\n")
            stdin.flush()
            answer = stdout.readline()
        except OSError:
            answer = ""
        if answer.strip() != "ok":
            said = json.loads(answer) if answer else f"it ended with exit status {self.process.wait()}"
            raise DatasetError(
                f"A worker that renders pictures failed: {said}",
                "Run the command again: it goes on where it stopped.",
            )

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the worker was started without pipes")
        return self.process.stdin, self.process.stdout

    def stop(self, *, now: bool) -> None:
        if now:
            self.process.kill()
        stdin, stdout = self._pipes()
        with contextlib.suppress(OSError):
            stdin.close()
        self.process.wait()
        stdout.close()


def _work(size: str, parts: str) -> None:
    """The worker's side of `_Worker`."""
    import cv2

    cv2.setNumThreads(1)
    chunks = plan(size)
    for line in sys.stdin:
        k = int(line)
        try:
            make_chunk(chunks[k], Path(parts) / f"{k:05d}.npz")
            answer = "ok"
        except Exception:  # noqa: BLE001 - whatever it is, the parent reports it
            answer = json.dumps(traceback.format_exc(limit=-3))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that two processes do not make the same dataset; freed by the system when we die."""
    with lock.open("a") as held:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def make(size: str, root: Path, progress: Progress, workers: int = 2) -> None:
    """Make a size at ``root`` unless it is there; goes on where an earlier attempt was killed."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with _alone(root.with_name(f"{root.name}.lock")):
        if root.exists():
            return
        partial = root.with_name(f"{root.name}.partial")
        parts = partial / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        for unfinished in parts.glob("*.tmp"):
            unfinished.unlink()
        chunks = plan(size)
        total = sum(map(len, chunks))
        missing = [k for k in range(len(chunks)) if not _readable(parts / f"{k:05d}.npz")]
        done = total - sum(len(chunks[k]) for k in missing)
        progress(done, total)
        for k in _made(size, parts, missing, workers):
            done += len(chunks[k])
            progress(done, total)
        _assemble(size, [parts / f"{k:05d}.npz" for k in range(len(chunks))], partial / "whole")
        (partial / "whole").rename(root)
        shutil.rmtree(partial)


def _made(size: str, parts: Path, chunks: list[int], workers: int) -> Iterator[int]:
    """Chunks as they are finished by worker processes."""
    if not chunks:
        return
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    for k in chunks:
        todo.put(k)
    pool = [_Worker(size, parts) for _ in range(min(workers, len(chunks)))]

    def feed(worker: _Worker) -> None:
        try:
            while True:
                k = todo.get_nowait()
                worker.make(k)
                results.put(k)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            results.put(error)

    threads = [threading.Thread(target=feed, args=(w,), daemon=True) for w in pool]
    finished = False
    try:
        for thread in threads:
            thread.start()
        for _ in chunks:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
        finished = True
    finally:
        for worker in pool:
            worker.stop(now=not finished)


def _assemble(size: str, parts: list[Path], whole: Path) -> None:
    """The folder in its official layout, annotations and manifest from the chunks."""
    if whole.exists():
        shutil.rmtree(whole)
    hashes: dict[str, str] = {}

    def put(name: str, data: bytes) -> None:
        hashes[name] = hashlib.sha256(data).hexdigest()
        (whole / name).write_bytes(data)

    for folder in (*FOLDERS.values(), "annotations"):
        (whole / folder).mkdir(parents=True)
    rows: dict[str, list[tuple[str, list[Any], list[bytes]]]] = {split: [] for split in FOLDERS}
    for part in parts:
        with np.load(part, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
        picture_end, surface_end, person_end = (
            np.cumsum(data[k]) for k in ("picture_bytes", "surface_bytes", "people")
        )
        pictures, surfaces = data["pictures"].tobytes(), data["surfaces"].tobytes()
        for i, full in enumerate(data["names"]):
            split, name = str(full).split("/")
            put(
                f"{FOLDERS[split]}/{name}",
                pictures[picture_end[i] - data["picture_bytes"][i] : picture_end[i]],
            )
            mine = range(person_end[i] - data["people"][i], person_end[i])
            people = [{k: data[k][j] for k in ("boxes", "keypoints", "faces", "main")} for j in mine]
            rows[split].append(
                (
                    name,
                    people,
                    [surfaces[surface_end[j] - data["surface_bytes"][j] : surface_end[j]] for j in mine],
                )
            )
    for split, pictures_of in rows.items():
        pictures_of.sort(key=lambda row: row[0])
        people = [p for _, persons, _ in pictures_of for p in persons]
        blobs = [b for _, _, some in pictures_of for b in some]
        arrays = {
            "names": np.array([name for name, _, _ in pictures_of]),
            "first": np.cumsum([0, *(len(persons) for _, persons, _ in pictures_of)]),
            "boxes": np.array([p["boxes"] for p in people], np.int32).reshape(-1, 4),
            "keypoints": np.array([p["keypoints"] for p in people], np.float32).reshape(-1, 17, 3),
            "faces": np.array([p["faces"] for p in people], np.float32).reshape(-1, 4),
            "main": np.array([p["main"] for p in people], bool),
            "surfaces": np.frombuffer(b"".join(blobs), np.uint8),
            "surface_first": np.cumsum([0, *(len(b) for b in blobs)]),
        }
        put(f"annotations/{split}.npz", _pack(arrays))
    n = SIZES[size]
    attributes = {i + 1: look("reid-train", i).attributes() for i in range(n.train)}
    attributes |= {n.train + 1 + i: look("reid-test", i).attributes() for i in range(n.test)}
    put("annotations/attributes.json", json.dumps(attributes, indent=1).encode())
    manifest = {
        "dataset": "passersby-reid",
        "version": VERSION,
        "size": size,
        "sha256": dict(sorted(hashes.items())),
    }
    (whole / "manifest.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    _work(*sys.argv[1:])
