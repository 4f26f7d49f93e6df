"""docs/deploying.md, and what its commands leave."""

import re
from pathlib import Path
from typing import NamedTuple

GUIDE = Path(__file__).parents[2] / "docs" / "deploying.md"


class Reader(NamedTuple):
    """What the guide left: `student.ckpt`, `.onnx`, `.pt2`, `photos/` and `photo.jpg`, and what the commands said."""

    folder: Path
    said: list[str]

    def model(self, ending: str) -> Path:
        return self.folder / f"student.{ending}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
