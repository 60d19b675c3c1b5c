"""Flags, keys and values that other tools use: what they are here, or what to use instead. Standard library only.

The tools are timm's and torchvision's training scripts, pytorch/examples, Ultralytics, Keras, fastai, transformers and
Lightning itself. A name is an alias where its meaning is exactly that of a setting; all others get a line of advice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lit_cnn.cli.flag_values import CONFIG_FILES
from lit_cnn.errors import UserError

# Names without dashes, in lower case and with underscores, by setting.
_ALIASES = {
    "trainer.max_epochs": "epoch max_epoch num_epochs n_epochs nb_epochs nepochs num_train_epochs",
    "trainer.max_steps": "num_steps total_steps",
    "trainer.max_time": "max_time",
    "trainer.devices": "num_gpus num_devices n_gpus ngpus nproc_per_node",
    "trainer.num_nodes": "num_nodes nnodes",
    "trainer.gradient_clip_val": "gradient_clip_val clip_grad clip_grad_norm grad_clip max_grad_norm gradient_clip",
    "trainer.accumulate_grad_batches": "accumulate_grad_batches gradient_accumulation_steps grad_accum_steps accumulate"
    " grad_accum grad_accumulation",
    "trainer.default_root_dir": "default_root_dir output output_dir out_dir save_dir outdir log_dir logdir savedir",
    "trainer.fast_dev_run": "fast_dev_run dry_run",
    "trainer.sync_batchnorm": "sync_bn sync_batchnorm",
    "trainer.benchmark": "cudnn_benchmark",
    "data": "dataset data_set dataset_name",
    "data.data_dir": "data_path data_root dataset_dir dataset_path dataset_root datadir data_folder root image_dir",
    "data.batch_size": "batch bs batchsize train_batch_size per_device_train_batch_size",
    "data.eval_batch_size": "eval_batch_size val_batch_size validation_batch_size test_batch_size"
    " per_device_eval_batch_size",
    "data.workers": "num_workers n_workers nworkers nw dataloader_num_workers",
    "data.image_size": "imgsz img imagesize input_size resolution image_resolution",
    "data.val_fraction": "val_fraction validation_split valid_pct val_ratio validation_fraction",
    "data.test_fraction": "test_fraction test_ratio",
    "data.download": "dataset_download download",
    "data.cache": "cache",
    "data.augment.flip": "hflip fliplr",
    "data.augment.vertical_flip": "vflip flipud",
    "data.augment.rotation": "degrees",
    "data.augment.erase": "reprob random_erase erasing",
    "model.backbone": "arch architecture net network model_arch model_type",
    "model.weights": "initial_checkpoint pretrained_path pretrained_weights weights_path",
    "model.lr": "learning_rate lr0 learningrate",
    "model.weight_decay": "weightdecay",
    "model.optimizer": "opt optim",
    "model.optimizer_args.momentum": "momentum",
    "model.lr_scheduler": "lr_scheduler scheduler sched lr_schedule lr_scheduler_type",
    "model.lr_warmup_epochs": "lr_warmup_epochs warmup_epochs",
    "model.lr_min": "lr_min min_lr",
    "model.lr_step_size": "lr_step_size",
    "model.lr_gamma": "lr_gamma",
    "model.label_smoothing": "label_smoothing smoothing label_smoothing_factor",
    "model.class_weights": "class_weights class_weight",
    "model.mixup_alpha": "mixup_alpha",
    "model.cutmix_alpha": "cutmix_alpha",
    "model.ema_decay": "ema_decay model_ema_decay",
    "model.loss": "loss criterion loss_fn loss_function",
    "model.compile": "compile torchcompile torch_compile",
    "model.channels_last": "channels_last",
    "model.tta": "tta",
    "seed_everything": "random_state random_seed manual_seed",
    "ckpt_path": "ckpt checkpoint_path",
    "device": "gpu gpu_id",
    "config": "cfg config_file config_path",
}
OTHER_ALIASES = {f"--{name}": f"--{setting}" for setting, names in _ALIASES.items() for name in names.split()}
OTHER_ALIASES["-a"] = "--model.backbone"

# Flags without a value: a setting and its values for true (or none) and false.
OTHER_SWITCHES = {
    "--fp16": ("--trainer.precision", "16-mixed", "null"),
    "--bf16": ("--trainer.precision", "bf16-mixed", "null"),
    "--use_amp": ("--trainer.precision", "bf16-mixed", "null"),
    "--cpu": ("--trainer.accelerator", "cpu", "auto"),
    "--wandb": ("--trainer.logger", "WandbLogger", "null"),
    "--use_wandb": ("--trainer.logger", "WandbLogger", "null"),
    "--log_wandb": ("--trainer.logger", "WandbLogger", "null"),
    "--mlflow": ("--trainer.logger", "MLFlowLogger", "null"),
    "--use_cpu": ("--trainer.accelerator", "cpu", "auto"),
    "--no_cuda": ("--trainer.accelerator", "cpu", "auto"),
    "--no_accel": ("--trainer.accelerator", "cpu", "auto"),
    "--cuda": ("--trainer.accelerator", "gpu", "cpu"),
    "--freeze_backbone": ("--model.freeze", "backbone", "null"),
    "--bce_loss": ("--model.loss", "bce", "cross_entropy"),
    "--no_augment": ("--data.augment", "null", "{}"),
    "--no_aug": ("--data.augment", "null", "{}"),
    "--nosave": ("--trainer.enable_checkpointing", "false", "true"),
}

_MEASURE = "lit-cnn test --ckpt_path PATH measures a checkpoint on the test images, lit-cnn validate on those of val"
_STATES = "use --resume PATH to continue a run, --model.weights FILE to start from weights, --ckpt_path PATH to test"
_RANKS = "use --trainer.devices N --strategy ddp, or torchrun"
_LOADING = "it is not needed: threads decode the images (--workers N) while the model trains"
_SAVING = "checkpoints are always saved; use --checkpoint_every N for how often, --checkpoint.save_top_k K for how many"
_FIGURES = "every run writes metrics.csv, results.png and TensorBoard events"
_AUGMENT = "augmentation is set by --data.augment.NAME, see docs/data.md"
_COLOUR = (
    "use --data.augment.brightness X, --data.augment.contrast X, --data.augment.saturation X, --data.augment.hue X"
)
_POLICY = "use --data.augment.policy rand_augment, trivial_augment, augmix or auto_augment"
_TRANSFORM = "use a transform of your own: --data.augment.transform NAME, see docs/extending.md"
_SAMPLER = "use --data.sampling balanced, which gives each class the same share of an epoch"
_MIX = "use --model.mixup_alpha X or --model.cutmix_alpha X, parameters of a Beta distribution such as 0.2"
_FOLDERS = "one folder holds train, val and test: use --data-dir DIR"
_CLASSES = "the number of classes comes from the data"
_NETWORK = "an argument of the network is --model.backbone_args.NAME VALUE; lit-cnn inspect NAME shows them"
_DROPOUT = "use --model.backbone_args.dropout X (timm: drop_rate)"
_PRECISION = "use --precision 16-mixed, bf16-mixed, or 16-true for weights in half precision too"
_CROP = "use --img-size N, and --data.augment.crop_scale '[0.3, 1.0]' for a random resized crop"
_SHARE = "use --data.val_fraction X, a share of the training images such as 0.1"
_TERMINAL = "use --trainer.enable_progress_bar false for less output, --debug for more"
_ORDER = "training images are always shuffled, those of val and test never"
_WANDB = "use --wandb, and the environment variables WANDB_PROJECT and WANDB_ENTITY"
_START = "use --weights imagenet, and --freeze backbone to train the head alone"
_EMA = "use --model.ema_decay 0.999"
_STOPPING = "use --patience N; --checkpoint.monitor val/loss watches the loss"
_INPUT = "images are words: lit-cnn predict --ckpt_path PATH photo.jpg folder/"
_COMMANDS = "the command comes first: lit-cnn fit, validate, test, predict"

_ADVICE = {
    _MEASURE: "test_only evaluate eval do_eval e val_only validate test eval_only evaluate_only",
    _STATES: "checkpoint load load_from load_checkpoint restore resume_from resume_from_checkpoint",
    "--resume restores the epoch": "start_epoch initial_epoch",
    _RANKS: "rank local_rank world_size dist_url dist_backend distributed multiprocessing_distributed ddp gpu_ids",
    "use --device 0,1 for which GPUs, --trainer.devices N for how many": "gpus",
    _LOADING: "pin_memory pin_mem persistent_workers prefetch prefetch_factor no_prefetcher use_multi_epochs_loader",
    _SAVING: "save_period save_freq save_every save_interval checkpoint_interval save_model checkpoint_hist save"
    " save_checkpoint save_best save_top_k save_steps save_strategy",
    _FIGURES: "plots plot visualize tensorboard tb report_to log_metrics",
    _AUGMENT: "augment aug augmentation data_augmentation horizontal_flip rotation translate shear perspective mosaic"
    " zoom flip",
    _COLOUR: "color_jitter brightness contrast saturation hue hsv_h hsv_s hsv_v",
    _POLICY: "aa auto_augment autoaugment randaugment rand_augment trivialaugment trivial_augment augmix ra_magnitude",
    _TRANSFORM: "transform transforms",
    _SAMPLER: "sampler balanced_sampler balanced_sampling weighted_sampler weighted_sampling",
    _MIX: "mixup cutmix mixup_prob cutmix_prob mixup_mode mixup_off_epoch",
    _FOLDERS: "train_dir val_dir test_dir traindir valdir testdir train_path val_path test_path train_split",
    _CLASSES: "num_classes nb_classes n_classes classes nc num_labels",
    _NETWORK: "width depth stem pool gp norm widen_factor",
    _DROPOUT: "dropout drop drop_rate dropout_rate",
    "use --model.backbone_args.drop_path_rate X, an argument of timm's networks": "drop_path drop_path_rate",
    _PRECISION: "half amp_dtype dtype mixed_precision",
    _CROP: "crop crop_pct train_crop_size val_crop_size val_resize_size crop_size scale ratio",
    "use --data.resize crop, squash or letterbox, and --img-size N or 96x128 (height x width)": "resize resize_method"
    " rect letterbox squash stretch pad item_tfms",
    _SHARE: "val_split val_size valid_size validation_size",
    "use --data.test_fraction X, a share of the images such as 0.2": "test_split test_size",
    _TERMINAL: "verbose v quiet q silent no_progress progress progress_bar enable_progress_bar",
    _ORDER: "shuffle no_shuffle",
    "use --trainer.log_every_n_steps N; the terminal shows every epoch": "log_interval print_freq p log_every"
    " logging_steps",
    _WANDB: "wandb_project wandb_entity entity",
    "use --trainer.logger MLFlowLogger": "use_mlflow",
    _START: "finetune fine_tune transfer transfer_learning",
    "use --freeze N for the first N blocks, or --freeze backbone": "freeze_layers freeze_at freeze_blocks unfreeze",
    _EMA: "model_ema ema use_ema",
    _STOPPING: "early_stopping early_stop earlystopping",
    _INPUT: "source input image images",
    _COMMANDS: "mode task train predict do_train do_predict",
    "use --lr X --model.lr_base_size N": "lr_base base_lr lr_base_size blr",
    "use --model.lr_warmup_epochs N": "warmup warmup_steps warmup_ratio lr_warmup warmup_lr lr_warmup_method",
    "use --model.lr_scheduler step --model.lr_step_size N --model.lr_gamma X": "gamma step_size decay_epochs"
    " decay_rate lr_decay lr_steps milestones",
    "use --model.optimizer_args.NAME VALUE": "beta1 beta2 betas eps nesterov opt_eps opt_betas optimizer_args",
    "use --data.mean '[0.485, 0.456, 0.406]' --data.std '[0.229, 0.224, 0.225]', or --data.normalize NAME": "mean std",
    "every run has a folder of its own, which --name NAME names": "exist_ok overwrite overwrite_output_dir",
    "use --checkpoint.monitor val/loss, or another metric": "monitor eval_metric metric metric_for_best_model metrics"
    " best_metric",
    "checkpoints never load code here": "weights_only",
    "it is off: use --batch-size auto, or --amp, to save memory": "grad_checkpointing gradient_checkpointing",
}
_ADVICE_BY_NAME = {name: advice for advice, names in _ADVICE.items() for name in names.split()}
# For keys of a config, where no command is meant.
_KEY_ADVICE = {
    **dict.fromkeys(("train", "val", "test"), _FOLDERS),
    "names": "the names of the classes come from the data",
}
# For settings whose value may also be a file.
NO_FILE = {"--checkpoint": _STATES, "--trainer": "a setting of the trainer is --trainer.NAME VALUE"}

# Words for the values of a setting, in lower case.
NAMED_VALUES = {
    "trainer.precision": {
        **{
            name: name
            for name in ("bf16", "bf16-mixed", "bf16-true", "16-mixed", "16-true", "32-true", "64-true", "auto")
        },
        "fp16": "16-mixed",
        "float16": "16-mixed",
        "amp": "bf16-mixed",
        "bfloat16": "bf16-mixed",
        "fp32": "32-true",
        "float32": "32-true",
        "full": "32-true",
        "fp64": "64-true",
        "float64": "64-true",
        "double": "64-true",
    },
    "model.lr_scheduler": {
        "cosineannealinglr": "cosine",
        "cosineannealing": "cosine",
        "cosine_annealing": "cosine",
        "cos": "cosine",
        "steplr": "step",
        "onecyclelr": "one_cycle",
        "onecycle": "one_cycle",
        "const": "constant",
        "none": "constant",
    },
    "data.batch_size": {"auto": "auto"},
    "data.image_size": {},  # see translate
    "data.resize": {
        "center_crop": "crop",
        "centercrop": "crop",
        "random_crop": "crop",
        "stretch": "squash",
        "pad": "letterbox",
    },
    "patience": {"none": "null"},
    "model.freeze": {"none": "null"},
    "data.cache": {"true": "ram", "false": "none", "memory": "ram"},
}


def advice(name: str, *, key: bool = False) -> str:
    """What to use instead of another tool's flag or key; ``""`` where nothing is known.

    Args:
        name: without dashes.
        key: it stands in a config.
    """
    return (_KEY_ADVICE.get(name, "") if key else "") or _ADVICE_BY_NAME.get(name, "")


# Commands of other tools, and those to use.
_COMMANDS_OF_OTHERS = {
    "test --ckpt_path PATH": "evaluate eval score",
    "predict --ckpt_path PATH IMAGES": "infer inference classify detect",
    "fit --resume": "resume continue restart",
    "fit --weights imagenet": "finetune fine_tune transfer",
    "fit": "run start train.py main.py learn",
    "models": "list list_models zoo",
    "inspect": "summary info describe",
    "prepare": "download verify convert",
    "fit --lr auto": "lr_find tune",
}
_COMMAND_BY_NAME = {name: command for command, names in _COMMANDS_OF_OTHERS.items() for name in names.split()}


def command_hint(word: str) -> str:
    """``", did you mean lit-cnn test?"`` for a first word that is no command here; ``""`` where nothing is known."""
    if word.startswith("-"):
        return f": the command comes first, lit-cnn fit {word};"
    command = _COMMAND_BY_NAME.get(word.lower().replace("-", "_"))
    return f", did you mean lit-cnn {command}?" if command else ""


def translate(setting: str, value: Any) -> Any:
    """The value of a setting as it is called here.

    Args:
        setting: such as ``trainer.precision``.
        value: of the user.
    """
    if setting == "data.image_size" and (found := re.fullmatch(r"(\d+)[xX](\d+)", str(value))):
        return f"[{found[1]}, {found[2]}]"
    return NAMED_VALUES.get(setting, {}).get(str(value).lower(), value)


def refuse_word(command: str, word: str, last: str) -> None:
    """Refuse a word that is no flag and that a command cannot take for an image or for its data.

    Args:
        command: such as fit.
        word: of the user.
        last: the flag before it, if any.

    Raises:
        UserError: with the flag that the word may have been meant for.
    """
    name, equals, value = word.partition("=")
    if equals and name.replace(".", "_").isidentifier() and not Path(word).exists():
        if hint := advice(name.lower()):
            raise UserError(f"unknown setting {word}: {hint}")
        raise UserError(f"{word}: settings are flags, --{name} {value}")
    if command == "predict":
        return
    if word.endswith(CONFIG_FILES):
        raise UserError(f"{word}: did you mean --config {word}?")
    if word.endswith(".ckpt"):
        raise UserError(f"{word}: did you mean {'--resume' if command == 'fit' else '--ckpt_path'} {word}?")
    if word.endswith((".pt", ".pth", ".safetensors", ".bin")):
        raise UserError(f"{word}: did you mean --model.weights {word}?")
    if last and re.fullmatch(r"[-\d.eE,\[\]]+", word):
        raise UserError(f"{last} takes one value, and {word} is another: write a list as '[a, b]'")
