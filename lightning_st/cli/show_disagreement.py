"""``lightning_st show disagreement RUN_DIR``: where a teacher and its student differ most on val."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.cli.show_data import label_tile, small_original
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, self_train_parser
from lightning_st.cli.store_pictures import require_count
from lightning_st.data.image_file import ImageFile
from lightning_st.data.split import Split
from lightning_st.errors import ConfigError, StageError
from lightning_st.index import AnnotationIndex, Annotations, ignore_unsure, store_thresholds
from lightning_st.reports.own_folder import require_own
from lightning_st.reports.run_folder import Round, Run, read_run
from lightning_st.reports.sheet import PAGE, Sheet, Unreadable, write_sheet
from lightning_st.reports.tiles import Tile, box_tile, mask_tile
from lightning_st.selftrain import LABELS_FILE, box_disagreement, mask_disagreement, unmatched_boxes
from lightning_st.stages.labelling import VAL_FOLDER
from lightning_st.stages.manifest_recipe import prediction_recipe
from lightning_st.stages.train import chosen_checkpoint
from lightning_st.stages.val_predictions import predict_val, val_data
from lightning_st.types import BoxKind, ScoreThresholds

STUDENT_FOLDER = "student"
"""Where the student's predictions are kept beside the sheet, so that another sheet needs none anew."""


class Difference(NamedTuple):
    """How far both models differ on an image.

    Attributes:
        row: The image's row in the index of the val images.
        share: From 0 to 1; see ``selftrain.disagreement``.
        differing: Boxes without a partner, or pixels that differ.
        rows: Its rows in the teacher's and in the student's predictions.
    """

    row: int
    share: float
    differing: int
    rows: tuple[int, int]


@dataclass(frozen=True)
class Believed:
    """What both models say of the val images.

    Attributes:
        teacher: The teacher's predictions.
        student: The student's.
        thresholds: Which of them are looked at, the same for both.
    """

    teacher: AnnotationIndex
    student: AnnotationIndex
    thresholds: ScoreThresholds

    def boxes(self, index: AnnotationIndex, row: int) -> Annotations:
        """Return the boxes of an image that reach their thresholds."""
        found = index.annotations(row)
        kept = self.thresholds.kinds(found.labels, found.scores) == BoxKind.OBJECT
        return Annotations(**{field.name: getattr(found, field.name)[kept] for field in fields(Annotations)})

    def mask(self, index: AnnotationIndex, row: int) -> NDArray[np.uint8]:
        """Return the mask of an image; less sure pixels are ignored."""
        mask = index.mask(row)
        assert mask is not None
        return ignore_unsure(mask, index.confidence(row), self.thresholds.keep)

    def compare(self, row: int, other: int) -> tuple[float, int]:
        """Return how far both differ on an image: its rows in both."""
        read: Any = self.mask if self.teacher.has_masks else self.boxes
        measure: Any = mask_disagreement if self.teacher.has_masks else box_disagreement
        found: tuple[float, int] = measure(read(self.teacher, row), read(self.student, other))
        return found


def disagreement(words: Sequence[str]) -> None:
    """Write a contact sheet of the val images on which teacher and student differ most."""
    parser = OneSentenceParser(
        prog="lightning_st show disagreement",
        description="The val images on which a run's teacher and student differ most: truth, teacher and student side "
        "by side. The student's predictions are made first, and kept in the output folder.",
    )
    parser.add_argument("run", metavar="RUN_DIR", type=Path, help="the --output of a self_train run")
    parser.add_argument("--output", type=Path, required=True, help="the folder for the sheet")
    parser.add_argument("--count", type=int, default=12, help="images at most; 12 where missing")
    parser.add_argument("--round", type=int, help="which round; the last that is complete where missing")
    parser.add_argument(
        "--score_threshold", type=float, help="compare from this score (0-1) on, instead of the store's"
    )
    about = "the recipe of the run: for a model or a format of your own, which is not run on a manifest's word"
    parser.add_argument("--config", type=Path, help=about)
    given = parser.parse_args(words)
    require_count(given.count)
    if given.score_threshold is not None and not 0 <= given.score_threshold <= 1:
        raise ConfigError.expected("score_threshold", "from 0 to 1", given.score_threshold)
    run = read_run(given.run)
    found = find_round(run, given.round)
    require_own(given.output, [STUDENT_FOLDER])
    prepare_console()
    split, believed = believe(run, found, given.output / STUDENT_FOLDER, given.score_threshold, given.config)
    ranked = rank(split, believed)
    sheet = Sheet(
        "Disagreement of teacher and student",
        f"{run.folder.resolve().name}, round {found.number}",
        _sentences(believed, ranked),
        believed.teacher.classes,
        in_rows=True,
    )
    unreadable = Unreadable()
    tiles = _tiles(split, believed, ranked[: given.count], unreadable)
    count = write_sheet(sheet, tiles, given.output, unreadable, besides=[STUDENT_FOLDER])
    say(f"{given.output / PAGE}: {count} pictures")


