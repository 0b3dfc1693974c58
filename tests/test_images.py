"""Image files of every kind."""

import io
import os
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

import kerasxai.data
from kerasxai.data import load_images, read_image
from kerasxai.data.depth import BitDepthWarning
from kerasxai.data.images import check_image, image_size
from kerasxai.tools.errors import KerasxaiError

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, size=(6, 9, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray | Image.Image = COLORS, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


class TestReadImage:
    def test_rgb_is_read_as_it_is(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(read_image(write(tmp_path / "a.png")), COLORS)

    @hypothesis.given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(["L", "1", "P", "RGB", "HSV", "YCbCr"]))
    @hypothesis.settings(deadline=None, max_examples=25)
    def test_any_size_and_mode_becomes_rgb(self, width: int, height: int, mode: str) -> None:
        pixels = np.random.default_rng(width).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        suffix = ".tif" if mode == "YCbCr" else ".png"
        expected = np.asarray(image.convert("RGB"))
        with tempfile.TemporaryDirectory() as folder:
            stored = image.convert("RGB") if mode == "HSV" else image
            read = read_image(write(Path(folder) / f"a{suffix}", stored))
        assert read.shape == (height, width, 3) and read.dtype == np.uint8
        np.testing.assert_allclose(read.astype(int), expected, atol=2)

    def test_grey_becomes_three_equal_channels(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(
            read_image(write(tmp_path / "a.png", COLORS[..., 0])), np.repeat(COLORS[..., :1], 3, axis=2)
        )

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_sixteen_bits_are_scaled_not_cut(self, suffix: str, tmp_path: Path) -> None:
        levels = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
        read = read_image(write(tmp_path / f"a.{suffix}", levels))
        np.testing.assert_array_equal(read[0, :, 0], np.round(levels[0] / 257.0))
        assert read.shape == (1, 5, 3)

    def test_transparency_shows_white(self, tmp_path: Path) -> None:
        pixels = np.dstack([COLORS, np.zeros((6, 9), np.uint8)])
        pixels[:3, :, 3] = 255
        pixels[5, :, 3] = 128
        read = read_image(write(tmp_path / "a.png", pixels))
        np.testing.assert_array_equal(read[:3], COLORS[:3])
        assert (read[3:5] == 255).all()
        np.testing.assert_allclose(read[5], 255 + (COLORS[5] - 255.0) * 128 / 255, atol=1.0)

    def test_palette_with_a_transparent_color(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        read = read_image(write(tmp_path / "a.png", image, transparency=1))
        assert read.tolist() == [[[10, 20, 30], [255, 255, 255]]]

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    def test_cmyk(self, suffix: str, tmp_path: Path) -> None:
        image = Image.new("RGB", (16, 16), (200, 30, 60)).convert("CMYK")
        read = read_image(write(tmp_path / f"a.{suffix}", image))
        np.testing.assert_allclose(read.reshape(-1, 3).astype(int), [[200, 30, 60]] * 256, atol=4)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_rotation_is_carried_out(self, orientation: int, tmp_path: Path) -> None:
        turns = {
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, -1),
            7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
            8: lambda a: np.rot90(a),
        }
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = write(tmp_path / "a.png", COLORS, exif=exif)
        np.testing.assert_array_equal(read_image(path), turns[orientation](COLORS))
        assert image_size(path) == turns[orientation](COLORS).shape[1::-1]

    def test_the_first_frame_of_a_film(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
        path = write(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
        assert read_image(path)[0, 0].tolist() == [255, 0, 0]

    def test_what_is_no_image_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match=r"expected an existing image, got .*nothing\.jpg"):
            read_image(tmp_path / "nothing.jpg")
        with pytest.raises(KerasxaiError, match="expected an image, got the folder"):
            read_image(tmp_path)
        for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"0" * 50):
            path = tmp_path / "a.png"
            path.write_bytes(content)
            with pytest.raises(KerasxaiError, match=r"a\.png: (not an image|the image is corrupt)") as raised:
                read_image(path)
            assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
    def test_a_file_that_was_cut_off_is_corrupt(self, suffix: str, tmp_path: Path) -> None:
        noise = RNG.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
        path = write(tmp_path / f"a.{suffix}", noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow warns about cut TIFF files, and then raises as well
            with pytest.raises(KerasxaiError, match=rf"a\.{suffix}") as raised:
                read_image(path)
        assert "\n" not in str(raised.value)

    def test_floating_pixels_have_no_known_range(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match="range cannot be known"):
            read_image(write(tmp_path / "a.tif", np.ones((3, 3), np.float32)))


class TestChannels:
    def test_grey_is_the_luma(self, tmp_path: Path) -> None:
        read = read_image(write(tmp_path / "a.png"), channels=1)
        np.testing.assert_array_equal(read[..., 0], np.asarray(Image.fromarray(COLORS).convert("L")))
        assert read.shape == (6, 9, 1)

    def test_alpha_is_kept_where_it_is_read(self, tmp_path: Path) -> None:
        pixels = np.dstack([COLORS, RNG.integers(0, 256, (6, 9), dtype=np.uint8)])
        path = write(tmp_path / "a.png", pixels)
        np.testing.assert_array_equal(read_image(path, channels=4), pixels)
        assert (read_image(write(tmp_path / "b.png"), channels=4)[..., 3] == 255).all()

    def test_others_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match="channels must be 1, 3 or 4, got 2"):
            read_image(write(tmp_path / "a.png"), channels=2)

    def test_batches_of_oblong_images(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.png")
        assert load_images(path, (12, 20), channels=1).shape == (1, 12, 20, 1)
        assert load_images([path, path], (12, 20), channels=4).shape == (2, 12, 20, 4)


class TestDepth:
    """Files with 16 bits a channel, of which fewer are used."""

    LEVELS = np.arange(4096, dtype=np.uint16).reshape(64, 64)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_twelve_bits_are_told(self, suffix: str, tmp_path: Path) -> None:
        path = write(tmp_path / f"a.{suffix}", self.LEVELS)
        with pytest.warns(BitDepthWarning, match=r"use 12 of them.*bits=12"):
            assert len(np.unique(read_image(path))) < 20

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @hypothesis.given(bits=st.integers(8, 16))
    @hypothesis.settings(deadline=None, max_examples=9)
    def test_bits_that_are_used_are_scaled(self, bits: int, suffix: str) -> None:
        values = np.linspace(0, 2**bits - 1, 600).astype(np.uint16).reshape(20, 30)
        with tempfile.TemporaryDirectory() as folder:
            read = read_image(write(Path(folder) / f"a.{suffix}", values), channels=1, bits=bits)
        np.testing.assert_array_equal(read[..., 0], np.floor(values * (255 / (2**bits - 1)) + 0.5))

    def test_a_folder_of_such_files_is_told_once(self, tmp_path: Path) -> None:
        for name in ("x/a.png", "x/b.png", "y/a.png", "y/b.png"):
            write(tmp_path / "train" / name, self.LEVELS)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert len(list(kerasxai.data.load(tmp_path, "train", 8))) > 1
        assert [one.category for one in told] == [BitDepthWarning]

    def test_values_beyond_the_bits_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match="expected values of 10 bits, 0 to 1023, got 4095"):
            read_image(write(tmp_path / "a.png", self.LEVELS), bits=10)
        for bits in (0, 7, 17, 12.0, True):
            with pytest.raises(KerasxaiError, match="bits must be a whole number from 8 to 16"):
                read_image(tmp_path / "a.png", bits=bits)  # type: ignore[arg-type]

    @pytest.mark.parametrize("values", [np.zeros((3, 3), np.uint16), np.full((3, 3), 40000, np.uint16)])
    def test_black_and_bright_images_are_not_doubted(self, values: np.ndarray, tmp_path: Path) -> None:
        assert read_image(write(tmp_path / "a.png", values)).max() == np.rint(values.max() / 257)

    @pytest.mark.parametrize("channels", [3, 4])
    def test_color_files_of_16_bits(self, channels: int, tmp_path: Path) -> None:
        """Pillow keeps the upper 8 bits of these, so that nothing would be left to scale."""
        values = RNG.integers(0, 4096, (8, 5, channels)).astype(np.uint16)
        values[..., 3:] = 65535
        path = tmp_path / "a.png"
        path.write_bytes(tf.io.encode_png(values).numpy())
        with pytest.warns(BitDepthWarning, match="use 12 of them"):
            assert read_image(path).max() < 16
        read = read_image(path, bits=12, channels=channels)
        np.testing.assert_array_equal(read[..., :3], np.floor(values[..., :3] * (255 / 4095) + 0.5))
        assert channels == 3 or (read[..., 3] == 255).all()

    def test_color_tiff_of_16_bits(self, tmp_path: Path) -> None:
        values = RNG.integers(0, 4096, (8, 5, 3)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", bits=12), np.floor(values * (255 / 4095) + 0.5))

    def test_values_that_count_from_white_are_inverted(self, tmp_path: Path) -> None:
        """As X-ray images often are."""
        values = np.array([[0, 65535]], np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
        assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 0]


class TestFilesThatAreRefused:
    def test_more_pixels_than_allowed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "a.png")
        monkeypatch.setenv("KERASXAI_MAX_PIXELS", "53")
        with pytest.raises(KerasxaiError, match=r"at most 53 pixels, got 9 x 6 in .*KERASXAI_MAX_PIXELS"):
            read_image(path)
        assert "9 x 6" in (check_image(path) or "")
        assert read_image(path, max_pixels=54).shape == (6, 9, 3)
        monkeypatch.setenv("KERASXAI_MAX_PIXELS", "many")
        with pytest.raises(KerasxaiError, match="KERASXAI_MAX_PIXELS must be a whole number"):
            read_image(path)

    def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png_header(20_000, 20_000))
        with pytest.raises(KerasxaiError, match="20000 x 20000"):
            read_image(path)

    @pytest.mark.parametrize("form", ["PPM", "ICO", "TGA", "PCX"])
    def test_formats_that_are_not_named(self, form: str, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(COLORS).save(path, format=form)
        with pytest.raises(KerasxaiError, match="not an image that can be read; expected BMP"):
            read_image(path)
        assert check_image(path) == "not an image that can be read"

    def test_a_png_called_jpg_is_read(self, tmp_path: Path) -> None:
        Image.fromarray(COLORS).save(tmp_path / "a.jpg", format="PNG")
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), COLORS)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        with pytest.raises(KerasxaiError, match="expected a regular file"):
            read_image(tmp_path / "a.jpg")
        assert "expected a regular file" in (check_image(tmp_path / "a.jpg") or "")

    def test_links_that_lead_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to(tmp_path / "none.jpg")
        with pytest.raises(KerasxaiError, match="symbolic link to a file that does not exist"):
            read_image(tmp_path / "a.jpg")
        (tmp_path / "b.jpg").symlink_to(tmp_path / "b.jpg")
        with pytest.raises(KerasxaiError, match="cannot read"):
            read_image(tmp_path / "b.jpg")

    @pytest.mark.parametrize("values", [np.ones((3, 3), np.float32), np.full((3, 3), 70000, np.int32)])
    def test_ranges_that_cannot_be_known_are_found_beforehand(self, values: np.ndarray, tmp_path: Path) -> None:
        assert "cannot be known" in (check_image(write(tmp_path / "a.tif", values)) or "")

    @hypothesis.given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]), st.randoms(use_true_random=False))
    @hypothesis.settings(deadline=None, max_examples=80)
    def test_damaged_bytes_are_one_line_or_an_image(self, form: str, random: Any) -> None:
        buffer = io.BytesIO()
        Image.fromarray(COLORS).save(buffer, format=form)
        content = bytearray(buffer.getvalue())
        for _ in range(random.randint(1, 5)):
            content[random.randrange(len(content))] = random.randrange(256)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "a.png"
            path.write_bytes(content)
            try:
                assert read_image(path).dtype == np.uint8
            except KerasxaiError as error:
                assert "\n" not in str(error)
            assert check_image(path) is None or isinstance(check_image(path), str)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


