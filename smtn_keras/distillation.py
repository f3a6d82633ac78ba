"""Distillation: a small network learns from what a larger one answers to the same pictures (Hinton et al., 2015)."""

from pathlib import Path

import keras
from keras import layers, ops

from . import runs
from .config import Config
from .errors import UserError
from .losses import probabilities
from .tasks import Attributes, Task

LEAST = 1e-6  # a probability below it counts as this


class Taught(keras.Model):
    """A functional model whose loss has a second part, `lesson(images, outputs)`: how far its answers are from a teacher's.

    The function keeps the teacher's weights out of this model, so that a run's files hold the student alone.
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return loss + self.lesson(x, y_pred)


def taught(model: keras.Model, config: Config, tasks: tuple[Task, ...]) -> Taught:
    """A network that learns from the run in `--teacher`, too.

    The teacher sees each picture as it was varied for the student, resized to its own input, and answers for all points and
    labels, so a data set's faces teach labels that it lacks.

    Raises:
        UserError: if there is no such run, or it was trained on other tasks.
    """
    training = config.training
    folder = Path(training.teacher)
    if runs.read_tasks(folder) != tasks:
        raise UserError(
            f"--teacher {folder}: expected a run with the points and labels of --data {config.data.data}, got other ones; name a run of this data"
        )
    teacher = runs.load(folder, dtype=keras.config.dtype_policy()).model
    teacher.trainable = False
    resized = layers.Resizing(*teacher.input.shape[1:3], dtype="float32")
    weights = [training.attributes_weight if isinstance(task, Attributes) else training.landmarks_weight for task in tasks]

    def lesson(images, outputs):
        answers = teacher(resized(images), training=False)
        parts = [
            weight * distance(outputs[task.name], ops.stop_gradient(answers[task.name]), task, training.landmark_scale)
            for task, weight in zip(tasks, weights, strict=True)
        ]
        return training.teacher_weight * sum(parts)

    student = Taught(model.input, model.output, name=model.name)
    student.lesson = lesson
    return student


def distance(student, teacher, task: Task, scale: float):
    """How far two networks' outputs of a task are apart, a scalar.

    Of landmarks the mean absolute difference of the coordinates, times `scale`; of attributes the mean over the labels of the
    cross-entropy between their probabilities.

    Args:
        student, teacher: `(batch, points, 2 or 3)`, or `(batch, units)` logits.
    """
    if not isinstance(task, Attributes):
        return scale * ops.mean(ops.abs(ops.cast(student[..., :2], "float32") - ops.cast(teacher[..., :2], "float32")))
    ours, theirs = (ops.clip(probabilities(ops.cast(logits, "float32"), task), LEAST, 1 - LEAST) for logits in (student, teacher))
    entropies = -theirs * ops.log(ours)
    binary = task.binary_count  # whose probabilities are of yes only
    no = -(1 - theirs[:, :binary]) * ops.log(1 - ours[:, :binary])
    return ops.mean(ops.sum(entropies, axis=1) + ops.sum(no, axis=1)) / len(task.labels)
