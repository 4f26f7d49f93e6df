"""The DataModule: from what the user names to batches for training, evaluation and labelling."""

import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray

from lightning_st.data.dataset import EvalDataset, TrainDataset
from lightning_st.data.example import fetch_trees
from lightning_st.data.labels import EvaluationLabels
from lightning_st.data.loader import BatchLoader, RowSampler
from lightning_st.data.options import check_options, read_size
from lightning_st.data.progress import next_batch, place_of
from lightning_st.data.pseudo_labels import open_pseudo_labels, open_results
from lightning_st.data.sampling import GlobalBatchSampler, Stream, StreamName, pseudo_count
from lightning_st.data.source import Source
from lightning_st.data.split import Split, class_source, is_too_many, refuse_leaks, refuse_too_many
from lightning_st.data.training import training_sets
from lightning_st.errors import ConfigError, TooManyBadError
from lightning_st.index import AnnotationIndex
from lightning_st.transforms import DEFAULT_POLICY, make_policy
from lightning_st.types import Batch, EvalBatch, TargetName

_SOURCES = ("labeled", "unlabeled", "val", "test", "joint")
_EXAMPLE_SETS = ("labeled", "unlabeled", "val", "test")
_NO_CLASSES = ("unlabeled", "joint")
"""Sets that do not name the classes of the labels."""

VIEW_CLASSES = ("image",)
"""What stands for the classes of a model that learns from views, and has none."""


