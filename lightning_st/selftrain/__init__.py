"""The paper's method as functions of tensors and arrays: joint loss, confidence rules, and the pseudo-label store."""

from lightning_st.selftrain.collapse import signs_of_collapse
from lightning_st.selftrain.confidence import CalibratedThresholds, ConfidenceRule, HardThreshold, MatchedCounts
from lightning_st.selftrain.disagreement import box_disagreement, mask_disagreement, unmatched_boxes
from lightning_st.selftrain.doubt import KnownNegatives, ScoreWeights
from lightning_st.selftrain.evidence import NEEDED, Evidence, ScoreCounts, count_scores
from lightning_st.selftrain.joint_loss import LossBalance, joint_loss
from lightning_st.selftrain.matching import (
    Matched,
    Reliability,
    match_detections,
    match_image,
    precision_recall_by_threshold,
)
from lightning_st.selftrain.pixel_matching import match_pixels
from lightning_st.selftrain.score_bins import ScoreBins, bin_scores
from lightning_st.selftrain.store import PseudoLabels
from lightning_st.selftrain.writer import LABELS_FILE, ImageLabels, MaskLabels, PseudoLabelWriter, job_fingerprint

__all__ = [
    "LABELS_FILE",
    "NEEDED",
    "CalibratedThresholds",
    "ConfidenceRule",
    "Evidence",
    "HardThreshold",
    "ImageLabels",
    "KnownNegatives",
    "LossBalance",
    "MaskLabels",
    "Matched",
    "MatchedCounts",
    "PseudoLabelWriter",
    "PseudoLabels",
    "Reliability",
    "ScoreBins",
    "ScoreCounts",
    "ScoreWeights",
    "bin_scores",
    "box_disagreement",
    "count_scores",
    "job_fingerprint",
    "joint_loss",
    "mask_disagreement",
    "match_detections",
    "match_image",
    "match_pixels",
    "precision_recall_by_threshold",
    "signs_of_collapse",
    "unmatched_boxes",
]
