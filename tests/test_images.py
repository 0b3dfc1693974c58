"""Image files of every kind."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

import kerasxai.data
from kerasxai.core.errors import KerasxaiError
from kerasxai.data import load_images, read_image
from kerasxai.data.images import image_size

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
        with pytest.raises(KerasxaiError, match=r"there is no image .*nothing\.jpg"):
            read_image(tmp_path / "nothing.jpg")
        with pytest.raises(KerasxaiError, match="is a folder, not an image"):
            read_image(tmp_path)
        for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"0" * 50):
            path = tmp_path / "a.png"
            path.write_bytes(content)
            with pytest.raises(KerasxaiError, match=r"a\.png is (not an image|corrupt)|a\.png is corrupt") as raised:
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


class TestLoadImages:
    def test_one_or_several(self, tmp_path: Path) -> None:
        paths = [write(tmp_path / "a.png"), write(tmp_path / "b.jpg", COLORS[..., 0])]
        assert load_images(paths, 32).shape == (2, 32, 32, 3)
        np.testing.assert_array_equal(load_images(paths[0], None), COLORS[None])

    def test_bad_lists(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match="no images"):
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
