"""Models that leave the training: files of ONNX and of ``torch.export``, and one way to predict with any of them."""

from lightning_st.deploy.predictor import Predictor

__all__ = ["Predictor"]
