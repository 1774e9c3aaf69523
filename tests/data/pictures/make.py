"""Writes the pictures here with Pillow. Each shows the same four colours, so that one test can tell what became of them.
`upright.jpg`, `exif3.jpg` and `exif8.jpg` show a digit and are not made here. Run it in this folder."""

import struct
import zlib

from PIL import Image

WIDTH, HEIGHT = 32, 16


def quarters():
    """Red and green above, blue and white below."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            right, low = x >= WIDTH // 2, y >= HEIGHT // 2
            picture.putpixel((x, y), [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]][low][right])
    return picture


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


upright = quarters()
for orientation in range(1, 9):
    # What a camera stores that was held so: the inverse of what undoes it.
    undone = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undone is None else upright.transpose(undone)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(f"orientation_{orientation}.jpg", quality=95, subsampling=0, exif=exif)
    stored.save(f"orientation_{orientation}.png", exif=exif)
# The chunk behind the pixels, as exiftool writes it.
plain = upright.transpose(Image.Transpose.ROTATE_90)
plain.save("orientation_last.png")
with open("orientation_last.png", "rb") as file:
    png = file.read()
exif = Image.Exif()
exif[0x0112] = 6
with open("orientation_last.png", "wb") as file:
    file.write(png[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + png[-12:])

upright.convert("CMYK").save("cmyk.jpg", quality=95)
upright.quantize(4).save("palette.png")
upright.convert("P").save("palette_transparent.png", transparency=0)
upright.save("progressive.jpg", quality=95, progressive=True, subsampling=0)
upright.save("picture.webp")
upright.save("picture.gif")
upright.save("picture.bmp")
upright.save("picture.tiff")
Image.new("1", (WIDTH, HEIGHT), 1).save("bilevel.png")
Image.new("I;16", (WIDTH, HEIGHT), 0x8000).save("grey_16.png")
