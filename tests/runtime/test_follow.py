"""Objects are followed through frames, and said to be lost where they are."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from harness.clips import Clip, followed, iou, moving_object, pan
from jsonschema import Draft202012Validator
from PIL import Image
from typer.testing import CliRunner, Result

from glesam_runtime import Follower, FollowOptions, ImageError, Predictor, Prompt, PromptError
from glesam_runtime.cli.run import app
from glesam_runtime.errors import DamagedVideoError
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.follow import job as follow_job
from glesam_runtime.tools.follow import video
from glesam_runtime.tools.follow.frames import Frame, Frames
from glesam_runtime.tools.follow.sources import opened_frames
from glesam_runtime.tools.follow.video import written_video
from glesam_runtime.tools.records.schema import json_schema

BOX = ["--box", "24", "16", "72", "64"]


def test_a_moving_object_is_followed_and_lost_when_it_is_gone() -> None:
    clip = moving_object(frames=9, visible=7)
    with Predictor("nano") as predictor:
        frames = followed(clip, predictor)
    assert [reason for _, reason in frames[:7]] == [None] * 7, frames
    assert min(score for score, _ in frames[:7]) > 0.55, frames
    for score, reason in frames[7:]:
        assert reason is not None and score == 0, frames


def test_an_object_is_followed_while_the_camera_moves() -> None:
    clip = pan("astronaut.jpg", (20, 12, 345, 480), (400, 400), (4, 3), 1.0, frames=7)
    with Predictor("nano") as predictor:
        frames = followed(clip, predictor)
    assert [reason for _, reason in frames] == [None] * 7, frames
    assert min(score for score, _ in frames) > 0.85, frames


@pytest.fixture
def square() -> Clip:
    """A bright square that moves to the right, for the tiny bundle; its box is the answer."""
    frames, masks = [], []
    for index in range(4):
        mask = np.zeros((96, 128), bool)
        mask[16:64, 24 + 6 * index : 72 + 6 * index] = True
        masks.append(mask)
        frames.append(np.where(mask[..., None], 230, 30).astype(np.uint8).repeat(3, axis=2))
    return Clip(frames, masks, (24, 16, 72, 64))


def test_a_lost_object_is_looked_for_where_it_was_and_found_again(bundle_path: Path, square: Clip) -> None:
    """The tiny bundle tells bright objects from dark ones, so a negative is another object there."""
    bright, dark = square.frames[0], 255 - square.frames[0]
    follower = Follower(Predictor(bundle_path), [Prompt(square.box)])
    answers = [follower.next(frame) for frame in (bright, dark, dark, bright)]
    assert [answer.lost[0] for answer in answers] == [
        None,
        "similarity -1.00, less than 0.7",
        "similarity -1.00, less than 0.7",
        None,
    ]
    assert [answer.masks.any() for answer in answers] == [True, False, False, True]
    assert iou(answers[3].masks[0], answers[0].masks[0]) > 0.8


def test_a_mask_that_jumps_in_size_is_another_object(bundle_path: Path, square: Clip) -> None:
    strict = FollowOptions(margin=0.2, most_growth=1.2)
    follower = Follower(Predictor(bundle_path), [Prompt(square.box)], strict)
    assert follower.next(square.frames[0]).lost == (None,)
    (reason,) = follower.next(square.frames[0]).lost
    assert reason is not None and reason.endswith("a factor above 1.2")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_frames_encoded_ahead_give_the_bits_of_one_after_the_other(
    bundle_path: Path, square: Clip, backend: str
) -> None:
    with Predictor(bundle_path, backend=backend) as predictor:
        predictor.set_image(square.frames[0])
        before = np.array(predictor.image_embeddings)
        follower = Follower(predictor, [Prompt(square.box)])
        answers = list(follower.each(iter(square.frames)))
        np.testing.assert_array_equal(predictor.image_embeddings, before)
        one_by_one = Follower(predictor, [Prompt(square.box)])
        expected = [one_by_one.next(frame) for frame in square.frames]
    assert len(answers) == len(expected) == 4
    assert not np.array_equal(expected[0].masks, expected[3].masks)
    for (frame, answer), original, wanted in zip(answers, square.frames, expected, strict=True):
        assert frame is original
        assert answer.lost == wanted.lost
        assert set(answer.timings_ms) == set(wanted.timings_ms)
        np.testing.assert_array_equal(answer.masks, wanted.masks)
        np.testing.assert_array_equal(answer.iou_predictions, wanted.iou_predictions)


def test_the_next_frame_is_encoded_while_the_caller_uses_one(bundle_path: Path, square: Clip) -> None:
    taken = threading.Event()

    def frames() -> Iterator[Pixels]:
        yield from square.frames[:2]
        taken.set()
        yield square.frames[2][:, :96]

    with Predictor(bundle_path) as predictor:
        answers = Follower(predictor, [Prompt(square.box)]).each(frames())
        next(answers)
        next(answers)
        assert taken.wait(30)
        with pytest.raises(ImageError, match="expected 128 x 96 pixels as before, found 96 x 96"):
            next(answers)


def test_frames_of_another_size_and_prompts_without_a_mask_are_refused(
    bundle_path: Path, square: Clip
) -> None:
    predictor = Predictor(bundle_path)
    follower = Follower(predictor, [Prompt(square.box)])
    follower.next(square.frames[0])
    with pytest.raises(ImageError, match="expected 128 x 96 pixels as before, found 96 x 96"):
        follower.next(square.frames[0][:, :96])
    nothing = Prompt(points=[(64, 48)], background_points=[(1, 1)] * 8)
    with pytest.raises(PromptError, match="object 1: its prompt gives no mask"):
        Follower(predictor, [Prompt(square.box), nothing]).next(square.frames[0])


def written_clip(path: Path, frames: Sequence[Pixels]) -> Path:
    with written_video(path, 12.5) as write:
        for frame in frames:
            write(frame)
    return path


def run(bundle_path: Path, out: Path, *arguments: object) -> Result:
    options = ["--bundle", str(bundle_path), "--out", str(out)]
    return CliRunner().invoke(app, [*map(str, arguments), "--follow", *options])


def records_of(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    for record in records:
        Draft202012Validator(json_schema()["$defs"]["frame"] | json_schema()).validate(record)
    return records


def test_a_video_gives_a_line_for_each_frame_and_an_overlay(
    bundle_path: Path, square: Clip, tmp_path: Path
) -> None:
    clip, out = written_clip(tmp_path / "clip.mp4", square.frames), tmp_path / "out"
    result = run(bundle_path, out, clip, *BOX, "--json")
    records = records_of(result)
    assert [record["frame"] for record in records] == [0, 1, 2, 3]
    assert [record["time_s"] for record in records] == pytest.approx([0, 0.08, 0.16, 0.24])
    assert all(record["masks"][0]["prompt"] == 0 and record["lost"] == [] for record in records)
    assert (out / "clip.jsonl").read_text() == result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["clip.jsonl", "clip.overlay.mp4"]
    with av.open(str(out / "clip.overlay.mp4")) as overlay:
        assert float(overlay.streams.video[0].average_rate) == 12.5
        shown = [frame.to_ndarray(format="rgb24") for frame in overlay.decode(video=0)]
    assert [picture.shape for picture in shown] == [(96, 128, 3)] * 4
    orange = shown[0][40, 48].astype(int)
    assert orange[0] > orange[2] + 40, "the mask is tinted"
    assert "object 0: found in 4 of 4 frames" in result.stderr


def test_a_folder_of_frames_is_read_by_number_and_needs_no_pyav(
    bundle_path: Path, square: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    for index, frame in zip((2, 9, 10, 100), square.frames, strict=True):
        Image.fromarray(frame).save(folder / f"f{index}.png")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "glesam_runtime.tools.follow.video")
    records = records_of(run(bundle_path, out, folder, *BOX, "--json", "--max-frames", 3))
    assert [Path(record["image"]).name for record in records] == ["f2.png", "f9.png", "f10.png"]
    assert [record["time_s"] for record in records] == [None] * 3
    names = sorted(path.name for path in out.iterdir())
    assert names == ["f10.overlay.jpg", "f2.overlay.jpg", "f9.overlay.jpg", "frames.jsonl"]
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    result = run(bundle_path, out, clip, *BOX)
    assert result.exit_code == 2
    assert "a video needs av: pip install 'glesam[video]'" in result.stderr


def test_what_happens_is_printed_when_it_happens(bundle_path: Path, square: Clip, tmp_path: Path) -> None:
    bright = square.frames[0]
    clip = written_clip(tmp_path / "clip.mp4", [bright, 255 - bright, bright])
    result = run(bundle_path, tmp_path / "out", clip, *BOX)
    assert result.exit_code == 0, result.output
    assert [line.split(" (")[0] for line in result.stdout.splitlines()] == [
        "frame 1: object 0 lost: similarity -1.00, less than 0.7",
        "frame 2: object 0 found again",
        "object 0: found in 2 of 3 frames",
        f"wrote {tmp_path}/out/clip.jsonl and {tmp_path}/out/clip.overlay.mp4; "
        f"next: xdg-open {tmp_path}/out/clip.overlay.mp4",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clip.mp4", b"no video", "clip.mp4: expected a video, found none, or one without its index"),
        ("zero.mp4", b"", "zero.mp4: expected a video, found an empty file; copy it again"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "error: "),
        ("absent.mp4", None, "expected a video, a folder of frames or a camera, found nothing"),
    ],
)
def test_what_is_no_video_is_one_line_and_leaves_nothing(
    bundle_path: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run(bundle_path, tmp_path / "out", tmp_path / name, *BOX)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert not re.search("Errno|file:|FFmpeg|Invalid data", result.stderr)
    assert not list(tmp_path.glob("out/*"))


def test_a_cut_video_leaves_nothing_half_written(bundle_path: Path, square: Clip, tmp_path: Path) -> None:
    clip = written_clip(tmp_path / "clip.mp4", square.frames)
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(square.frames[0]).save(folder / "f0.png")
    (folder / "f1.png").write_bytes(b"no picture")
    assert run(bundle_path, tmp_path / "out", folder, *BOX).exit_code == 2
    assert not (tmp_path / "out/frames.jsonl").exists()
    clip.write_bytes(clip.read_bytes()[:-200])  # without its index
    assert run(bundle_path, tmp_path / "out", clip, *BOX).exit_code == 2
    assert not list(tmp_path.glob("out/clip*"))


def key_frames(path: Path, frames: Sequence[Pixels], codec: str = "mpeg4") -> Path:
    """A video in which every frame stands for itself, and whose header is at the front."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Position and size of each frame's bytes in a video's file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos]