def find_round(run: Run, number: int | None) -> Round:
    """Return the round that is asked for, or the last one that is complete.

    Raises:
        StageError: If there is none, or the run has no predictions of the teacher on val.
    """
    complete = [
        r
        for r in run.rounds
        if r.labels and r.labels.statistics and r.student and r.student.manifest["state"] == "complete"
    ]
    wanted = [r for r in complete if number is None or r.number == number]
    if not wanted:
        which = "no round" if number is None else f"no round {number}"
        raise StageError(f"{run.folder}: there is {which} with a finished student. Run self_train on, or name another.")
    labels = wanted[-1].labels
    assert labels is not None
    if not (labels.folder / VAL_FOLDER / LABELS_FILE).is_file():
        raise StageError(f"{run.folder}: it was run without val images, on which its models could be compared.")
    return wanted[-1]


def believe(
    run: Run, round_: Round, folder: Path, score_threshold: float | None, config: Path | None = None
) -> tuple[Split, Believed]:
    """Return the val images, and what both models say of them; the student is asked first.

    Args:
        run: The run.
        round_: The round.
        folder: Gets the student's predictions.
        score_threshold: Look at labels from this score (0-1) on; None for the thresholds of the round's store.
        config: The recipe that the run was made with; None for what its manifest says, as far as that is no code.
    """
    assert round_.labels is not None
    assert round_.student is not None
    if config is None:
        recipe, model = prediction_recipe(run.config, run.folder / "manifest.json")
    else:
        recipe = read_recipe(parse_recipe(self_train_parser(), ["--config", str(config), "--output", str(folder)]))
        model = recipe.student.get("model") or recipe.model
    data = val_data(recipe)
    student = predict_val(recipe, data, chosen_checkpoint(round_.student.folder), model, folder)
    teacher = AnnotationIndex.open(round_.labels.folder / VAL_FOLDER / LABELS_FILE)
    thresholds = store_thresholds(round_.labels.folder, len(teacher.classes))
    if score_threshold is not None:
        thresholds = ScoreThresholds.uniform(len(teacher.classes), score_threshold)
    return data.split("val"), Believed(teacher, student, thresholds)


def rank(split: Split, believed: Believed) -> list[Difference]:
    """Return the images that both models predicted, those first on which they differ most."""
    names = list(believed.teacher.iterate_names())
    places = zip(split.index.find(names).tolist(), believed.student.find(names).tolist(), strict=True)
    differences = [
        Difference(row, *believed.compare(number, other), (number, other))
        for number, (row, other) in enumerate(places)
        if row >= 0 and other >= 0
    ]
    return sorted(differences, key=lambda found: (-found.share, -found.differing, found.row))


def _tiles(
    split: Split, believed: Believed, ranked: Sequence[Difference], unreadable: Unreadable
) -> Iterator[tuple[str, Tile]]:
    """Draw each image three times: with the truth, and with what each model says."""
    unit = "pixels differ" if believed.teacher.has_masks else "boxes without a partner"
    for found in ranked:
        title = f"{split.index.name(found.row)}: {found.share:.2f}, {found.differing:,} {unit}"
        with unreadable.noted():
            truth = label_tile(split, found.row, "truth", believed.teacher.classes)
            image, scale = small_original(ImageFile.open(split.index.image(found.row), split.index.is_labeled))
            yield title, truth
            for number, name in enumerate(("teacher", "student")):
                yield title, _believed_tile(believed, found.rows, number, name, image.copy(), scale)


def _believed_tile(
    believed: Believed, rows: tuple[int, int], number: int, name: str, image: Image.Image, scale: float
) -> Tile:
    """Draw what the first (0) or the second (1) model says of an image; boxes without a partner thick."""
    indexes = believed.teacher, believed.student
    classes = believed.teacher.classes
    if believed.teacher.has_masks:
        return mask_tile(name, image, believed.mask(indexes[number], rows[number]), classes)
    both = [believed.boxes(index, row) for index, row in zip(indexes, rows, strict=True)]
    alone = np.flatnonzero(unmatched_boxes(*both)[number])
    found = both[number]
    kinds = np.full(len(found.labels), BoxKind.OBJECT, np.uint8)
    return box_tile(name, image, found.boxes, found.labels, kinds, classes, scale, set(alone.tolist()))


def _sentences(believed: Believed, ranked: Sequence[Difference]) -> list[str]:
    mean = sum(found.share for found in ranked) / max(1, len(ranked))
    if believed.teacher.has_masks:
        measure = "one minus the mean IoU of both masks over the classes that either shows"
    else:
        measure = "the share of both models' boxes that have no partner in the other's, at an IoU of 0.5; drawn thick"
    lowest, highest = float(believed.thresholds.keep.min()), float(believed.thresholds.keep.max())
    scores = f"{lowest:.2f}" if lowest == highest else f"{lowest:.2f} to {highest:.2f}, by class"
    return [
        f"Of {len(ranked)} val images those on which teacher and student differ most: {measure}.",
        f"On average over these {len(ranked)} it is {mean:.2f}.",
        f"Compared is what reaches a score of {scores}, the same for both.",
    ]