class SelfTrainingDataModule(LightningDataModule):
    """Labelled and pseudo-labelled images at a fixed ratio for training; every other image once for evaluation.

    What a batch holds is a function of the seed, the number of the batch in the run, the rank and the number of ranks:
    see ``sampling``. So a run that is cut and resumed sees the batches that it would have seen, and the batches of
    several ranks together are those of one. Without a Trainer the loaders begin at batch 0, for one process.

    Args:
        labeled: The images with human labels; a ``Source`` or its fields as a dict, like the next three.
        unlabeled: The images without, which a teacher labels.
        val: Labelled images that decide which checkpoint is best.
        test: Labelled images for the final numbers.
        joint: Images whose folders name their class, for joint training: a model of boxes learns these classes beside,
            with the same backbone. They are the second part of a batch; with ``pseudo_labels``, whose images they then
            have to be, they only say the classes of those.
        pseudo_labels: Folder of a store of pseudo-labels, for a student; or a COCO results JSON of another detector on
            the unlabelled images, whose list is the COCO JSON of their ids.
        score_threshold: Show pseudo-labels with at least this score (0-1), instead of the thresholds in the store.
        keep_empty_pseudo: Also show images where no pseudo-label passes, as background.
        image_size: Height and width of a batch in pixels; one number for a square.
        batch_size: Labelled images in a global batch, over all processes.
        pseudo_ratio: Images of ``pseudo_labels``, or of ``joint``, for each labelled one; without these there are none.
        augment: "S1", "S2", "S3" or "S4" of the paper; "none"; of whole images "RandomResizedCrop" or "SimCLR"; or an
            own one: an ``albumentations.Compose`` or a ``lightning_st.transforms.Policy``, in a config by
            ``class_path`` and ``init_args``, or by the import path of what makes one of ``image_size`` and
            ``augment_options``. If missing, "S1" for boxes and masks, "RandomResizedCrop" for classes, "SimCLR" for
            views.
        augment_options: Where it is to differ: scale_jitter (the smallest and the largest scale), flip_probability; in
            S2 and S3 auto_augment (v0 to v3); in S4 magnitude (0-10) and layers; of whole images crop_area (the
            smallest and the largest part), in SimCLR colour_strength.
        num_workers: Worker processes of each loader in each process.
        eval_batch_size: Images in a batch of evaluation and labelling, for each process; if missing, ``batch_size``.
        max_bad_fraction: Stop when more than this part (0-1) of the images of a set, or of its boxes, cannot be used.
            One is always allowed, unless it is 0.
        epoch_batches: Global batches in an epoch of Lightning's; if missing, one pass over the labelled images.
        seed: Of every random draw, 0 to 2**32 - 1; if missing, that of ``seed_everything``, or 0.
        cache_folder: Where indexes and example data are kept; if missing, in the user's cache folder.
        example: "trees" fetches example data (21 MB, once) for the sources that are not given.
        target: What is learnt of the images: "boxes", "masks", "classes" (the folder that an image lies in) or "views"
            (of unlabelled images); if missing, masks where a source names masks. Commands ask the model.

    Raises:
        ConfigError: If an argument is out of range, or does not go with another.
    """

    def __init__(
        self,
        labeled: Source | None = None,
        unlabeled: Source | None = None,
        val: Source | None = None,
        test: Source | None = None,
        joint: Source | None = None,
        pseudo_labels: str | None = None,
        score_threshold: float | None = None,
        keep_empty_pseudo: bool = False,
        image_size: int | tuple[int, int] = 640,
        batch_size: int = 8,
        pseudo_ratio: float = 1.0,
        augment: Any = None,
        augment_options: dict[str, Any] | None = None,
        num_workers: int = 2,
        eval_batch_size: int | None = None,
        max_bad_fraction: float = 0.01,
        epoch_batches: int | None = None,
        seed: int | None = None,
        cache_folder: str | None = None,
        example: str | None = None,
        target: Literal["boxes", "masks", "classes", "views"] | None = None,
    ) -> None:
        super().__init__()
        # Where there are fewer shards to label than processes, some have nothing to predict.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        given = dict(zip(_SOURCES, (labeled, unlabeled, val, test, joint), strict=True))
        self.sources = {name: Source.read(source, name) for name, source in given.items()}
        self.pseudo_labels = pseudo_labels
        self.score_threshold = score_threshold
        self.keep_empty_pseudo = keep_empty_pseudo
        self.image_size = read_size(image_size)
        self.batch_size = batch_size
        self.pseudo_ratio = pseudo_ratio
        self.num_workers = num_workers
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.max_bad_fraction = max_bad_fraction
        self.epoch_batches = epoch_batches
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.cache_folder = cache_folder
        self.example = example
        has_masks = any(source is not None and source.masks is not None for source in self.sources.values())
        self.target: TargetName = target or ("masks" if has_masks else "boxes")
        check_options(vars(self))
        self.augment = DEFAULT_POLICY[self.target] if augment is None else augment
        self._policy = make_policy(self.augment, self.image_size, self.target, **(augment_options or {}))
        self._splits: dict[str, Split] = {}
        self._is_looked_at = False
        self._loaders: weakref.WeakSet[BatchLoader[Any]] = weakref.WeakSet()
        self._prediction: tuple[str, Sequence[NDArray[np.int64]] | None] = ("unlabeled", None)
        self.bad_images: dict[str, str] = {}
        """What could not be read so far on this rank: "<file>: <problem>" to the name of its set."""
        if not self.has("val"):
            # Lightning validates during a fit if a DataModule has this method of its own; an empty loader it warns of.
            self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]

    # What there is

    def prepare_data(self) -> None:
        """Build the indexes that the cache does not have, and fetch the example data; on one process of each machine.

        Raises:
            DataError: If images of val or test are also trained on.
            IndexFileError: If the store of pseudo-labels was changed since it was written: it may come from elsewhere.
        """
        self.setup()
        if not self._is_looked_at:
            refuse_leaks(self._splits)
            if "pseudo" in self._splits:
                self._splits["pseudo"].index.verify()  # reads all of it, which opening it shall not
            self._is_looked_at = True

    def setup(self, stage: str | None = None) -> None:
        """Open the indexes; a second call does nothing.

        Raises:
            ConfigError: If there is a store of pseudo-labels, and no set to take the names of the classes from.
            DataError: If something in the data is wrong.
            StageError: If the store of pseudo-labels is not complete, or nothing in it passes.
        """
        if self._splits:
            return
        splits = self.open_sources(self.max_bad_fraction)
        judged = splits.keys() - set(_NO_CLASSES)
        if self.pseudo_labels is not None or judged:  # else a checkpoint names the classes
            classes = class_source(splits).index.classes
            for name in judged:
                splits[name].class_map(classes)  # refuses classes that are not among them
            if self.pseudo_labels is not None:
                splits["pseudo"] = self.open_pseudo_labels(splits)
        self._splits = splits

    def open_sources(self, max_bad_fraction: float) -> dict[str, Split]:
        """Open every source that is given, by name, without a look at whether they go together.

        Args:
            max_bad_fraction: Of the boxes, or masks, that cannot be used, 0-1.

        Raises:
            DataError: If something in the data is wrong.
        """
        sources = {name: source for name, source in self.sources.items() if source is not None}
        if self.example is not None:
            sources = {name: Source(**fields) for name, fields in fetch_trees(self.cache_folder).items()} | sources
        where = self.seed, self.cache_folder, max_bad_fraction
        splits = {
            name: Split.open(name, source, *where, "classes" if name == "joint" else self.target)
            for name, source in sources.items()
        }
        if "unlabeled" in splits and sources["unlabeled"].is_the_rest("unlabeled"):
            if "labeled" not in splits:
                raise ConfigError.expected("data.labeled.images", "given", None, "data.unlabeled.exclude names them.")
            splits["unlabeled"] = splits["unlabeled"].without(splits["labeled"])
        return splits

    def open_pseudo_labels(self, splits: Mapping[str, Split], max_bad_fraction: float | None = None) -> Split:
        """Open a store, or where it is a file another detector's results on the unlabelled images.

        Args:
            splits: The other sets: their classes are meant.
            max_bad_fraction: Of the results' boxes that cannot be used, 0-1; the DataModule's own where missing.
        """
        assert self.pseudo_labels is not None
        labeled, shown = class_source(splits).index, (self.score_threshold, self.keep_empty_pseudo)
        if Path(self.pseudo_labels).is_file():
            unlabeled = self.sources["unlabeled"]
            found = open_results(self.pseudo_labels, unlabeled, labeled, *shown, self.cache_folder)
            limit = self.max_bad_fraction if max_bad_fraction is None else max_bad_fraction
            refuse_too_many(found.index, self.target, limit)
            is_rest = unlabeled is not None and unlabeled.is_the_rest("unlabeled")
            return found.without(splits["labeled"]) if is_rest else found
        return open_pseudo_labels(self.pseudo_labels, labeled.classes, *shown, self.target)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels: those of the labelled images, else of val or test.

        Raises:
            ConfigError: If none of these is given.
        """
        if self.target == "views":
            return VIEW_CLASSES
        self.setup()
        return class_source(self._splits).index.classes

    @property
    def image_classes(self) -> tuple[str, ...]:
        """The names of the classes of whole images that joint training learns beside; none without it."""
        return self.index("joint").classes if self.has("joint") else ()

    @property
    def streams(self) -> tuple[StreamName, ...]:
        """The sets that training batches are made of, in their order."""
        first: StreamName = "unlabeled" if self.target == "views" else "labeled"
        second: StreamName = "pseudo" if self.has("pseudo") else "joint"
        return (first, second) if self.has(second) and self.pseudo_ratio > 0 else (first,)

    @property
    def has_pseudo_part(self) -> bool:
        """Whether training batches have a second part: of pseudo-labelled images, or of joint training."""
        return len(self.streams) > 1

    def has(self, name: str) -> bool:
        """Say whether a set ("labeled", "unlabeled", "val", "test", "joint", "pseudo") is given."""
        if name == "pseudo":
            return self.pseudo_labels is not None
        return self.sources[name] is not None or (self.example is not None and name in _EXAMPLE_SETS)

    def split(self, name: str) -> Split:
        """Return a set, opened.

        Raises:
            ConfigError: If it is not given.
        """
        self.setup()
        if name not in self._splits:
            key = "data.pseudo_labels" if name == "pseudo" else f"data.{name}.images"
            raise ConfigError.expected(key, "given", None)
        return self._splits[name]

    def index(self, name: str) -> AnnotationIndex:
        """Return the index of a set. It may hold more images than belong to the set: see ``rows``."""
        return self.split(name).index

    def rows(self, name: str) -> NDArray[np.int64]:
        """Return which rows of its index belong to a set, int64 [N], ascending."""
        return self.split(name).rows

    def image_count(self, name: str) -> int:
        """Return the number of images in a set."""
        return len(self.split(name))

    def fingerprints(self) -> dict[str, str]:
        """Return for each set the sha256 of its images and labels, whatever machine and folder they are on."""
        self.setup()
        return {name: split.fingerprint() for name, split in self._splits.items()}

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Return for each set what ``Split.statistics`` counts."""
        self.setup()
        return {name: split.statistics() for name, split in self._splits.items()}

    # Loaders

    def train_dataloader(self) -> BatchLoader[Batch]:
        """Return the loader of ``types.Batch``: this rank's share of each global batch, from where the run stands.

        Raises:
            ConfigError: If there are no labelled images, or too few places in a batch for the processes.
            DataError: If no labelled image has a label.
        """
        names = self.streams
        first = self.split(names[0])
        streams = [Stream(name, self.split(name).rows, self.seed) for name in names]
        rank, world_size = place_of(self.trainer)
        sampler = GlobalBatchSampler(
            streams[0],
            self.batch_size,
            streams[1] if len(streams) > 1 else None,
            pseudo_count(self.batch_size, self.pseudo_ratio),
            epoch_batches=self.epoch_batches or -(-len(first) // self.batch_size),
            rank=rank,
            world_size=world_size,
            position=lambda: next_batch(self.trainer),
        )
        recipe = {"data.seed": self.seed, "data.batch_size": self.batch_size, "data.pseudo_ratio": self.pseudo_ratio}
        fingerprints = {f"data.{name}": self.split(name).fingerprint() for name in names}
        return self._keep(BatchLoader(self.train_dataset(), sampler, self.num_workers, recipe | fingerprints))

    def train_dataset(self, augment: Any = None, **options: Any) -> TrainDataset:
        """Return what turns draws into training batches; to look at, also with another augmentation.

        Args:
            augment: A name of the paper's, or an own one; that of the training where missing.
            options: Of ``augment``, as in ``augment_options``.
        """
        self.setup()
        policy = self._policy if augment is None else make_policy(augment, self.image_size, self.target, **options)
        return TrainDataset(training_sets(self._splits, self.streams, self.seed), policy, self.seed)

    def val_dataloader(self) -> BatchLoader[EvalBatch]:
        """Return the loader of ``types.EvalBatch`` of the val set."""
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> BatchLoader[EvalBatch]:
        """Return the loader of ``types.EvalBatch`` of the test set."""
        return self.evaluation_dataloader("test")

    def predict_dataloader(self) -> BatchLoader[EvalBatch]:
        """Return the loader of ``types.EvalBatch`` of the unlabelled images, or of what ``predict_on`` chose."""
        name, groups = self._prediction
        return self.evaluation_dataloader(name) if groups is None else self._evaluation_loader(name, groups)

    def predict_on(self, name: str, groups: Sequence[NDArray[np.int64]]) -> None:
        """Choose what ``predict_dataloader`` yields: images of a set in this order, all of them on this rank.

        Args:
            name: Of the set.
            groups: int64 [N] each, rows of its index; no batch holds rows of two groups. There may be none.
        """
        self._prediction = name, groups

    def evaluation_dataloader(self, name: str, rows: NDArray[np.int64] | None = None) -> BatchLoader[EvalBatch]:
        """Return the loader of ``types.EvalBatch`` of a set: every image once, on one rank.

        Ranks may get different numbers of images. One that gets none sees a single batch of row -1, which stands for
        no image, so that every rank takes part in what the ranks do together at the end.

        Args:
            name: Of the set.
            rows: int64 [N], other rows of its index than those of the set.

        Raises:
            ConfigError: If the set is not given.
        """
        rank, world_size = place_of(self.trainer)
        share = (self.rows(name) if rows is None else rows)[rank::world_size]
        return self._evaluation_loader(name, [share if len(share) else np.array([-1])])

    def teardown(self, stage: str | None = None) -> None:
        """Let the workers of all loaders go."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()

    def on_exception(self, exception: BaseException) -> None:
        """Let the workers of all loaders go."""
        self.teardown()

    # What could not be read

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Note which images of a batch could not be read.

        Raises:
            TooManyBadError: If they are more than ``max_bad_fraction`` of their set.
        """
        assert self.trainer is not None
        if self.trainer.training:
            name = "train"
        elif self.trainer.predicting:
            name = self._prediction[0]
        else:
            name = "test" if self.trainer.testing else "val"
        self.note_bad_images(batch["bad_images"], name)
        return batch

    def note_bad_images(self, lines: Sequence[str], name: str) -> None:
        """Add to ``bad_images``; for loops that do without a Trainer.

        Args:
            lines: The ``bad_images`` of a batch.
            name: Of the set that the batch is from; "train" for training batches.

        Raises:
            TooManyBadError: If they are more than ``max_bad_fraction`` of their set.
        """
        if not lines:
            return
        self.bad_images |= dict.fromkeys(lines, name)
        bad = [line for line, owner in self.bad_images.items() if owner == name]
        parts = self.streams if name == "train" else (name,)
        count = sum(len(self._splits[part]) for part in parts if part in self._splits)
        if is_too_many(len(bad), count, self.max_bad_fraction):
            raise TooManyBadError("images", bad, len(bad), count, self.max_bad_fraction)

    # Helpers

    def _evaluation_loader(self, name: str, groups: Sequence[NDArray[np.int64]]) -> BatchLoader[EvalBatch]:
        split = self.split(name)
        class_map = split.class_map(self.classes) if split.index.is_labeled else None
        dataset = EvalDataset(EvaluationLabels(split.index, class_map, self.target), self.image_size)
        return self._keep(BatchLoader(dataset, RowSampler(groups, self.eval_batch_size), self.num_workers))

    def _keep(self, loader: BatchLoader[Any]) -> BatchLoader[Any]:
        """Remember a loader for as long as it is used, so that ``teardown`` can close it."""
        self._loaders.add(loader)
        return loader
