"""What became of pictures and videos, in words: who was missed and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dp2bench.cli.work import Films, Work

if TYPE_CHECKING:
    from dp2bench.core.contracts import Detector
    from dp2bench.core.listing import Listing
    from dp2bench.pipelines.anonymize import CoverageCounter

_SHOWN = 12
"""Pictures with people who were missed that are listed."""


def tell_outcome(work: Work, counter: CoverageCounter, listing: Listing | None, films: Films) -> bool:
    """Say what became of pictures and videos; whether nothing was left out and nobody missed."""
    from dp2bench.cli.terminal import tell_each
    from dp2bench.core.listing import said_of_others

    left_out = [*counter.unreadable, *films.left_out]
    if listing is not None:
        left_out += listing.left_out
    tell_each(work.console, left_out, label="left out:", style="yellow", most=10_000)
    tell_each(work.console, films.renamed, label="renamed:", style="yellow")
    if listing is not None:
        for link, place in listing.linked:
            work.say(f"{link} leads out of the folder, to {place}.", "followed:", "yellow")
    for what, names in sorted(counter.lost.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        work.say(f"{what} of {names[0]}{more}.", "not kept:", "yellow")
    missed = counter.missed.total()
    if counter.pictures or not films.reports:
        work.say(
            f"{counter.pictures} pictures, {counter.found} people found by {work.who.meta.name}{_by_certainty(counter)}, "
            f"{counter.found - missed} anonymized, {missed} missed; "
            f"{counter.empty} pictures without anybody found, {len(left_out)} files left out."
        )
    for reason, count in sorted(counter.missed.items()):
        work.say(f"{count} people: {reason}", "missed:", "red")
        _list_missed(work, counter, reason)
    if counter.undetected:
        work.say(
            f"{counter.undetected} people whom the dataset annotates, and {work.who.meta.name} did not find: they are as they were. "
            "--detector annotations replaces them.",
            "not found:",
            "red",
        )
    _warn_of_unlike(work, counter)
    whole = True
    for report in films.reports:
        whole &= tell_film(work, report, f"{report['source']}: ")
    if films.reports and not counter.pictures and left_out:
        work.say(f"{len(left_out)} files left out.")
    if listing is not None and listing.others:
        work.say(f"Neither pictures nor videos, and not copied: {said_of_others(listing.others)} files.")
        if listing.describing:
            work.say(
                f"{said_of_others(listing.describing)} of them lie beside pictures and may say who is in them: "
                "faces, names, places. Do not publish them with the others."
            )
    people = counter.found + sum(report["people_in_frames"] for report in films.reports)
    return whole and not (left_out or missed or counter.undetected) and not nobody_found(work, people)


def tell_remarks(work: Work, who: Detector) -> bool:
    """Say what annotations say of themselves: which category is people, and what is not as it should be; whether there is any of that."""
    for remark in who.remarks:
        work.say(remark)
    for doubt in who.doubts:
        work.say(doubt, "check this:", "yellow")
    return bool(who.doubts)


def nobody_found(work: Work, people: int) -> bool:
    """Whether annotations found nobody at all, which is said: they may be of other pictures."""
    named = work.who.people_named
    if people or named is None:
        return False
    who = f"{named} people, and none of them here" if named else "nobody"
    work.say(
        f"the annotations name {who}. Check that they are of these pictures; a detector looks for itself (--detector).",
        "nobody found:",
        "red",
    )
    return True


def _by_certainty(counter: CoverageCounter) -> str:
    return (
        f" ({counter.found - counter.doubtful} certain, {counter.doubtful} doubtful)"
        if counter.doubtful
        else ""
    )


def _list_missed(work: Work, counter: CoverageCounter, reason: str) -> None:
    """Who was missed for a reason, and, of those who keep their face because none was found, what to do about it."""
    from dp2bench.inpainting.crops import NO_FACE

    rows = [
        (name, [person for person, why in reasons.items() if why == reason])
        for pictures in counter.left.values()
        for name, reasons in pictures.items()
    ]
    rows = [(name, people) for name, people in rows if people]
    what = "no face found of person" if reason == NO_FACE else "person"
    for name, people in rows[:_SHOWN]:
        work.say(f"  {name}: {what} {', '.join(map(str, people))}")
    if len(rows) > _SHOWN:
        work.say(f"  … and in {len(rows) - _SHOWN} more pictures")
    if reason != NO_FACE:
        return
    if work.who.meta.name == "full-image":
        work.say("  Of pictures that are faces, cut out: --detector full-image -d faces=true.")
        return
    bodies = work.how.meta.name.removesuffix("-face")
    work.say(
        f"  They may be seen from behind. If not: use a method that covers bodies (`{bodies}`), or draw the faces in "
        "by hand: `dp2bench detect IN --out people.json`, edit, `--detections people.json`. `--preview` shows who has which number."
    )


def _warn_of_unlike(work: Work, counter: CoverageCounter) -> None:
    """Pictures in which nobody was found with certainty: the detector may have learned from others."""
    if not counter.unlike:
        return
    name, best = next(iter(counter.unlike.items()))
    detector = work.job.detector.arguments.get("detector", work.job.detector.name)  # within a wrapper
    advice = (
        "cover more with --careful"
        if detector == "photo"
        else "use --detector photo, which learned from photographs"
    )
    work.say(
        f"{len(counter.unlike)} pictures in which nobody was found with certainty, e.g. {name} (best score {best:.2f}). "
        f"They may be unlike what {detector} learned from. See who is covered with --preview, or {advice}.",
        "look at:",
        "yellow",
    )


def tell_film(work: Work, report: Mapping[str, Any], title: str = "", seconds: float | None = None) -> bool:
    """Say what became of a video; whether nothing failed and nobody was missed."""
    blank = sum(map(len, report["blanked_frames"].values()))
    speed = "" if not seconds else f" {report['frames'] / seconds:.1f} frames a second."
    work.say(
        f"{title}{report['frames']} frames, {report['tracks']} tracks, {report['people_in_frames']} people in frames found by "
        f"{report['detector']} ({report['bridged']} of them bridged), {report['anonymized']} anonymized, {report['missed']} missed; "
        f"{len(report['frames_without_people'])} frames without anybody found, {blank} frames written grey. "
        f"Sound: {report['sound']}.{speed}"
    )
    for reason, count in report["missed_reasons"].items():
        work.say(f"{title}{count} people in frames: {reason}", "missed:", "red")
    for reason, frames in report["blanked_frames"].items():
        work.say(f"{title}{len(frames)} frames, the first is {frames[0]}: {reason}", "grey:", "yellow")
    for start, end in report["gaps"]:
        work.say(
            f"{title}the source has no picture between {start:.2f} and {end:.2f} s; frames may have been lost there.",
            "gap:",
            "yellow",
        )
    if report["not_kept"]:
        work.say(f"{title}{', '.join(report['not_kept'])}.", "not kept:", "yellow")
    if report["broken"]:
        work.say(report["broken"], "cut short:", "red")
    return not (report["missed"] or blank or report["broken"])
