"""Pictures of every kind that a function may be sent, whole ones and broken ones, by name."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

SIZE = (24, 16)
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
DEEP_MODES = ("I", "F", "I;16", "I;16B")


def whole_pictures() -> dict[str, bytes]:
    """Pictures of ``SIZE`` or that size turned, which any reader takes."""
    found = {}
    ramp = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[::-1])
    for mode in MODES:
        name, picture = f"TIFF {mode}", Image.new("RGB", SIZE, "#40a070")
        if mode in ("La", "RGBa"):
            picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[mode])
        elif mode == "LAB":
            picture = Image.new("LAB", SIZE, 90)
        elif mode == "PA":
            picture = picture.convert("P")
        data = try_to_save(picture.convert(mode) if mode != "LAB" else picture, "TIFF")
        if data is not None:
            found[name] = data
    for mode in DEEP_MODES:
        data = try_to_save(Image.fromarray(ramp.astype(np.int32)).convert(mode), "TIFF")
        if data is not None:
            found[f"TIFF {mode}"] = data
    floats = ramp.astype(np.float32)
    floats[0, :3] = (np.nan, np.inf, -np.inf)
    found["TIFF of floats, some not finite"] = save(Image.fromarray(floats), "TIFF")
    found["TIFF of nothing but NaN"] = save(Image.fromarray(floats * np.nan), "TIFF")
    found["PNG of 16 bits"] = save(Image.fromarray(ramp.astype(np.uint16)), "PNG")
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    colours = Image.fromarray(noise)
    for file_format in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "JPEG2000", "PPM"):
        found[f"{file_format} of noise"] = save(colours, file_format)
    found["JPEG in CMYK"] = save(colours.convert("CMYK"), "JPEG")
    found["JPEG in grey"] = save(colours.convert("L"), "JPEG")
    found["progressive JPEG"] = save(colours, "JPEG", progressive=True)
    found["PNG with a transparent colour"] = save(colours.convert("P"), "PNG", transparency=3)
    for orientation in range(1, 10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        found[f"JPEG turned by EXIF {orientation}"] = save(colours, "JPEG", exif=exif)
    others = [colours.rotate(angle) for angle in (90, 180)]
    for file_format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = save(colours, file_format, save_all=True, append_images=others)
        found[f"{file_format} of three pictures"] = data
    found["TIFF whose second page is broken"] = break_second_page(found["TIFF of three pictures"])
    return found


def broken_pictures() -> dict[str, bytes]:
    """Bytes that are no picture, or one that nobody can or should decode."""
    found = {
        "nothing but a letter": b"x",
        "text": b"This is no picture.\n" * 50,
        "PDF": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
        "ZIP": b"PK\x05\x06" + bytes(18),
        "PNG of 60,000 x 60,000": png(60_000, 60_000, bytes(1000)),
        "PNG of no width": png(0, 9, b""),
        "PNG of no height": png(9, 0, b""),
        "PNG with 64 MB behind its pixels": png(4, 4, bytes(4 * 13) + bytes(64_000_000)),
        "PNG with 64 MB of text": png(4, 4, bytes(4 * 13), text=bytes(64_000_000)),
        "PNG with a colour profile of 64 MB": png(4, 4, bytes(4 * 13), profile=bytes(64_000_000)),
        "PNG of 1 x 100,000": png(1, 100_000, bytes(4 * 100_000)),
        "PNG of 100,000 x 1": png(100_000, 1, bytes(1 + 3 * 100_000)),
        "BMP of 2,000,000,000 x 1": bmp(2_000_000_000, 1),
        "BMP of no size": bmp(0, 0),
        "BMP of a negative width": bmp(-9, 9),
        "GIF of 65,535 x 65,535": (
            b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;"
        ),
        "GIF of no size": b"GIF89a" + bytes(7) + b";",
        "PPM of 10^12 x 1": b"P6 1000000000000 1 255\n" + bytes(9),
        "PPM of no size": b"P6 0 0 255\n",
        "PPM of a negative size": b"P6 -5 5 255\n" + bytes(75),
        "PPM of 10^9 grey values": b"P5 2 2 1000000000\n" + bytes(9),
        "TIFF of 10^9 x 10^9": tiff(1_000_000_000, 1_000_000_000),
        "TIFF of no size": tiff(0, 0),
        "TIFF whose tags are itself": (
            b"II*\0\x08\0\0\0\x01\0\0\x01\x04\0\xff\xff\xff\xff\x08\0\0\0\x08\0\0\0"
        ),
    }
    jpeg = bytearray(save(Image.new("RGB", SIZE), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    found["JPEG of 65,535 x 65,535"] = bytes(jpeg)
    for name, data in whole_pictures().items():
        if name.endswith(
            ("of noise", "of three pictures", "of 16 bits", "floats, some not finite")
        ):
            found[f"half of {name}"] = data[: len(data) // 2]
            found[f"all but the end of {name}"] = data[: -len(data) // 16]
            found[f"the head of {name}"] = data[:12]
    return found


def save(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def try_to_save(picture: Image.Image, file_format: str) -> bytes | None:
    """The file, or ``None`` where the format has no such mode."""
    try:
        return save(picture, file_format)
    except (OSError, KeyError):
        return None


def png(
    width: int, height: int, pixels: bytes, text: bytes | None = None, profile: bytes | None = None
) -> bytes:
    """A PNG of 8-bit colours that claims a size, over any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    if text is not None:
        head += chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text, 9))
    if profile is not None:
        head += chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile, 9))
    body = chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    """The head of a BMP and a few pixels."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + head + bytes(64)


def tiff(width: int, height: int) -> bytes:
    """A TIFF of one strip that claims a size."""
    tags = (
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, 64),
    )
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(68)


def break_second_page(data: bytes) -> bytes:
    """The TIFF with the directory of its second page overwritten."""
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * count)[0]
    assert second
    return data[:second] + b"\xff" * 40 + data[second + 40 :]
