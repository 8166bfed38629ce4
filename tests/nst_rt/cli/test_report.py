"""What verbs report: progress on a terminal, results, and what to type next."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from clips import write_clip
from command_line import Run
from PIL import Image

from nst_rt.cli import _parser, evaluate
from nst_rt.cli.demo import next_commands
from nst_rt.cli.mistakes import kind_of
from nst_rt.cli.report import _clock, loading, progress
from nst_rt.infer.packaged import FILM
from nst_rt.models.style_model import StyleModel
from nst_rt.progress import interrupts_deferred, signals_as_interrupt, stages

CLI = [sys.executable, "-m", "nst_rt"]


def in_terminal(work: str) -> list[str]:
    """Run Python code in a terminal of 80 columns; the lines written to it, without colors."""
    code = f"from nst_rt.cli.report import progress\nfrom nst_rt.progress import stages\n{work}"
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=environment
    ) as program:
        os.close(slave)
        written = b""
        with suppress(OSError):  # of Linux, when the program has ended
            while read := os.read(master, 2**16):
                written += read
    os.close(master)
    assert program.returncode == 0, written
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_bar_labels_its_times_and_fits_the_terminal() -> None:
    lines = in_terminal(
        "import time\n"
        "with progress('optimizing', counted=False) as advance:\n"
        "    for step in range(1, 4):\n"
        "        time.sleep(0.1)\n"
        "        advance(step / 4, 1, f'step {step}/4  256 px  content 0.2313  style 0.2467')"
    )
    assert re.search(r"elapsed 0:00, 0:0\d left step 3/4", lines[-1])
    assert max(map(len, lines)) <= 80


def test_bar_counts() -> None:
    lines = in_terminal(
        "with progress('film.mp4') as advance:\n    advance(1, 8, '')\n    advance(8, 8, '')"
    )
    assert "8/8" in lines[-1]
    assert "elapsed 0:00" in lines[-1]
    assert "left" not in lines[-1]


def test_bar_says_what_is_loaded_and_leaves_nothing_of_failed_work() -> None:
    lines = in_terminal(
        "import time\n"
        "with progress('stylizing') as advance:\n"
        "    stages.debug('compiling for %dx%d', 1280, 720)\n"
        "    time.sleep(0.3)\n"
        "assert not stages.handlers\n"
        "print('end')"
    )
    assert any("compiling for 1280x720" in line for line in lines)
    assert lines[-1] == "end"


def test_messages_do_not_tear_the_bar() -> None:
    lines = in_terminal(
        "from nst_rt.cli import set_up_process\nfrom nst_rt.cli.report import tell\n"
        "import logging\n"
        "set_up_process()\n"
        "with progress('stylizing') as advance:\n"
        "    advance(1, 3, '')\n"
        "    tell('skipped a photo')\n"
        "    logging.getLogger('nst_rt').warning('of the library')\n"
        "    advance(3, 3, '')"
    )
    assert {"nst-rt: skipped a photo", "nst-rt: of the library"} < set(lines)
    assert lines[-1].startswith("stylizing")


def test_nothing_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    with loading(), progress("stylizing") as advance:
        stages.debug("loading VGG19")
        advance(1, 1, "a.jpg")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "shown"), [(None, "0:00"), (72.4, "1:12"), (3723, "1:02:03")])
def test_clock(seconds: float | None, shown: str) -> None:
    assert _clock(seconds) == shown


def test_steps_are_told_by_size(run: Run) -> None:
    for name in ("a.png", "b.png"):
        Image.effect_noise((64, 64), 90).convert("RGB").save(name)
    arguments = ("--size", 64, "--min-size", 32, "--steps", 3, "--style-layers", "relu1_1")
    layers = ("--content-layers", "relu1_1")
    code, out, _ = run("optimize", "a.png", "--style-image", "b.png", *arguments, *layers)
    assert code == 0
    assert "6 steps (3 at 32 px + 3 at 64 px)" in out


def test_a_changed_track_is_told_once(
    run: Run, two_styles: StyleModel, caplog: pytest.LogCaptureFixture
) -> None:
    two_styles.save("two.safetensors")
    write_clip(Path("in.mkv"), pts=range(0, 2560, 512), audio="flac")
    options = ("--style", "two.safetensors", "--strength", 0)
    code, out, _ = run("video", "in.mkv", "-o", "out.webm", *options)
    assert code == 0
    told = [each.getMessage() for each in caplog.records if each.name.startswith("nst_rt.")]
    assert [text.count("opus") for text in told if "opus" in text] == [1]
    assert "opus" not in out
    assert "(und)" not in out.join(told)
    assert "flac audio copied" in run("video", "in.mkv", "-o", "out.mkv", *options)[1]
    write_clip(Path("silent.mp4"), pts=range(0, 2560, 512))
    assert "no audio" in run("video", "silent.mp4", "-o", "out.mp4", *options)[1]


def test_demo_ends_with_commands_that_work(tmp_path: Path) -> None:
    folder = tmp_path / "my demo"
    for file in ("photos/a.png", "photos/b.png", "paintings/c.jpg", FILM):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    commands = next_commands(folder)
    assert 3 <= len(commands) <= 5
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "nst-rt"
        _parser().parse_args(arguments)
        files = [each for each in arguments if kind_of(each)]
        assert all(Path(file).is_file() for file in files)


def test_legend_of_a_clip_fits_a_terminal() -> None:
    assert len(evaluate._CLIP_LEGEND) <= 3
    assert max(map(len, evaluate._CLIP_LEGEND)) <= 80


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_interrupts_while_work_is_done(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals_as_interrupt():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_deferred_as_ctrl_c_is(number: signal.Signals) -> None:
    with signals_as_interrupt(), interrupts_deferred() as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        signal.raise_signal(number)  # `timeout` sends it to the process, then to the group
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_terminated_video_is_kept(tmp_path: Path, two_styles: StyleModel) -> None:
    two_styles.save(tmp_path / "two.safetensors")
    write_clip(tmp_path / "in.mp4", pts=range(0, 512 * 25 * 600, 512))
    program = subprocess.Popen(
        [*CLI, "video", "in.mp4", "-o", "out.mp4", "--style", "two.safetensors"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "out.mp4.partial/000000.json").exists():
        assert program.poll() is None
    program.terminate()
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "--resume" in err