@pytest.fixture
def noise() -> list[Pixels]:
    """Frames whose bytes are many, so that those in the middle of one can be overwritten."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(6)]


def damage(clip: Path, index: int) -> None:
    start, size = packets(clip)[index]
    content = bytearray(clip.read_bytes())
    content[start + size // 3 : start + size // 2] = bytes([255]) * (size // 2 - size // 3)
    clip.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "codec", "error"),
    [
        ("avi", "mpeg4", "frame 3 is damaged"),
        ("mkv", "mpeg4", "frame 3 is damaged"),
        ("mp4", "libx264", "frame 3 is damaged"),
    ],
)
def test_a_damaged_frame_is_named_and_what_comes_before_is_kept(
    bundle_path: Path, noise: list[Pixels], tmp_path: Path, suffix: str, codec: str, error: str
) -> None:
    """FFmpeg fills what it cannot decode with pixels of other frames, and goes on."""
    clip, out = key_frames(tmp_path / f"clip.{suffix}", noise, codec), tmp_path / "out"
    damage(clip, 3)
    result = run(bundle_path, out, clip, *BOX, "--json")
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1] == f"error: {clip}: {error}; copy the video again"
    assert (out / "clip.jsonl").read_text() == result.stdout
    assert [json.loads(line)["frame"] for line in result.stdout.splitlines()] == [0, 1, 2]
    assert (out / "clip.overlay.mp4").is_file()


def test_a_video_damaged_from_its_first_frame_on_leaves_nothing(
    bundle_path: Path, noise: list[Pixels], tmp_path: Path
) -> None:
    clip, out = key_frames(tmp_path / "clip.avi", noise), tmp_path / "out"
    damage(clip, 0)
    result = run(bundle_path, out, clip, *BOX)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"error: {clip}: frame 0 is damaged; copy the video again"
    assert not list(tmp_path.glob("out/*"))


def test_what_cannot_be_decoded_is_said_without_ffmpegs_words(
    noise: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that refuses a packet, which some do in place of marking its frame."""

    def refusing(container: object, end: list[float], is_camera: bool) -> Iterator[av.VideoFrame]:
        yield from islice(whole(container, end, is_camera), 2)
        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")

    whole = video._frames
    monkeypatch.setattr(video, "_frames", refusing)
    clip = key_frames(tmp_path / "clip.avi", noise)
    with (
        opened_frames(clip, tmp_path) as frames,
        pytest.raises(DamagedVideoError, match=r"clip\.avi: damaged after frame 1; copy the video again$"),
    ):
        list(frames.frames)


