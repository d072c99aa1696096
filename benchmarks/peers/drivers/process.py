"""Running a program under equal conditions, and what it and the rest of the machine used meanwhile."""
import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
                    "TORCH_NUM_THREADS", "RAYON_NUM_THREADS", "GPTQMODEL_CPU_WORKERS")


@dataclasses.dataclass
class Usage:
    wall_s: float
    cpu_s: float            # of the program, user and system
    others_s: float         # of everything else on the machine in the same time, stolen time included
    cpus: int               # of the machine
    peak_bytes: int
    switches: int = 0       # involuntary context switches, where known

    @property
    def others_share(self) -> float:
        """Of the machine's whole time, how much others took: 0 to 1."""
        return max(0.0, self.others_s) / (self.wall_s * self.cpus) if self.wall_s > 0 else 0.0


def machine_busy_s() -> float:
    """Seconds all CPUs were busy since boot, with the time a hypervisor took away."""
    with open("/proc/stat") as f:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


class Watch:
    """What the whole machine did between two moments."""

    def __init__(self):
        self.busy, self.start = machine_busy_s(), time.monotonic()

    def usage(self, cpu_s: float, peak_bytes: int) -> Usage:
        return Usage(time.monotonic() - self.start, cpu_s, machine_busy_s() - self.busy - cpu_s, os.cpu_count() or 1, peak_bytes)


def wait_for_quiet(patience_s: float, share: float = 0.1) -> bool:
    """Waits until nothing takes more than `share` of the machine for a second; False when patience ends first."""
    until = time.monotonic() + patience_s
    while True:
        watch = Watch()
        time.sleep(1)
        if watch.usage(0, 0).others_share <= share:
            return True
        if time.monotonic() >= until:
            return False


def first_cpus(threads: int) -> set[int]:
    return set(sorted(os.sched_getaffinity(0))[:threads])


def threads_environment(threads: int) -> dict[str, str]:
    """Threads by every name a library reads. How they wait is left to each program: OMP_WAIT_POLICY=passive makes decode with two
    threads eight times slower in what uses OpenMP."""
    return {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}, "OMP_PROC_BIND": "false",
            "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": ""}


def run(command, threads: int, env=None, cwd=None) -> tuple[int, str, str, Usage]:
    """(status, stdout, stderr, usage) of a program on the first `threads` CPUs. It is stopped when this is interrupted."""
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        watch = Watch()
        cpus = first_cpus(threads)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env or threads_environment(threads),
                                   cwd=cwd, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        try:
            _, status, rusage = os.wait4(process.pid, 0)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            os.wait4(process.pid, 0)
            process.returncode = -signal.SIGKILL
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        usage = watch.usage(rusage.ru_utime + rusage.ru_stime, rusage.ru_maxrss * 1024)
        usage.switches = rusage.ru_nivcsw
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage


def cpu_s_of(pid: int) -> float:
    """User and system seconds of a process so far, all its threads."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def status_bytes(pid: int, field: str) -> int:
    """VmRSS or VmHWM of a process, in bytes; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def tree(pid: int) -> list[int]:
    """pid and all below it; processes may end at any moment."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                for child in f.read().split():
                    found += tree(int(child))
    except OSError:
        pass
    return found


class TreePeak(threading.Thread):
    """The largest sum of resident memory over the processes of a tree, looked at every 50 ms: an upper bound, shared pages count twice."""

    def __init__(self):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = os.getpid(), 0, threading.Event()

    def run(self):
        mine = status_bytes(self.pid, "VmRSS")
        while not self.done.wait(0.05):
            self.peak = max(self.peak, sum(status_bytes(p, "VmRSS") for p in tree(self.pid)) - mine)
