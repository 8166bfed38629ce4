"""Peak memory of a process."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory() -> float:
    """Peak memory of this process so far, GB."""
    if _STATUS.exists():  # getrusage would count the peak of the process that started it
        [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        return float(line.split()[1]) * 1024 / 1e9
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage * (1 if platform.system() == "Darwin" else 1024) / 1e9  # macOS counts in bytes


def peak_of(code: str, *arguments: object) -> float:
    """Peak memory of Python code in a process of its own, GB; `sys.argv[1:]` has the arguments."""
    folder = str(Path(__file__).parent)
    whole = (
        f"import sys\n{code}\nsys.path.append({folder!r})\nimport peak\nprint(peak.peak_memory())"
    )
    command = [sys.executable, "-c", whole, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])
