"""Odd and broken image files made with Pillow: what a real data set has a few of."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 40)  # width, height of the ordinary ones
CLASSES = ("ant", "bee", "cow")


def photo(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth random colour image: JPEG keeps it close to what it was."""
    small = np.random.RandomState(seed).randint(0, 256, (5, 6, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int) -> bytes:
    return encoded(photo(seed), "PNG")


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    """A 1-bit grey PNG that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG whose header claims a size that its data does not have."""
    data = bytearray(encoded(photo(0), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_with_huge_frame() -> bytes:
    data = bytearray(encoded(photo(0, (8, 8)), "GIF"))
    frame = data.index(b",\0\0\0\0\x08\0\x08\0")
    data[frame + 5 : frame + 9] = struct.pack("<HH", 60000, 60000)
    return bytes(data)


def gif_of_tiny_blocks(comment: int = 3000) -> bytes:
    """A whole GIF with a comment of so many blocks of one byte."""
    data = encoded(photo(0, (8, 8)), "GIF")
    end = 13 + 3 * 2 ** (data[10] % 8 + 1)
    return data[:end] + b"!\xfe" + comment * b"\x01a" + b"\0" + data[end:]


def readable(seed: int) -> dict[str, bytes]:
    """File name to contents of every kind that must be read."""
    image = photo(seed)
    grey, palette = image.convert("L"), image.convert("P", palette=Image.Palette.ADAPTIVE)
    grey16 = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    alpha = image.convert("RGBA")
    alpha.putalpha(grey)
    palette_alpha = encoded(palette, "PNG", transparency=3)
    frames = [photo(seed + i).convert("P", palette=Image.Palette.ADAPTIVE) for i in range(3)]
    return {
        "baseline.jpg": encoded(image, "JPEG", quality=92),
        "UPPER.JPEG": encoded(image, "JPEG", quality=60, subsampling=0),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "grey.jpg": encoded(grey, "JPEG"),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "exif.jpg": encoded(image, "JPEG", exif=exif),
        "dot.jpg": encoded(photo(seed, (1, 1)), "JPEG"),
        "strip.jpg": encoded(photo(seed, (1, 4000)), "JPEG"),
        "ribbon.png": encoded(photo(seed, (4000, 1)), "PNG"),
        "really-png.jpg": encoded(image, "PNG"),
        "rgb.png": encoded(image, "PNG"),
        "grey.png": encoded(grey, "PNG"),
        "grey16.png": encoded(grey16, "PNG"),
        "one-bit.png": encoded(image.convert("1"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-alpha.png": palette_alpha,
        "alpha.png": encoded(alpha, "PNG"),
        "grey-alpha.png": encoded(alpha.convert("LA"), "PNG"),
        "rgb.bmp": encoded(image, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "grey.bmp": encoded(grey, "BMP"),
        "alpha.bmp": encoded(alpha, "BMP"),
        "still.gif": encoded(palette, "GIF"),
        "animated.GIF": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "commented.gif": gif_of_tiny_blocks(500),
    }


def unreadable(seed: int) -> dict[str, bytes]:
    """File name to contents of every kind that must be skipped."""
    image = photo(seed)
    jpeg, png = encoded(image, "JPEG"), encoded(image, "PNG")
    gif, bmp = encoded(image, "GIF"), encoded(image, "BMP")
    noise = np.random.RandomState(seed).bytes(500)
    palette = bytearray(encoded(image.convert("P"), "BMP"))
    palette[14:18] = struct.pack("<I", 4000)  # the size of the header, behind which the palette begins
    return {
        "empty.jpg": b"",
        "one-byte.png": b"\x89",
        "text.jpg": b"<html><body>404 Not Found</body></html>\n" * 20,
        "noise.jpg": noise,
        "jpeg-then-noise.jpg": b"\xff\xd8\xff" + noise,
        "truncated.jpg": jpeg[: len(jpeg) * 2 // 3],
        "header-only.jpg": jpeg[:40],
        "truncated.png": png[: len(png) // 2],
        "header-only.png": png[:20],
        "flipped.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "truncated.gif": gif[: len(gif) // 2],
        "header-only.gif": gif[:8],
        "huge-frame.gif": gif_with_huge_frame(),
        "tiny-blocks.gif": gif_of_tiny_blocks(),
        "truncated.bmp": bmp[: len(bmp) // 2],
        "header-only.bmp": bmp[:20],
        "palette-outside.bmp": bytes(palette),
        "claims.jpg": jpeg_claiming(20000, 20000),
        "claims.png": png_header(20000, 20000),
        "claims-2g.png": png_header(2**31 - 1, 2**31 - 1),
        "zero.png": png_header(0, 10),
        "webp.jpg": encoded(image, "WEBP"),
    }


def bomb() -> bytes:
    """A valid PNG of 20,000 × 20,000 pixels in a few dozen kilobytes."""
    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(bytes(2501 * 100)) for _ in range(200)) + rows.flush()
    return png_header(20000, 20000, data)


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
