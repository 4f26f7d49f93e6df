"""The peak of a process's memory, counted from where one wants."""

from pathlib import Path

PAGE_KB = 4


def reset_peak() -> int:
    """Forget the peak so far, and return the resident memory that this process has now, in kB."""
    Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: resets VmHWM to VmRSS
    return peak_kb()


def peak_kb() -> int:
    """Return the most resident memory that this process has had since `reset_peak`, in kB; mapped files count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def megabytes_since(before: int) -> float:
    """Return the MB that the peak adds to what `reset_peak` returned; one page at least, so that there is a ratio."""
    return max(PAGE_KB, peak_kb() - before) / 1e3
