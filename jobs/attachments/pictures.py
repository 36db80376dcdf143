"""Looks into a picture with Pillow; runs in the process that may be killed for it."""

import io

from PIL import Image

from jobs.attachments.found import MOST_PIXELS, Unreadable
from jobs.attachments.signatures import GIF, JPEG, PNG, WEBP

DAMAGED = "This picture is damaged or incomplete. Save it once more and add it again."
MOVING = "Moving pictures can’t be read. Save one frame as PNG and add it again."
FORMATS = {PNG: "PNG", JPEG: "JPEG", WEBP: "WEBP", GIF: "GIF"}
EIGHTH = 8  # a JPEG is decoded to this part of its sides: enough to see that it is whole

# Our own limit is lower than Pillow's, which warns of some and raises on others.
Image.MAX_IMAGE_PIXELS = None


def measure(data: bytes, media_type: str) -> dict[str, int]:
    """Return width and height in pixels. Raises Unreadable; whatever else is raised means damage."""
    with Image.open(io.BytesIO(data), formats=[FORMATS[media_type]]) as picture:
        width, height = picture.size
        if width * height > MOST_PIXELS:
            limit = MOST_PIXELS // 1_000_000
            raise Unreadable(
                f"Too many pixels: {width:,} × {height:,}, the limit is {limit} million. Make it smaller."
            )
        # A photo may carry smaller copies of itself as further frames (MPO); it is sent as the first.
        if media_type != JPEG and getattr(picture, "is_animated", False):
            raise Unreadable(MOVING)
        if media_type == PNG:
            picture.verify()  # every chunk's checksum up to the last one, without decoding any
        else:
            picture.draft("L", (width // EIGHTH, height // EIGHTH))
            picture.load()
    return {"width": width, "height": height}
