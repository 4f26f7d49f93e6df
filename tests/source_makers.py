"""Small data sets in the formats that the readers know."""

import io
import tarfile

from PIL import Image


def write_image(path, width=100, height=50, orientation=None):
    """Write a picture of one colour; a JPEG may say that it lies on its side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (width, height), (10, 20, 30)).save(path, exif=exif)
    return path


def voc_xml(*objects, size=(100, 50), database="The VOC2007 Database"):
    """Return an XML of objects given as (name, xmin, ymin, xmax, ymax[, difficult])."""
    parts = [f"<annotation><source><database>{database}</database></source>"]
    parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, left, top, right, bottom, *difficult in objects:
        parts.append(f"<object><name>{name}</name><difficult>{int(bool(difficult))}</difficult><bndbox>")
        parts.append(f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>")
        parts.append("<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>")
    return "".join([*parts, "</annotation>"])


def write_voc(root, xml_of):
    """Write a VOC root: a dict of a stem to its XML, each with an image."""
    for stem, xml in xml_of.items():
        write_image(root / "JPEGImages" / f"{stem}.jpg")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{stem}.xml").write_text(xml)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    return root


def tar_bytes(members):
    """Return a tar archive of a dict of a name to its content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def read_member(record):
    """Return the bytes of an image, as the loader reads them."""
    with open(record.path, "rb") as file:
        file.seek(record.offset)
        return file.read(record.length)
