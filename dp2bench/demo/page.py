"""The page of the demonstration, in Gradio."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from dp2bench.core.contracts import Progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.deepprivacy2 import directions
from dp2bench.demo import session
from dp2bench.demo.private_folder import PrivateFolder
from dp2bench.demo.session import Choices, Loaded
from dp2bench.detection.preview import bounded

TITLE = "dp2bench"
NOTE = (
    "**Nothing leaves this machine.** The page is served to this machine alone, asks no other server, and counts nothing. Pictures lie in a "
    "folder of this program until the last page is closed; then they are deleted. Other users of this machine who know the address can open the page."
)
HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'
CSS = """
.gradio-container {max-width: 1200px !important; margin: auto !important}
#said p, #video-said p {font-size: 1.05em}
footer {display: none !important}
"""


def theme() -> Any:
    """Gradio's plain theme with fonts that the machine has."""
    sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return gr.themes.Soft(font=sans, font_mono=mono)


def _path(payload: Any) -> Any:
    """Of the file that was dropped, as it is; the library reads it, and says what is wrong with it."""
    return None if payload is None else payload.path


def _clearly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that fails with one message."""

    @functools.wraps(function)
    def handler(*given: Any, **named: Any) -> Any:
        try:
            return function(*given, **named)
        except gr.Error:
            raise
        except Dp2benchError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        except Exception as error:
            raise gr.Error(
                f"This failed unexpectedly: {type(error).__name__}: {error}. The terminal says where. Nothing was shown or written.",
                duration=None,
            ) from error

    return handler


def _choices(
    method: str, seed: float | None, psi: float, edits: Sequence[str], strength: float, careful: bool
) -> Choices:
    return Choices(method, int(seed or 0), psi, tuple(edits or ()), strength, careful)


def build(folder: PrivateFolder, *, seconds: float) -> Any:
    """The page.

    Args:
        folder: where it may write.
        seconds: of a video at most, 0 for all of it.

    """
    hidden = gr.update(value=None, visible=False)

    def look(path: str | None, *settings: Any) -> tuple[Any, ...]:
        if path is None:
            return None, None, gr.update(choices=[], value=[], visible=False), "", None, hidden
        loaded = session.load(Path(path), _choices(*settings), Path(path).name)
        everybody = list(range(len(loaded.people)))
        boxes = gr.update(
            choices=[(loaded.label(i), i) for i in everybody], value=everybody, visible=bool(everybody)
        )
        return loaded, loaded.drawn(everybody), boxes, loaded.said(), None, hidden

    def toggle(loaded: Loaded | None, chosen: list[int], event: gr.SelectData) -> list[int]:
        person = loaded.person_at(*event.index) if loaded is not None else None
        return chosen if person is None else sorted({*chosen} ^ {person})

    def draw(loaded: Loaded | None, chosen: list[int]) -> Any:
        return None if loaded is None else loaded.drawn(chosen)

    def replace(loaded: Loaded | None, chosen: list[int], *settings: Any) -> tuple[Any, ...]:
        if loaded is None:
            raise Dp2benchError("There is no picture yet.", "Drop one, or take one with the camera.")
        choices = _choices(*settings)
        made = session.replace_people(loaded, chosen, choices)
        target = Path(tempfile.mkdtemp(dir=folder.path), f"{Path(loaded.name).stem}-anonymized.png")
        session.write(made.image, target, choices)
        return (
            (bounded(loaded.image), bounded(made.image)),
            made.said,
            gr.update(value=str(target), visible=True),
        )

    def replace_video(path: str | None, *settings: Any, progress: Any = gr.Progress()) -> tuple[Any, str]:  # noqa: B008
        if path is None:
            raise Dp2benchError("There is no video yet.", "Drop one, or record one with the camera.")

        def progress_of(title: str) -> Progress:
            return lambda done, total: progress((done, total), desc=title, unit="frames")

        target = Path(tempfile.mkdtemp(dir=folder.path), f"{Path(path).stem}-anonymized.mp4")
        said = session.replace_in_video(
            Path(path), target, _choices(*settings), seconds=seconds, progress_of=progress_of
        )
        return str(target), said

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown("# Replace people in pictures")
        gr.Markdown(NOTE, elem_id="privacy")
        with gr.Row():
            method = gr.Dropdown(session.methods(), value=session.FIRST, label="Method", min_width=200)
            careful = gr.Checkbox(
                False, label="Careful", info="Also cover what may be a person.", min_width=200
            )
        with gr.Accordion("Seed, truncation and edits", open=False), gr.Row():
            seed = gr.Number(
                0, label="Seed", info="Another number, other people.", precision=0, minimum=0, min_width=160
            )
            psi = gr.Slider(
                0,
                1,
                1,
                step=0.05,
                label="Truncation (psi)",
                info="1: everybody's own style. 0: typical people.",
                min_width=220,
            )
            edits = gr.Dropdown(
                _attributes(),
                value=[],
                multiselect=True,
                allow_custom_value=True,
                label="Edits",
                info="How everybody is to look.",
                min_width=220,
            )
            strength = gr.Slider(-1.5, 1.5, 0.5, step=0.05, label="Strength of edits", min_width=220)
        settings = [method, seed, psi, edits, strength, careful]
        with gr.Tab("Picture"):
            loaded = gr.State()
            with gr.Row():
                picture = gr.Image(
                    label="Drop a photograph",
                    sources=["upload", "webcam", "clipboard"],
                    image_mode=None,
                    height=380,
                    min_width=300,
                    elem_id="picture",
                )
                picture.preprocess = _path  # type: ignore[method-assign]  # a subclass of a component would write files beside this one
                found = gr.Image(
                    label="Found: click to leave or replace",
                    interactive=False,
                    height=380,
                    min_width=300,
                    elem_id="found",
                    buttons=["fullscreen"],
                    format="png",
                )
            who = gr.CheckboxGroup([], label="Replace", elem_id="who", visible=False)
            go = gr.Button("Replace people", variant="primary", elem_id="go")
            said = gr.Markdown(elem_id="said")
            slider = gr.ImageSlider(
                label="Before and after: drag the handle",
                interactive=False,
                max_height=620,
                elem_id="slider",
                buttons=["fullscreen"],
                format="png",
            )
            file = gr.DownloadButton("Download the new picture", visible=False, elem_id="download")
            shown = [loaded, found, who, said, slider, file]
            picture.change(_clearly(look), [picture, *settings], shown, api_visibility="private")
            careful.change(_clearly(look), [picture, *settings], shown, api_visibility="private")
            found.select(_clearly(toggle), [loaded, who], who, api_visibility="private")
            who.change(_clearly(draw), [loaded, who], found, show_progress="hidden", api_visibility="private")
            go.click(
                _clearly(replace), [loaded, who, *settings], [slider, said, file], api_visibility="private"
            )
        with gr.Tab("Video"):
            most = f", at most {seconds:g} seconds" if seconds else ""
            with gr.Row():
                video = gr.Video(
                    label=f"Drop a short video{most}",
                    sources=["upload", "webcam"],
                    height=380,
                    min_width=300,
                    elem_id="video",
                )
                film = gr.Video(label="After", interactive=False, height=380, min_width=300, elem_id="film")
            go_video = gr.Button("Replace people", variant="primary", elem_id="go-video")
            video_said = gr.Markdown(elem_id="video-said")
            go_video.click(
                _clearly(replace_video), [video, *settings], [film, video_said], api_visibility="private"
            )

        def enter(request: gr.Request) -> None:
            folder.enter(str(request.session_hash))

        def leave(request: gr.Request) -> None:
            folder.leave(str(request.session_hash))

        page.load(enter, api_visibility="private")
        page.unload(leave)
    return page


def _attributes() -> list[str]:
    """Every ``attribute=value`` that an embedded generator knows."""
    return sorted({name.partition("/")[2] for name in directions.known()})