class TestLoadImages:
    def test_one_or_several(self, tmp_path: Path) -> None:
        paths = [write(tmp_path / "a.png"), write(tmp_path / "b.jpg", COLORS[..., 0])]
        assert load_images(paths, 32).shape == (2, 32, 32, 3)
        np.testing.assert_array_equal(load_images(paths[0], None), COLORS[None])

    def test_bad_lists(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match="one or more images, got none"):
            load_images([])
        paths = [write(tmp_path / "a.png"), write(tmp_path / "b.png", COLORS[:4])]
        with pytest.raises(KerasxaiError, match="different sizes \\(9x4, 9x6\\)"):
            load_images(paths, None)

    @pytest.mark.parametrize("shape", [(50, 70), (20, 16), (200, 31)])
    def test_resizes_as_load_does(self, shape: tuple[int, int], tmp_path: Path) -> None:
        pixels = RNG.integers(0, 256, size=(*shape, 3), dtype=np.uint8)
        path = write(tmp_path / "x" / "a.png", pixels)
        write(tmp_path / "y" / "a.png", pixels)
        sample = next(iter(kerasxai.data.load(tmp_path, "train", 32)))
        difference = sample["image"].numpy().astype(int) - load_images(path, 32)[0]
        assert abs(difference).max() <= 1
