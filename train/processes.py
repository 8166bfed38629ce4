"""The processes of one training: what started them, which one reports, and what ends them."""

import os
import re

import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from nst_rt.errors import InputError, InterruptedWorkError, StyleTransferError
from nst_rt.train.recipes import one_line
from nst_rt.train.refusals import quiet_lightning, refusals_in_one_line

# Programs that start several processes of one training, and the variables that each process has.
_LAUNCHERS: tuple[tuple[type[ClusterEnvironment], frozenset[str]], ...] = (
    (TorchElasticEnvironment, frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"})),
    (SLURMEnvironment, frozenset({"SLURM_STEP_ID", "SLURM_PROCID"})),
    (LSFEnvironment, frozenset()),
    (MPIEnvironment, frozenset()),
)
# Beginnings of a torch.distributed error without a class of its own: the library that raised it.
_OF_CONNECTIONS = ("gloo", "NCCL")


class LostProcessError(StyleTransferError):
    """Another process of the same training has ended, or cannot be reached."""


@refusals_in_one_line()
def cluster_environment() -> ClusterEnvironment:
    """The environment of the launcher that started this process, else Lightning's own.

    Lightning takes a single variable for a launcher: SLURM_NTASKS, which every shell of a job has
    although only `srun` starts tasks, or a leftover of torchrun.

    Raises:
        InputError: tasks of SLURM that cannot be the processes of one training.
    """
    with quiet_lightning():  # in a shell of SLURM, it advises `srun`
        for launcher, variables in _LAUNCHERS:
            if variables <= os.environ.keys() and launcher.detect():
                # SLURM itself requeues jobs; a second way would leave a second kind of checkpoint.
                if launcher is SLURMEnvironment:
                    return SLURMEnvironment(auto_requeue=False)
                return launcher()
    _check_task_of_shell()
    own = LightningEnvironment()
    own.set_global_rank(0)  # RANK may be a leftover, too
    return own


def _check_task_of_shell() -> None:
    """Raise an InputError in a further task of a job that Lightning takes for a person's shell.

    Each of its tasks would be a training of its own, in the same folder.
    """
    job, task = (os.environ.get(f"SLURM_{key}", "") for key in ("JOB_NAME", "PROCID"))
    if "SLURM_STEP_ID" in os.environ and job in ("bash", "interactive") and task not in ("", "0"):
        raise InputError(
            f"task {task} of the SLURM job {job!r}: Lightning takes jobs of this name for a shell; "
            "start several tasks under another job name"
        )


def is_further_process() -> bool:
    """Whether another process of the same training reports for this one."""
    environment = cluster_environment()
    ranks = (environment.global_rank, environment.local_rank, environment.node_rank)
    return any(rank() > 0 for rank in ranks)  # later ones may have no variable


def is_reported_by_another(error: StyleTransferError) -> bool:
    """Whether another process of the same training reports this error, or its cause."""
    if isinstance(error, InterruptedWorkError | LostProcessError):
        return is_further_process()
    # Until they are connected, all processes of a machine check the same inputs.
    return not dist.is_initialized() and cluster_environment().local_rank() > 0


def lost_process(error: Exception) -> LostProcessError | None:
    """The error to raise if the connection to another process is lost; None for other errors."""
    text = one_line(error)
    of_connection = isinstance(error, RuntimeError) and any(n in text for n in _OF_CONNECTIONS)
    if not of_connection and not isinstance(error, dist.DistError):
        return None
    # Without the place in the library's source, and without its advice.
    cause = re.sub(r"^\[[^\]]*\] ", "", text).partition(". ")[0]
    return LostProcessError(
        f"another process of this training ended or cannot be reached ({cause}); `resume` "
        "continues from the last checkpoint"
    )
