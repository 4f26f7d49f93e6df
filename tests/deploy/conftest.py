"""A reader of docs/deploying.md: the commands of the guide, done once in a folder of theirs."""

import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import cv2
import helpers
import numpy as np
import pytest
from deploy_makers import NARROW, write_checkpoint

from lightning_st.cli import main
from lightning_st.models import RetinaNet

GUIDE = Path(__file__).parents[2] / "docs" / "deploying.md"


class Reader(NamedTuple):
    """What the guide left: `student.ckpt`, `.onnx`, `.pt2`, `photos/` and `photo.jpg`, and what the commands said."""

    folder: Path
    said: list[str]

    def model(self, ending: str) -> Path:
        return self.folder / f"student.{ending}"


def guide(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("deployed")
    write_checkpoint(folder / "student.ckpt", RetinaNet, **NARROW)
    images, _ = helpers.write_coco(folder / "coco", 4, size=(90, 70))
    images.rename(folder / "photos")
    cv2.imwrite(str(folder / "photo.jpg"), np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LIGHTNING_ST_CACHE", str(folder / "cache"))
        for command in guide("bash")[0].splitlines()[1:]:
            with redirect_stdout(StringIO()) as output:
                assert main(shlex.split(command)[1:]) == 0
            said.append(output.getvalue())
    return Reader(folder, said)
