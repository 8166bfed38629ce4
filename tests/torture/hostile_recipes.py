"""Malformed recipes of trainings: wrong types, values out of range, and files that are no YAML."""

from collections.abc import Iterator


def hostile_recipes() -> dict[str, bytes]:
    """The files by name."""
    return {
        f"{name}.yaml": text if isinstance(text, bytes) else text.encode() for name, text in _()
    }


def _() -> Iterator[tuple[str, str | bytes]]:
    yield "bytes", bytes(range(256))
    yield "utf_16", "model:\n  size: 32\n".encode("utf-16")
    yield "unclosed", "model: [1, 2"
    yield "tabs", "model:\n\tsize: 32\n"
    yield "number", "3"
    yield "text", "hello"
    yield "list", "- model\n- data\n"
    yield "nothing", "null"
    yield "deep", "[" * 3000
    yield "deep_closed", "model: " + "[" * 900 + "]" * 900
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    yield "laughs", "\n".join(laughs)
    yield "anchor_of_itself", "model: &m\n  again: *m\n"
    yield "object", "model: !!python/object/apply:os.system ['touch harmed']\n"
    yield "object_new", "!!python/object/new:os.system ['touch harmed']\n"
    yield "name", "data: !!python/name:os.system\n"
    yield "group_unknown", "modell:\n  size: 32\n"
    yield "group_number", "3: 4\n"
    yield "group_text", "model: hello\n"
    yield "group_list", "model: [1, 2]\n"
    yield "group_true", "trainer: true\n"
    yield "keys_of_lists", "? [1, 2]\n: 3\n"
    yield "setting_unknown", "model:\n  sizes: 32\n"
    for setting, values in {
        "model.size": ("text", "-32", "31", "1.5", "null", "[32]", "{a: 1}", "true", ".nan", "1e9"),
        "model.style_weight": ("text", ".nan", ".inf", "-1", "[]", "9" * 400),
        "model.learning_rate": ("0", "-.inf", "1e400", "fast"),
        "model.content_layers": (
            "3",
            "[relu9_9]",
            "{relu1_1: x}",
            "{relu1_1: -1}",
            "{relu1_1: .nan}",
        ),
        "model.style_layers": ("{}", "{relu1_1: .inf}", "text"),
        "model.motion_ramp": ("[1]", "[1, 0]", "[a, b]", "[.nan, 1]"),
        "model.style_factors": ("[1]", "{x: 2}", "{art: .nan}"),
        "model.architecture": ("slow", "3", "[fast]"),
        "model.start_from": ("/dev/null", "missing.safetensors", "[1]"),
        "model.style_crops": ("{art: 3}", "{art: 999x999+0+0}", "text"),
        "model.vgg_weights": ("/dev/null", "missing.pt"),
        "model.style_images": ("{}", "{art: missing.png}", "[1]"),
        "data.batch_size": ("0", "-1", "text", "1.5"),
        "data.workers": ("-1", "text"),
        "data.photos": ("/dev/null", "missing", "3", "[1]"),
        "data.seed": ("-1",),
        "trainer.max_steps": ("0", "-5", "text", "1.5"),
        "trainer.devices": ("0", "-3", "text", "{}"),
        "trainer.accelerator": ("gpu9", "3", "tpu"),
        "trainer.precision": ("7", "text", "16"),
        "trainer.callbacks": ("3", "[{class_path: os.system}]", "[{class_path: missing.Class}]"),
        "trainer.logger": (
            "3",
            "{class_path: subprocess.Popen, init_args: {args: [touch, harmed]}}",
        ),
        "trainer.strategy": ("text", "ddp_missing"),
        "trainer.gradient_clip_val": ("text", "-1"),
        "trainer.plugins": ("[x]",),
    }.items():
        group, name = setting.split(".")
        for number, value in enumerate(values):
            yield f"{setting}_{number}", f"{group}:\n  {name}: {value}\n"
