"""A Slurm cluster of two nodes on this machine, with accounting, all under one folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from held import HELD
from processes import JOB, OWN_NETWORKS, free_ports, until

PROGRAMS = "munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd sacctmgr sacct sbatch squeue scancel scontrol sinfo srun"
ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
"""The choice of this cluster, on which four tasks run side by side."""

JOBS = ("-m", *JOB, HELD, "~callbacks.figures", "activation=relu,tanh", "latent=1,5")
"""Four jobs that a test can hold."""

ONE = (*JOBS[:-2], "activation=tanh", "latent=5")
"""One of them."""

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """\
ClusterName=wavecoder
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[slurmctld]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[slurmdbd]}
AccountingStoragePass={folder}/munge.socket
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
InactiveLimit=0
MinJobAge=7200
KillWait=5
OverTimeLimit=0
MaxArraySize=5
JobRequeue=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n1]} CPUs=2 RealMemory=4000 Gres=gpu:a100:1 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n2]} CPUs=2 RealMemory=4000 Gres=gpu:a100:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP OverSubscribe=NO
PartitionName=cpu Nodes=ALL MaxTime=60 State=UP OverSubscribe=NO
"""

# a GPU that tasks can ask for; there is none, but Slurm wants a device
GPUS = "Name=gpu Type=a100 File=/dev/null\n"

# submitit asks the accounting what became of a job that is no longer in the queue
ACCOUNTING = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[slurmdbd]}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
CommitDelay=1
"""


def unavailable_reason() -> str | None:
    """Why there can be no cluster here; None if there can."""
    missing = [program for program in PROGRAMS.split() if shutil.which(program, path=PATH) is None]
    if missing:
        packages = Path(__file__).with_name("apt-packages.txt").read_text().strip()
        return f"{', '.join(missing)} not installed: apt-get install {packages}"
    return None if os.geteuid() == 0 else "Slurm's daemons need root"


class Slurm:
    """The cluster: nodes n1 and n2 of two cores each.

    Attributes:
        environment: The environment in which Slurm's commands talk to this cluster.
    """

    NODES = ("n1", "n2")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = (
            os.environ
            | OWN_NETWORKS
            | {
                "PATH": PATH,
                "SLURM_CONF": f"{folder}/slurm.conf",
                "MYSQL_UNIX_PORT": f"{folder}/mysql.socket",
                "TMPDIR": str(folder),
            }
        )
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(zip(("slurmctld", "slurmdbd", *self.NODES), free_ports(4), strict=True))

    def __enter__(self) -> "Slurm":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints that talks to this cluster."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that the cluster knows, as `scontrol show job` has them, the first submitted first."""
        lines = self.run("scontrol", "show", "job", "--oneliner", check=False).splitlines()
        return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines if line.startswith("JobId")]

    def clear(self) -> None:
        """End what a test left, and wait until nothing is in the queue."""
        self.run("scancel", "--me", check=False)
        until(lambda: not self.run("squeue", "--noheader"))

    def start_node(self, node: str) -> None:
        """Start the daemon of one node and wait until the cluster can use it."""
        (self.folder / f"spool.{node}").mkdir(exist_ok=True)
        self._spawn(node, "slurmd", "-D", "-N", node)
        self._wait(lambda: self._states().get(node) in ("idle", "mixed", "allocated"), f"node {node}")

    def kill_node(self, node: str) -> None:
        """Let one node fail, with all that runs on it."""
        for name in [name for name in self._daemons if name == node]:
            self._daemons.pop(name).kill()
        for process in self.processes(f"SLURMD_NODENAME={node}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # rather than waiting for it to be missed
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=failed")

    def _start(self) -> None:
        folder = self.folder
        (folder / "state").mkdir(parents=True)
        names = {"folder": folder, "host": socket.gethostname(), "ports": self._ports}
        for name, text in (("slurm.conf", CONFIGURATION), ("gres.conf", GPUS), ("slurmdbd.conf", ACCOUNTING)):
            (folder / name).write_text(text.format(**names))
            (folder / name).chmod(0o600)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = (
            f"--{kind}={folder}/munge.{end}" for kind, end in (("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))
        )
        self._spawn("munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *files)
        data = ("--no-defaults", "--user=root", f"--datadir={folder}/mysql")
        self.run("mariadb-install-db", *data, "--auth-root-authentication-method=normal", "--skip-test-db")
        self._spawn(
            "mariadbd", "mariadbd", *data, f"--socket={folder}/mysql.socket", "--skip-networking", f"--pid-file={folder}/db.pid"
        )
        self._wait(lambda: all((folder / f"{name}.socket").exists() for name in ("munge", "mysql")), "munge and MariaDB")
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait(lambda: _listens(self._ports["slurmdbd"]), "accounting")
        self.run("sacctmgr", "--immediate", "add", "cluster", "wavecoder")
        self._spawn("slurmctld", "slurmctld", "-D")
        for node in self.NODES:
            self.start_node(node)

    def _stop(self) -> None:
        """End all jobs and daemons, however they stand; jobs would outlive their daemons."""
        for name in ("slurmctld", *self.NODES):
            self._end(name)
        for process in self.processes(f"SLURM_CONF={self.folder}/slurm.conf"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for name in ("slurmdbd", "mariadbd", "munged"):
            self._end(name)

    def _end(self, name: str) -> None:
        if daemon := self._daemons.pop(name, None):
            daemon.terminate()
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def processes(self, mark: str) -> list[int]:
        """The processes of this cluster's jobs whose environment has a mark, those of Slurm that watch them included."""
        ours = {os.getpid(), *(daemon.pid for daemon in self._daemons.values())}
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) not in ours:
                with contextlib.suppress(OSError):
                    environment = (process / "environ").read_bytes().split(b"\0")
                    if mark.encode() in environment and f"SLURM_CONF={self.folder}/slurm.conf".encode() in environment:
                        found.append(int(process.name))
        return found

    def _states(self) -> dict[str, str]:
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", check=False).splitlines()
        return dict(line.split() for line in lines)  # type: ignore[misc]

    def _spawn(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            program = shutil.which(command[0], path=PATH)
            assert program is not None
            self._daemons[name] = subprocess.Popen(
                [program, *command[1:]],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            dead = {name: daemon.returncode for name, daemon in self._daemons.items() if daemon.poll() is not None}
            if dead or time.monotonic() > deadline:
                logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
                raise RuntimeError(
                    f"no {what}; ended: {dead}\n" + "\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in logs)
                )
            time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """The cluster for all tests of a process."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_cluster: Slurm) -> Iterator[Slurm]:
    """The cluster, on which nothing runs when the test begins."""
    yield slurm_cluster
    slurm_cluster.clear()