def test_a_cameras_damaged_frame_is_left_out(
    noise: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = key_frames(tmp_path / "clip.avi", noise)
    damage(clip, 3)
    opened = av.open
    monkeypatch.setattr(av, "open", lambda path, **_: opened(path))
    with video.opened_video(clip, is_camera=True) as frames:
        found = list(frames.frames)
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    assert (
        np.abs(found[3].pixels.astype(int) - noise[4]).mean() < np.abs(noise[3].astype(int) - noise[4]).mean()
    )


def test_an_error_in_a_frame_names_it(bundle_path: Path, square: Clip, tmp_path: Path) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    for index, frame in enumerate((square.frames[0], square.frames[1][:, :96])):
        Image.fromarray(frame).save(folder / f"f{index + 7}.png")
    result = run(bundle_path, out, folder, *BOX)
    assert result.exit_code == 2
    size = "expected 128 x 96 pixels as before, found 96 x 96"
    assert f"error: {folder}/f8.png: {size}" in result.stderr
    clip = written_clip(tmp_path / "clip.mp4", square.frames)
    result = run(bundle_path, out, clip, "--box", 0, 0, 500, 64)
    assert result.exit_code == 2
    assert f"error: {clip}: frame 0: box 0 0 500 64: expected" in result.stderr
    follower = Follower(Predictor(bundle_path), [Prompt(square.box)])
    follower.next(square.frames[0])
    with pytest.raises(ImageError, match=f"^frame 1: {size}"):
        follower.next(square.frames[0][:, :96])
    with pytest.raises(ImageError, match=f"^frame 2: {size}"):
        list(follower.each([square.frames[0], square.frames[0][:, :96]]))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_video_that_is_cut_between_two_frames_is_an_error_and_keeps_the_frames(
    bundle_path: Path, square: Clip, tmp_path: Path, suffix: str
) -> None:
    """The header, at the front, says how long the whole is; without a check the rest is taken for it."""
    clip, out = key_frames(tmp_path / f"clip.{suffix}", square.frames * 3), tmp_path / "out"
    whole = run(bundle_path, out, clip, *BOX)
    assert whole.exit_code == 0, whole.output
    start, size = packets(clip)[4]
    clip.write_bytes(clip.read_bytes()[: start + size])
    cut = run(bundle_path, out, clip, *BOX, "--json")
    assert cut.exit_code == 2, cut.output
    found = len(cut.stdout.splitlines())
    assert 4 <= found <= 6
    error = f"error: {clip}: expected 12 frames, found {found}; copy the video again"
    assert cut.stderr.splitlines()[-1] == error
    assert (out / "clip.jsonl").read_text() == cut.stdout
    assert run(bundle_path, out, clip, *BOX, "--max-frames", 3).exit_code == 0, "no more were asked for"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--auto"], "and no --auto"),
        ([*BOX, "--multimask"], "and no --multimask"),
        ([*BOX, "--mask-input", "a.png"], "and no --mask-input"),
        ([*BOX, "--auxiliary", "a.png"], "and no --auxiliary"),
        ([*BOX, "b.mp4"], "expected one video, folder of frames or camera, found 2 paths"),
        ([], "no prompt: give --box X0 Y0 X1 Y1 or --point X Y for the first frame of --follow"),
    ],
)
def test_what_follow_does_not_take_is_refused(
    bundle_path: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run(bundle_path, tmp_path / "out", "a.mp4", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_device_that_is_no_camera_is_refused() -> None:
    null = Path("/dev/null")
    with pytest.raises(ImageError, match="/dev/null: expected a camera"), opened_frames(null, Path("out")):
        pass


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/dev/video987", "/dev/video987: expected a camera, found nothing; ls /dev/video* lists all"),
        ("0", "0: expected a path, found a number; camera 0 is /dev/video0"),
        ("rtsp://camera.local/live", "rtsp://camera.local/live: expected a path, found an address"),
    ],
)
def test_what_other_programs_call_a_camera_is_answered(
    bundle_path: Path, tmp_path: Path, source: str, message: str
) -> None:
    result = run(bundle_path, tmp_path / "out", source, *BOX)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]


