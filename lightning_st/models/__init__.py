"""Backbones, necks, heads, the task models made of them, and the metrics that judge them.

A task model answers three questions (``lightning_st.types.Task``): the loss of each image of a batch, the predictions
for images, and which metric judges them. An own one needs nothing from this room.
"""

from lightning_st.models.accuracy import Accuracy
from lightning_st.models.classifier import ImageClassifier
from lightning_st.models.coco_metric import CocoMetric
from lightning_st.models.detections import restore_detections
from lightning_st.models.joint_detector import JointDetector
from lightning_st.models.mean_iou import MeanIoU
from lightning_st.models.retinanet import RetinaNet
from lightning_st.models.segmenter import SemanticSegmenter
from lightning_st.models.simclr import SimCLR
from lightning_st.models.voc_metric import VocMetric

__all__ = [
    "Accuracy",
    "CocoMetric",
    "ImageClassifier",
    "JointDetector",
    "MeanIoU",
    "RetinaNet",
    "SemanticSegmenter",
    "SimCLR",
    "VocMetric",
    "restore_detections",
]
