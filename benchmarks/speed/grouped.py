"""The two task stacks as one grouped computation against one after the other: a chain of three convs of each, forward and back."""

import dataclasses
import time

from turns import Contender, table_row, take_turns

SHAPES = (64, 32), (16, 128)  # sides and channels of a map


def contender(grouped: bool, side: int, channels: int, dtype: str):
    """A training step of both chains, `apart` or as convs of two groups."""
    from smtn_keras import backend

    backend.start()
    import keras
    import numpy as np
    from keras import layers, ops

    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else dtype)

    def conv(x, factor):
        return layers.Conv2D(factor * channels, 3, padding="same", groups=factor, activation="relu")(x)

    images = [keras.Input((side, side, channels)) for _ in range(2)]
    if grouped:
        x = ops.concatenate(images, -1)
        for _ in range(3):
            x = conv(x, 2)
    else:
        ends = images
        for _ in range(3):
            ends = [conv(end, 1) for end in ends]
        x = ops.concatenate(ends, -1)
    model = keras.Model(images, layers.GlobalAveragePooling2D(dtype="float32")(x))
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() == "jax")
    rng = np.random.default_rng(0)
    batch = [rng.normal(size=(16, side, side, channels)).astype("float32") for _ in images], np.zeros((16, 2 * channels), "float32")
    model.train_on_batch(*batch)

    def answer(**_):
        began = time.perf_counter()
        model.train_on_batch(*batch)
        return {"seconds": {"step": [time.perf_counter() - began]}}

    return {}, answer


def measure(settings, work_folder) -> dict:
    """Each shape and dtype on TensorFlow and on JAX; both ways take turns."""
    details, ratios, rows = {}, {}, []
    for backend in ("tensorflow", "jax"):
        for dtype in ("float32", "bfloat16"):
            for side, channels in ((8, 4),) if settings.quick else SHAPES:
                name = f"{backend} {dtype}, {side}x{side}, {channels} channels"
                both = [
                    Contender(
                        f"{name}, {'grouped' if grouped else 'apart'}",
                        "grouped",
                        {"grouped": grouped, "side": side, "channels": channels, "dtype": dtype},
                        {"KERAS_BACKEND": backend},
                    )
                    for grouped in (False, True)
                ]
                take_turns(both, min(settings.seconds, 10), settings.rounds)
                details[name] = [dataclasses.asdict(one) for one in both]
                apart, grouped = (one.median() for one in both)
                cells = [f"{1000 * apart:.1f}", f"{1000 * grouped:.1f}", f"{grouped / apart:.1f}"] if apart and grouped else None
                rows.append(table_row([name], both[1], cells, 3))
    head = ["", "ms apart", "ms grouped", "grouped over apart", ""]
    notes = (
        "Two chains of three 3x3 convs with ReLU, batch 16, a step of SGD: as six convs, or as three of two groups with both maps in one."
    )
    return {"details": details, "ratios": ratios, "head": head, "rows": rows, "notes": notes}