def test_an_address_is_no_picture(bundle_path: Path) -> None:
    result = CliRunner().invoke(app, ["https://a.b/c.jpg", *BOX, "--bundle", str(bundle_path)])
    assert result.exit_code == 2
    assert "https://a.b/c.jpg: expected a path, found an address; nothing is read from" in result.stderr


@pytest.mark.parametrize("is_live", [True, False])
def test_ctrl_c_ends_a_camera_in_order_and_leaves_nothing_of_a_video(
    bundle_path: Path, square: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_live: bool
) -> None:
    def interrupted() -> Iterator[Frame]:
        yield from (Frame(i, Path("video0"), i / 10, square.frames[i]) for i in range(2))
        raise KeyboardInterrupt

    @contextmanager
    def camera(*_: Path) -> Iterator[Frames]:
        yield Frames(interrupted(), 10.0, is_live=is_live)

    monkeypatch.setattr(follow_job, "opened_frames", camera)
    result = run(bundle_path, tmp_path / "out", "/dev/video0", *BOX)
    written = sorted(path.name for path in tmp_path.glob("out/*"))
    if is_live:
        assert result.exit_code == 0, result.output
        assert written == ["video0.jsonl", "video0.overlay.mp4"]
        assert len((tmp_path / "out/video0.jsonl").read_text().splitlines()) == 2
    else:
        assert result.exit_code != 0
        assert written == []
