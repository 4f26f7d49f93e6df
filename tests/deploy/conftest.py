"""A reader of docs/deploying.md: the commands of the guide, done once in a folder of theirs."""

import shlex
from contextlib import redirect_stdout
from io import StringIO

import cv2
import helpers
import numpy as np
import pytest
from deploy_guide import Reader, blocks
from deploy_makers import NARROW, skip_without_exporter, write_checkpoint

from lightning_st.cli import main
from lightning_st.models import RetinaNet


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    skip_without_exporter()
    folder = tmp_path_factory.mktemp("deployed")
    write_checkpoint(folder / "student.ckpt", RetinaNet, **NARROW)
    images, _ = helpers.write_coco(folder / "coco", 4, size=(90, 70))
    images.rename(folder / "photos")
    cv2.imwrite(str(folder / "photo.jpg"), np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LIGHTNING_ST_CACHE", str(folder / "cache"))
        for command in blocks("bash")[0].splitlines()[1:]:
            with redirect_stdout(StringIO()) as output:
                assert main(shlex.split(command)[1:]) == 0
            said.append(output.getvalue())
    return Reader(folder, said)
