"""Faults of data, training, tasks and command line."""

from __future__ import annotations

from faults.seeding import Fault

LOOP = "tests/training/test_loop.py"
MODEL = "tests/tasks/classification/test_model.py"
TASK = "tests/tasks/classification/test_task.py"
RUNS = "tests/tasks/test_runs.py"
TRAIN = "tests/cli/test_train.py"
RESUME = "tests/cli/test_resume.py"

FAULTS = (
    # data
    Fault(
        "test images are used for validation",
        "data/labelled.py",
        "return rest, held_out, test",
        "return rest, test, test",
        f"{TASK} -k taken_from",
    ),
    Fault(
        "every epoch has the same order",
        "data/labelled.py",
        "default_rng([self.seed, epoch])",
        "default_rng([self.seed, 0])",
        f"{TASK} -k every_training",
    ),
    Fault(
        "the last short batch is dropped",
        "data/labelled.py",
        "return math.ceil(len(self.sequences) / self.batch_size)",
        "return len(self.sequences) // self.batch_size",
        f"{TASK} -k every_training",
    ),
    Fault(
        "the seed does not choose the validation images",
        "data/labelled.py",
        "default_rng([_checked_seed(seed), 0, 1])",
        "default_rng([0, 0, 1])",
        f"{TASK} -k follow_the_seed",
    ),
    Fault(
        "ink on paper stays dark on light",
        "data/images.py",
        "picture if image.dark_background else 255 - picture",
        "255 - picture if image.dark_background else picture",
        "tests/cli/test_predict.py -k many_forms",
    ),
    # training
    Fault(
        "the optimiser's state is not restored",
        "training/loop.py",
        "checkpoint.restore_optimizer(self.task.model, self.bare_optimizer)",
        "pass",
        f"{RESUME} -k for_longer",
    ),
    Fault(
        "the random state is not restored",
        "training/loop.py",
        "checkpoint.restore_random(self.fabric.device)",
        "pass",
        f"{RESUME} -k for_longer",
    ),
    Fault(
        "journals are not cut back",
        "training/loop.py",
        "for text in self.directory.rewind(document.journal):",
        "for text in ():",
        "tests/training/test_resume.py -k moments",
    ),
    Fault(
        "best and last checkpoint change places",
        "training/run.py",
        "for path in (self.best, self.last):",
        "for path in (self.last, self.best):",
        f"{RUNS} -k takes_the_best",
    ),
    Fault(
        "early stopping comes one evaluation late",
        "training/loop.py",
        "self.progress.stale >= self.config.patience",
        "self.progress.stale > self.config.patience",
        f"{LOOP} -k 'early or patience'",
    ),
    Fault(
        "a loss that is not finite goes on",
        "training/loop.py",
        "if math.isfinite(loss) and math.isfinite(gradient_norm):",
        "if True:",
        f"{TRAIN} -k not_finite",
    ),
    # tasks
    Fault(
        "the scale of the data is dropped",
        "tasks/classification/model.py",
        "inputs = x.to(self.readout.weight.dtype) * self.specification.scale",
        "inputs = x.to(self.readout.weight.dtype)",
        f"{MODEL} -k equations",
    ),
    Fault(
        "the readout sees the lowest layer",
        "tasks/classification/model.py",
        "state[0][:, -1].flatten(1)",
        "state[0][:, 0].flatten(1)",
        f"{MODEL} -k one_direction",
    ),
    Fault(
        "the final readout takes the backward direction at the end",
        "tasks/classification/model.py",
        "state[0][:, -1].flatten(1)",
        "outputs[:, -1]",
        f"{MODEL} -k two_directions",
    ),
    Fault(
        "the last readout takes the padding",
        "tasks/classification/model.py",
        "outputs[torch.arange(len(outputs), device=outputs.device), last]",
        "outputs[:, -1]",
        f"{MODEL} -k 'one_direction or two_directions'",
    ),
    Fault(
        "accuracy is divided by the size of a batch",
        "tasks/classification/task.py",
        '"accuracy": right / len(sequences)',
        '"accuracy": right / _EVALUATION_BATCH',
        f"{TASK} -k evaluate_split",
    ),
    Fault(
        "every split is the test split",
        "tasks/classification/task.py",
        "self.data.splits().get(split)",
        'self.data.splits().get("test")',
        f"{TASK} -k evaluate_split",
    ),
    Fault(
        "any data will do for a trained model",
        "tasks/classification/task.py",
        "if getattr(trained, what) != getattr(found, what):",
        "if False:",
        f"{TASK} -k trained_model",
    ),
    Fault(
        "histograms leave out the backward direction",
        "tasks/base.py",
        "in module.named_cells():",
        "in list(module.named_cells())[:1]:",
        "tests/tasks/test_base.py",
    ),
    Fault(
        "threads are not written down",
        "tasks/runs.py",
        "config = replace(config, training=replace(config.training, threads=threads))",
        "pass",
        f"{RUNS} -k threads",
    ),
    Fault(
        "a new length is not checked",
        "tasks/runs.py",
        "checked(entry, replace(config, training=config.training.with_length(**length)))",
        "replace(config, training=config.training.with_length(**length))",
        f"{RESUME} -k out_of_range",
    ),
    Fault(
        "a preset's learning rate is another",
        "tasks/registry.py",
        "TrainingConfig(epochs=10, learning_rate=1e-3",
        "TrainingConfig(epochs=10, learning_rate=1e-2",
        "tests/tasks/test_registry.py",
    ),
    Fault(
        "a file's length is added to the preset's",
        "tasks/configuration.py",
        "_merged(_without_length(dataclasses.asdict(base), given), given)",
        "_merged(dataclasses.asdict(base), given)",
        "tests/tasks/test_configuration.py",
    ),
    # command line
    Fault(
        "a data path stays relative",
        "cli/train.py",
        "config = replace(config, data=_absolute(config.data))",
        "pass",
        f"{TRAIN} -k data_of_the_user",
    ),
    Fault(
        "--split is not passed on",
        "cli/evaluate.py",
        "evaluate_run(run, split=split, data=data)",
        "evaluate_run(run, data=data)",
        "tests/cli/test_evaluate.py -k say_the_same",
    ),
    Fault(
        "a diverged run leaves with 2",
        "cli/__init__.py",
        "status=3 if isinstance(error, DivergenceError) else 2",
        "status=2",
        "tests/cli/test_init.py -k exit_status",
    ),
    Fault(
        "SIGTERM leaves as Ctrl-C does",
        "cli/train.py",
        "return 130 if summary.signal == SIGINT else 143",
        "return 130",
        "tests/cli/test_interruption.py -k signal",
    ),
)
